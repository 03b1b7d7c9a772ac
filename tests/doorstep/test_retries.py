"""A second try under the same key, when the first has its outcome: told, also where nobody prefers to wait."""

import json
from threading import Semaphore

import pytest

from models.holds import refund
from models.settle import settle_turn
from tests.doorstep.looking import told
from tests.doorstep.sides import bearer, units
from web.waiting import waiters


@pytest.fixture
def again(ways, me):
    """again(sale) -> the same request as before, at the doorstep and around it; both count as requests"""

    def ask(sale):
        environ = units(sale) | {"HTTP_AUTHORIZATION": bearer(me), "HTTP_IDEMPOTENCY_KEY": "once"}
        short, was_short = ways.through(**environ)
        status, headers, body = short.alike()
        assert was_short
        long_status, long_headers, long_body = ways.around(**environ).alike()
        assert (status, body, headers["Location"]) == (long_status, long_body, long_headers["Location"])
        return short

    return ask


def test_one_that_is_in_line_has_its_place(again, make_sale):
    sale = make_sale()
    again(sale)

    answer = again(sale)

    assert told(answer) == (202, "queued")


def test_one_that_was_confirmed_is_told_so(again, make_sale):
    sale = make_sale()
    again(sale)
    settle_turn(sale.id)

    answer = again(sale)

    assert told(answer) == (201, "confirmed")
    assert json.loads(answer.body)["data"]["ticket"] == 1
    assert "Preference-Applied" not in answer.headers


def test_one_that_was_rejected_is_told_why(again, make_sale, ways):
    sale = make_sale(total_stock=1)
    ways.around(**units(sale))
    again(sale)
    settle_turn(sale.id)

    answer = again(sale)

    assert told(answer) == (409, "rejected")
    assert json.loads(answer.body)["code"] == "SOLD_OUT"


def test_one_that_was_refunded_is_told_so(again, make_sale, make_user):
    sale = make_sale()
    again(sale)
    settle_turn(sale.id)
    refund(sale.id, 1, actor_id=make_user(role="admin").id, reason="torn")

    assert told(again(sale)) == (201, "refunded")


def test_one_that_finds_no_room_to_look_is_told_its_place_at_once(again, make_sale, monkeypatch):
    """Thousands may ask again while PostgreSQL says nothing: they take neither its connections nor threads."""
    sale = make_sale()
    again(sale)
    settle_turn(sale.id)
    monkeypatch.setattr(waiters(), "_looks", Semaphore(0))

    assert told(again(sale)) == (202, "queued")
