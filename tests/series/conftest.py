"""Series under a clock that the tests move, and the application over them."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from models.series_rules import NewSeries, create_series
from tests.series.helpers import NOON, local


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
