"""Whatever the description allows, and whatever it does not: every answer is as described, for everybody.

SCHEMATHESIS_EXAMPLES=200 looks harder, and elsewhere every time.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle
from typing import Any

import pytest
import schemathesis
import schemathesis.generation.jsonschema.builder  # now, and not beside the threads of a test
from hypothesis import HealthCheck, Phase, assume, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from models.mailbox import oldest_waits
from models.schedule import current_sale_ids
from models.settle import settle_turn
from models.tokens import issue_access_token, issue_refresh_token
from models.user import User
from tests.openapi.conftest import PASSWORD

EXAMPLES_DEFAULT = 5
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", EXAMPLES_DEFAULT))
# What ends things comes last, so that there is something to look at before.
ORDER = ("GET", "POST", "PUT", "PATCH", "DELETE")
# A sound body may still break a rule that no schema can state (a price above another, a cursor of another list), and
# the documents that we keep to answer that with 400, or with 410 and 422.
# A text of ten thousand characters may take twelve bytes for each.
TOO_LARGE = "413"
KNOWING = ("nothing", "a sale", "a product that is in no sale")
REFUSED_BY_RULE = ("400", "410", "422")


@contextmanager
def settling() -> Iterator[None]:
    """Settle every line as a worker would, until the block ends."""
    done = threading.Event()

    def settle_for_ever() -> None:
        while not done.wait(0.02):
            for sale_id in oldest_waits(current_sale_ids()):
                settle_turn(sale_id)

    thread = threading.Thread(target=settle_for_ever)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class FromHere:
    """The application, asked from this machine: a client without an address would be nobody's, and limited."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self._app(environ | {"REMOTE_ADDR": "127.0.0.1"}, start_response)


class Asker:
    """One role, with what it knows of the shop; remembers how every operation answered."""

    def __init__(self, role: str, user: User) -> None:
        self._role = role
        self._user = user
        self.statuses: dict[str, set[int]] = {}

    def ask(self, case: Any) -> None:
        # A token for each request: one of the operations is logging out.
        token = issue_access_token(self._user.id, self._user.role)
        header = {} if self._role == "nobody" else {"Authorization": f"Bearer {token}"}
        answer = case.call_and_validate(headers=header, checks=CHECKS.get_all())
        self.statuses.setdefault(case.operation.label, set()).add(answer.status_code)

    def sound(self, ids: dict[str, Any]) -> dict[str, Any]:
        """Values of body fields that no rule refuses."""
        return {
            "productId": str(ids["product_id"]),
            "flashSaleId": str(ids["sale_id"]),
            "categoryId": str(ids["category_id"]),
            "userId": str(self._user.id),
            "quantity": 1,
            "price": 99.99,
            "flashPrice": 49.99,
            "totalAmount": 49.99,
            "totalStock": 100,
            "maxPerUser": None,
            "startTime": "2020-01-31T18:00:00Z",
            "endTime": "2040-01-31T18:00:00Z",
            "expiresAt": "2040-01-31T18:00:00Z",
            "rule": "FREQ=WEEKLY",
            "startsLocal": "2030-01-04T18:00:00",
            "zone": "Europe/Berlin",
            "durationSeconds": 60,
            "network": f"2001:db8:1::{next(numbers):x}/128",
            "email": f"caller{next(numbers)}@shop.test",
            "name": f"Name {next(numbers)}",
            "password": PASSWORD,
            "role": "customer",
            "refreshToken": issue_refresh_token(self._user.id, self._user.role),
        }


numbers = count(1)
# What an operation needs that the others do not: a body's fields, and the id for its path.
SOUND_FOR = {
    "POST /api/auth/login": {"email": "keeper@shop.test", "password": PASSWORD},
    "POST /api/signin": {"email": "keeper@shop.test", "password": PASSWORD},
}
PATHS_FOR = {
    "POST /api/purchases/{purchase_id}/refund": {"purchase_id": "bought_id"},
    # Nobody blocks themselves or takes their own role away.
    "PATCH /api/users/{user_id}": {"user_id": "other_user_id"},
    "POST /api/users/{user_id}/block": {"user_id": "other_user_id"},
    "POST /api/users/{user_id}/unblock": {"user_id": "other_user_id"},
    "DELETE /api/categories/{category_id}": {"category_id": "empty_category_id"},
    "DELETE /api/fraud-records/{record_id}/overrule": {"record_id": "overruled_id"},
}


def _make_sound(case: Any, asker: Asker, ids: dict[str, Any]) -> None:
    """Exchange what is random by what the shop knows: random ids are nearly always unknown ones."""
    others = PATHS_FOR.get(case.operation.label, {})
    paths = ids | {name: ids[other] for name, other in others.items()}
    for name in set(case.path_parameters or ()) & set(paths):
        case.path_parameters[name] = paths[name]
    sound = asker.sound(ids) | SOUND_FOR.get(case.operation.label, {})
    for values in (case.body, case.query):
        if isinstance(values, dict):
            values |= {name: sound[name] for name in set(values) & set(sound)}
    if isinstance(case.query, dict):
        # Only a list knows its cursors: with a random one nobody sees a page.
        case.query.pop("cursor", None)


def _can_be_wrong(operation: Any, role: str) -> bool:
    """Whether there is input to get wrong, and this role gets as far as having it looked at."""
    is_let_in = role != "nobody" or not operation.definition.raw.get("security")
    return is_let_in and bool(operation.body or operation.query)


def _keep_to_it(operation: Any, mode: GenerationMode, asker: Asker, ids: dict[str, Any]) -> None:
    in_turn = cycle(KNOWING)

    @hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=EXAMPLES == EXAMPLES_DEFAULT,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def keep_to_it(case: Any) -> None:
        # In turn, not by chance: few examples may all be of one kind.
        knowing = next(in_turn)
        if mode is GenerationMode.NEGATIVE:
            # A value that sends nothing breaks no rule: an empty list in a query string, a name with nothing behind it.
            assume(all(value not in ([], {}, "") for value in (case.query or {}).values()))
        elif knowing == "a sale":
            _make_sound(case, asker, ids)
        elif knowing == "a product that is in no sale":
            _make_sound(case, asker, ids | {"product_id": ids["spare_product_id"]})
        asker.ask(case)

    keep_to_it()


# Whether a few examples hit a time, a price and a rule that go together is luck, and nobody here has a password to
# change; tests of their own make these.
LEFT_TO_CHANCE = {
    "POST /api/create-flash-sale",
    "POST /create-flash-sale",
    "POST /api/flash-sales",
    "POST /api/series",
    "POST /api/users/me/password",
}


@pytest.mark.timeout(400 + 20 * EXAMPLES)
@pytest.mark.parametrize("role", ["nobody", "customer", "admin"])
def test_every_answer_is_as_described(app, make_user, stock_shop, role):
    load_all_checks()
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", FromHere(app))
    checks = schema.config.checks
    checks.positive_data_acceptance.expected_statuses += [*REFUSED_BY_RULE, TOO_LARGE]
    checks.negative_data_rejection.expected_statuses += [TOO_LARGE]
    user = make_user(role="admin" if role == "admin" else "customer")
    asker = Asker(role, user)
    failures = []

    operations = [result.ok() for result in schema.get_all_operations()]
    with settling():
        for operation in sorted(operations, key=lambda each: ORDER.index(each.method.upper())):
            ids = stock_shop(user)
            for mode in GenerationMode:
                if mode is GenerationMode.NEGATIVE and not _can_be_wrong(operation, role):
                    continue
                try:
                    _keep_to_it(operation, mode, asker, ids)
                except FailureGroup as group:
                    reasons = "\n".join(str(failure) for failure in group.exceptions)
                    failures.append(f"{operation.label}, {mode.value}: {group}\n{reasons}")
    assert not failures, "\n\n".join([f"as {role}:", *failures])
    # Whoever is refused everywhere has looked at nothing but refusals.
    if role == "admin":
        refused = {label for label, statuses in asker.statuses.items() if min(statuses) >= 300}
        assert refused <= LEFT_TO_CHANCE
