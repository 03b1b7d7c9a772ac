"""Sales as they are shown, and changed by whoever sends back what they were shown."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from models import sales
from models.database import transaction


def _shown(client, sale):
    return client.get(f"/api/flash-sales/{sale.id}").json["data"]


def _keep(sale, **times):
    """Set times of a sale's row as they are kept, to the microsecond."""
    with transaction() as session:
        row = session.get_one(type(sale), sale.id)
        for name, moment in times.items():
            setattr(row, name, moment)


@pytest.fixture
def patch(client, admin):
    return lambda sale, **body: client.patch(f"/api/flash-sales/{sale.id}", headers=admin, json=body)


def test_the_times_of_a_live_sale_can_be_sent_back_as_they_were_shown(client, patch, make_sale, sale_row):
    sale = make_sale(opens_in=timedelta(seconds=-5), lasts=timedelta(hours=1))
    starts_at = sale.starts_at.replace(microsecond=123_456)
    ends_at = sale.ends_at.replace(microsecond=987_654)
    _keep(sale, starts_at=starts_at, ends_at=ends_at)
    shown = _shown(client, sale)

    answer = patch(sale, title="Renamed", startTime=shown["startTime"], endTime=shown["endTime"])

    assert answer.status_code == 200, answer.json
    row = sale_row(sale.id)
    assert (row.title, row.starts_at, row.ends_at) == ("Renamed", starts_at, ends_at)


def test_the_end_of_a_sale_that_is_over_can_be_sent_back_and_does_not_bring_it_back(client, patch, make_sale, sale_row):
    sale = make_sale()
    sales.end_sale(sale.id)
    ends_at = sale_row(sale.id).ends_at
    shown = _shown(client, sale)

    answer = patch(sale, description="It was fun", startTime=shown["startTime"], endTime=shown["endTime"])

    assert answer.status_code == 200, answer.json
    row = sale_row(sale.id)
    assert (row.description, row.state, row.end_reason, row.ends_at) == ("It was fun", "ended", "time-ended", ends_at)


def test_a_time_that_is_another_by_a_millisecond_is_a_change(patch, make_sale, sale_row):
    sale = make_sale(opens_in=timedelta(seconds=-5), lasts=timedelta(hours=1))
    later = sale.ends_at.replace(microsecond=0) + timedelta(hours=1, milliseconds=1)

    moved = patch(sale, endTime=later.isoformat())
    refused = patch(sale, startTime=(sale.starts_at + timedelta(milliseconds=1)).isoformat())
    past = patch(sale, endTime=sale.starts_at.isoformat())

    assert (moved.status_code, sale_row(sale.id).ends_at) == (200, later)
    assert (refused.status_code, refused.json["code"]) == (409, "SALE_STARTED")
    assert (past.status_code, past.json["errors"][0]["field"]) == (400, "endTime")


def test_an_end_can_be_taken_away_and_its_absence_sent_back(patch, make_sale, sale_row):
    sale = make_sale(lasts=timedelta(hours=1))

    assert [patch(sale, endTime=None).json["data"]["endTime"] for _ in range(2)] == [None, None]
    assert sale_row(sale.id).ends_at is None


def test_a_start_that_moves_behind_the_end_that_stays_is_refused(client, patch, make_sale):
    sale = make_sale(opens_in=timedelta(hours=1), lasts=timedelta(hours=1))
    shown = _shown(client, sale)

    answer = patch(sale, startTime=(sale.ends_at + timedelta(minutes=1)).isoformat(), endTime=shown["endTime"])

    assert [error["message"] for error in answer.json["errors"]] == ["must be after startTime"]


@pytest.mark.parametrize(
    ("original", "flash", "shown"),
    [
        # 33.346 percent, which is 33.35 to two decimals and would then be 33.4.
        ("1000", "666.54", 33.3),
        ("400", "351", 12.3),
        ("400", "352.99", 11.8),
        ("99.99", "99.99", 0.0),
        ("9999999999.99", "0.01", 100.0),
        (None, None, None),
    ],
)
def test_a_discount_is_rounded_once_and_half_up(client, make_sale, original, flash, shown):
    prices = {"original_price": original and Decimal(original), "flash_price": flash and Decimal(flash)}

    assert _shown(client, make_sale(**prices))["discount"] == shown


def test_a_price_that_is_not_below_is_held_against_the_price_that_it_has_to_be_below(client, admin, patch, make_sale):
    sale = make_sale()
    with transaction() as session:
        session.execute(text("UPDATE products SET price = 79.99 WHERE id = :id"), {"id": sale.product_id})

    changed = patch(sale, flashPrice=99.99)
    new = {"title": "New", "productId": str(sale.product_id), "flashPrice": 79.99, "startTime": "2026-01-01T00:00Z"}
    made = client.post("/api/flash-sales", headers=admin, json=new)
    unpriced = patch(make_sale(original_price=None, flash_price=None), flashPrice=9.99)

    words = [answer.json["errors"] for answer in (changed, made, unpriced)]
    assert words == [
        [{"field": "flashPrice", "message": "must be below the sale's original price of 99.99"}],
        [{"field": "flashPrice", "message": "must be below the product's price of 79.99"}],
        [{"field": "flashPrice", "message": "the sale has no original price to be below"}],
    ]
