"""Whatever the description allows, and whatever it does not: every answer is as described, for everybody.

SCHEMATHESIS_EXAMPLES=200 looks harder, and elsewhere every time.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from models.schedule import current_sale_ids
from models.settle import settle_turn
from models.tokens import issue_access_token

EXAMPLES_DEFAULT = 5
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", EXAMPLES_DEFAULT))
# What ends things comes last, so that there is something to look at before.
ORDER = ("GET", "POST", "PUT", "PATCH", "DELETE")
# A sound body may still break a rule that no schema can state (a price above another, a cursor of another list), and
# the documents that we keep to answer that with 400, or with 410 and 422.
REFUSED_BY_RULE = ("400", "410", "422")


@contextmanager
def settling() -> Iterator[None]:
    """Settle every line as a worker would, until the block ends."""
    done = threading.Event()

    def settle_for_ever() -> None:
        while not done.wait(0.02):
            for sale_id in current_sale_ids():
                settle_turn(sale_id)

    thread = threading.Thread(target=settle_for_ever)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _keep_to_it(
    operation: Any, mode: GenerationMode, header: Callable[[], dict[str, str]], ids: dict[str, Any]
) -> None:
    checks = CHECKS.get_all()

    @hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=EXAMPLES == EXAMPLES_DEFAULT,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def keep_to_it(case: Any, known: bool) -> None:
        # Random ids are nearly always unknown ones; half of the time the shop has what is asked for.
        if known and mode is GenerationMode.POSITIVE and case.path_parameters:
            case.path_parameters |= {name: ids[name] for name in case.path_parameters if name in ids}
        case.call_and_validate(headers=header(), checks=checks)

    keep_to_it()


@pytest.mark.timeout(60 + 20 * EXAMPLES)
@pytest.mark.parametrize("role", ["nobody", "customer", "admin"])
def test_every_answer_is_as_described(app, make_user, stock_shop, role):
    load_all_checks()
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app)
    accepted = schema.config.checks.positive_data_acceptance
    accepted.expected_statuses = [*accepted.expected_statuses, *REFUSED_BY_RULE]
    user = make_user(role="admin" if role == "admin" else "customer")
    failures = []

    def header() -> dict[str, str]:
        # A token for each request: one of the operations is logging out.
        return {} if role == "nobody" else {"Authorization": f"Bearer {issue_access_token(user.id, user.role)}"}

    operations = [result.ok() for result in schema.get_all_operations()]
    with settling():
        for operation in sorted(operations, key=lambda each: ORDER.index(each.method.upper())):
            ids = stock_shop(user)
            for mode in GenerationMode:
                if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                    continue
                try:
                    _keep_to_it(operation, mode, header, ids)
                except FailureGroup as group:
                    reasons = "\n".join(str(failure) for failure in group.exceptions)
                    failures.append(f"{operation.label}, {mode.value}: {group}\n{reasons}")
    assert not failures, "\n\n".join([f"as {role}:", *failures])
