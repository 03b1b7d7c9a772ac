"""Series under a clock that the tests move, and the application over them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from models.series_plan import plan_series
from models.series_rules import NewSeries, clock, create_series
from models.tokens import issue_access_token
from tests.application import application
from tests.series.helpers import NOON, local, sales_of


@pytest.fixture
def make_series(make_product) -> Callable[..., int]:
    """make_series(now=NOON, rule="FREQ=DAILY", starts_local=…, zone="UTC", …) -> its id; daily at 18:00 unless told."""

    def make(*, now: datetime = NOON, **fields: Any) -> int:
        values = {
            "product_id": fields.pop("product_id", None) or make_product().id,
            "title": "Every day",
            "rule": "FREQ=DAILY",
            "starts_local": local(2027, 1, 1, 18),
            "zone": "UTC",
            "flash_price": Decimal("49.99"),
        }
        return create_series(NewSeries(**values | fields), now=now)

    return make


@pytest.fixture
def live_run(make_series) -> Callable[..., tuple[int, int]]:
    """live_run(**series) -> (series id, the id of a run of it that is on by every clock, for a year)."""

    def make(**fields: Any) -> tuple[int, int]:
        now = clock()
        starts_local = (now - timedelta(seconds=1)).replace(tzinfo=None, microsecond=0)
        values = {"rule": "FREQ=YEARLY", "starts_local": starts_local, "flash_price": None} | fields
        series_id = make_series(now=now - timedelta(seconds=3), **values)
        # What stood ready three seconds ago is on, and the next one stands ready.
        plan_series(now)
        return series_id, sales_of(series_id)[0].id

    return make


@pytest.fixture
def app(store):
    return application()


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def admin(make_user):
    """The header of an admin."""
    user = make_user(role="admin")
    return {"Authorization": f"Bearer {issue_access_token(user.id, user.role)}"}


@pytest.fixture
def customer(make_user):
    """The header of a customer."""
    user = make_user()
    return {"Authorization": f"Bearer {issue_access_token(user.id, user.role)}"}
