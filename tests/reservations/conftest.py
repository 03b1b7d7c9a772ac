"""The application over empty stores, its answers held against its own description, and somebody who settles."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from models.database import transaction
from models.gate import admit
from models.purchase import Kind
from models.sale import FlashSale
from models.schedule import current_sale_ids
from models.settings import settings
from models.settle import settle_turn
from models.tokens import issue_access_token
from models.user import User
from tests.application import application
from web import synchronous

PRICE = 49.99


@pytest.fixture
def client(store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    monkeypatch.setenv("RATE_LIMIT_EXEMPT", "0.0.0.0/0, ::/0")
    settings.cache_clear()
    yield application().test_client()
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def call(client: FlaskClient) -> Callable[..., Any]:
    """call(user or None, "POST", path, {…}, Header="…") -> the answer"""

    def send(user: User | None, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            sent["Authorization"] = f"Bearer {issue_access_token(user.id, user.role)}"
        given = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return client.open(path, method=method, headers=sent, **given)

    return send


@pytest.fixture
def worker(store: Any) -> Iterator[None]:
    """Settles every line as it fills, as a worker would."""
    stopped = threading.Event()

    def settle_for_ever() -> None:
        while not stopped.wait(0.005):
            for sale_id in current_sale_ids():
                settle_turn(sale_id)

    thread = threading.Thread(target=settle_for_ever)
    thread.start()
    yield
    stopped.set()
    thread.join(10)


@pytest.fixture
def no_worker(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody settles; whoever waits gives up soon."""
    monkeypatch.setattr(synchronous, "WAIT_SECONDS", 0.2)


@pytest.fixture
def hold(store: Any) -> Callable[..., int]:
    """hold(sale, user, quantity=1) -> the ticket of a hold that runs"""

    def make(sale: Any, user: User, quantity: int = 1) -> int:
        ticket = admit(sale.id, user.id, Kind.RESERVATION, quantity).ticket
        settle_turn(sale.id)
        return ticket

    return make


@pytest.fixture
def run_out(store: Any) -> Callable[..., None]:
    """run_out(sale, milliseconds=1): the time of the sale's holds has been over for so long; nobody has noticed yet."""

    def age(sale: Any, milliseconds: int = 1) -> None:
        with transaction() as session:
            session.execute(
                text("""
                    UPDATE purchases SET expires_at = clock_timestamp() - make_interval(secs => :seconds)
                    WHERE sale_id = :sale_id AND status = 'reserved'
                """),
                {"sale_id": sale.id, "seconds": milliseconds / 1000},
            )

    return age


def check_refusal(answer: Any, status: int, code: str | None = None) -> Any:
    """A refusal in the envelope: its body."""
    assert answer.status_code == status, answer.json
    assert answer.json["success"] is False
    assert answer.json["error"] == answer.json["message"]
    if code is not None:
        assert answer.json["code"] == code
    return answer.json


@pytest.fixture
def held(
    make_sale: Callable[..., FlashSale], make_user: Callable[..., User], hold: Callable[..., Any]
) -> tuple[FlashSale, User]:
    """(sale, user): the user holds two units of the sale, in two holds."""
    sale, user = make_sale(total_stock=5), make_user()
    hold(sale, user)
    hold(sale, user)
    return sale, user


def checkout_body(sale: FlashSale, quantity: int = 2, total: Any = 2 * PRICE, **more: Any) -> dict[str, Any]:
    """All that `held` holds, or as it is told."""
    return {"product_id": sale.product_id, "quantity": quantity, "total_amount": total} | more
