"""The WebSocket with a real client over a real socket: join, the stock falls, sold out, the end; and coming back."""

import time
from datetime import timedelta

import pytest

from models import holds, sales
from models.clock import now, to_iso
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.schedule import close_due_sales, open_due_sales
from models.settle import settle_turn
from web.listener import OUTGOING_MAX


def buy(sale_id, *buyers, quantity=1, kind=Kind.PURCHASE):
    tickets = [admit(sale_id, buyer, kind, quantity).ticket for buyer in buyers]
    settle_turn(sale_id)
    return tickets


def test_whoever_joins_sees_the_stock_fall_to_sold_out_and_the_end(live, make_sale, token_of):
    sale = make_sale(total_stock=3)
    client = live.connect(token=token_of(1))
    client.send("joinFlashSale", flashSaleId=str(sale.id))
    name, data = client.hear()
    assert (name, data["flashSaleId"], data["availableUnits"]) == ("stockUpdate", str(sale.id), 3)
    assert data["serverTime"].endswith("Z")

    buy(sale.id, 7)
    heard = client.hear_until("stockUpdate", availableUnits=2)
    assert "purchaseSettled" not in [name for name, _ in heard], "another buyer's outcome is none of their business"

    buy(sale.id, 8, 9)
    names = [name for name, _ in client.hear_until("flashSaleEnded", reason="sold-out")]
    assert names == ["lineMoved", "stockUpdate", "lineMoved", "flashSaleEnded"][-len(names) :]


def test_a_buyer_alone_hears_of_their_own_purchase(live, make_sale, token_of):
    sale = make_sale(total_stock=1)
    winner, loser, stranger = (live.connect(token=token_of(user)) for user in (1, 2, 3))
    for client in (winner, loser, stranger):
        client.send("joinFlashSale", flashSaleId=sale.id)
        client.hear_until("stockUpdate")

    buy(sale.id, 1, 2)

    _, won = winner.hear_until("purchaseSettled")[-1]
    _, lost = loser.hear_until("purchaseSettled")[-1]
    assert (won["purchaseId"], won["status"], won["reason"]) == (f"{sale.id}-1", "confirmed", None)
    assert (lost["purchaseId"], lost["status"], lost["reason"]) == (f"{sale.id}-2", "rejected", "SOLD_OUT")
    assert "purchaseSettled" not in [name for name, _ in stranger.hear_until("flashSaleEnded")]


def test_who_comes_back_with_since_misses_nothing(live, make_sale, token_of):
    sale = make_sale(total_stock=10)
    client = live.connect(token=token_of(1))
    client.send("joinFlashSale", flashSaleId=sale.id)
    _, seen = client.hear_until("stockUpdate")[-1]
    client.close()
    for buyer in (1, 2, 3):
        buy(sale.id, buyer)
    sales.pause_sale(sale.id)
    sales.resume_sale(sale.id)
    sales.end_sale(sale.id)

    again = live.connect(token=token_of(1))
    again.send("joinFlashSale", flashSaleId=sale.id, since=seen["seq"])

    heard = again.hear_until("flashSaleEnded")
    assert [d["availableUnits"] for name, d in heard if name == "stockUpdate"] == [9, 8, 7]
    assert [name for name, _ in heard if name.startswith("flashSale")] == [
        "flashSalePaused",
        "flashSaleResumed",
        "flashSaleEnded",
    ]
    _, mine = again.hear_until("purchaseSettled")[-1]
    assert mine["purchaseId"] == f"{sale.id}-1"


def test_who_missed_more_than_a_queue_holds_hears_all_of_it(live, make_sale):
    sale = make_sale(total_stock=1000)
    client = live.connect()
    client.send("joinFlashSale", flashSaleId=sale.id)
    _, seen = client.hear_until("stockUpdate")[-1]
    client.close()
    for buyer in range(1, OUTGOING_MAX + 1):
        buy(sale.id, buyer)

    again = live.connect()
    again.send("joinFlashSale", flashSaleId=sale.id, since=seen["seq"])

    left = 1000 - OUTGOING_MAX
    heard = again.hear_until("stockUpdate", availableUnits=left, state="live")
    told = [data["availableUnits"] for name, data in heard if name == "stockUpdate"]
    assert told == [*range(999, left - 1, -1), left]


def test_who_was_away_for_longer_than_the_stream_remembers_is_told_so(live, make_sale, servers):
    sale = make_sale(total_stock=10)
    buy(sale.id, 1)
    redis_client().flushall()
    buy(sale.id, 2)

    client = live.connect()
    client.send("joinFlashSale", flashSaleId=sale.id, since=1)

    heard = client.hear_until("stockUpdate", availableUnits=8)
    assert ("eventsMissed", sale.revision) in [(name, data.get("since")) for name, data in heard]


def test_a_start_and_an_end_that_are_moved_are_told_at_once_and_to_whoever_comes_back(live, make_sale, make_user):
    sale = make_sale(opens_in=timedelta(hours=1), lasts=timedelta(hours=1))
    admin = make_user(role="admin").id
    client = live.connect()
    client.send("joinFlashSale", flashSaleId=sale.id)
    _, first = client.hear_until("stockUpdate")[-1]
    assert (first["startsAt"], first["endsAt"]) == (to_iso(sale.starts_at), to_iso(sale.ends_at))

    later = sale.starts_at + timedelta(minutes=30)
    sales.patch_sale(sale.id, {"starts_at": later}, actor_id=admin)
    client.hear_until("flashSaleMoved", startsAt=to_iso(later), endsAt=to_iso(sale.ends_at))
    sales.patch_sale(sale.id, {"ends_at": None}, actor_id=admin)
    client.hear_until("flashSaleMoved", startsAt=to_iso(later), endsAt=None)

    back = live.connect()
    back.send("joinFlashSale", flashSaleId=sale.id, since=first["seq"])
    heard = back.hear_until("flashSaleMoved", endsAt=None)
    assert [name for name, _ in heard] == ["flashSaleMoved", "flashSaleMoved"]


def test_a_change_that_moves_no_time_moves_no_clock_and_an_end_is_told_as_an_end(live, make_sale, make_user):
    sale = make_sale()
    admin = make_user(role="admin").id
    client = live.connect()
    client.send("joinFlashSale", flashSaleId=sale.id)
    client.hear_until("stockUpdate")

    sales.patch_sale(sale.id, {"total_stock": 300, "title": "More of them"}, actor_id=admin)
    heard = client.hear_until("stockUpdate", availableUnits=300, totalUnits=300)
    sales.end_sale(sale.id)
    heard += client.hear_until("flashSaleEnded", reason="time-ended")
    assert "flashSaleMoved" not in [name for name, _ in heard]

    # Going on again, it says until when, whatever was told before.
    ends_at = now() + timedelta(hours=1)
    sales.patch_sale(sale.id, {"ends_at": ends_at}, actor_id=admin)
    heard = client.hear_until("flashSaleStarted")
    assert [data["endsAt"] for name, data in heard if name == "flashSaleMoved"] == [to_iso(ends_at)]


def test_beat_announces_the_start_and_the_end(live, make_sale):
    sale = make_sale(opens_in=timedelta(milliseconds=100), lasts=timedelta(seconds=5))
    client = live.connect()
    client.send("joinFlashSale", flashSaleId=sale.id)
    client.hear_until("stockUpdate")
    while not open_due_sales():
        pass
    client.hear_until("flashSaleStarted", flashSaleId=str(sale.id))
    while not close_due_sales():
        pass
    client.hear_until("flashSaleEnded", reason="time-ended")


def test_units_of_a_hold_that_ends_are_seen_to_come_back(live, make_sale, token_of):
    sale = make_sale(total_stock=2)
    client = live.connect(token=token_of(1))
    client.send("joinFlashSale", flashSaleId=sale.id)
    [ticket] = buy(sale.id, 1, quantity=2, kind=Kind.RESERVATION)
    client.hear_until("stockUpdate", availableUnits=0)

    holds.cancel(sale.id, [ticket], 1)

    heard = client.hear_until("stockUpdate", availableUnits=2)
    assert ("purchaseSettled", "cancelled") in [(name, data.get("status")) for name, data in heard]


def test_changes_in_quick_succession_reach_a_client_as_a_few_updates_and_the_last_one_wins(live, make_sale):
    sale = make_sale(total_stock=1000)
    client = live.connect()
    client.send("joinFlashSale", flashSaleId=sale.id)
    client.hear_until("stockUpdate", availableUnits=1000)

    began_at = time.monotonic()
    for buyer in range(1, 201):
        buy(sale.id, buyer)

    updates = [data for name, data in client.hear_until("stockUpdate", availableUnits=800) if name == "stockUpdate"]
    assert len(updates) <= 10 * (time.monotonic() - began_at) + 2
    assert len(updates) < 200
    assert [data["seq"] for data in updates] == sorted(data["seq"] for data in updates)


def test_old_clients_at_the_root_must_say_who_they_are(live, make_sale, token_of):
    sale = make_sale()
    nobody, forger = live.connect("/"), live.connect("/", token="forged")
    assert forger.hear() == ("error", {"code": "UNAUTHORIZED", "message": "Unauthorized access"})
    nobody.send("joinFlashSale", flashSaleId=sale.id)
    assert nobody.hear() == ("error", {"code": "UNAUTHORIZED", "message": "Unauthorized access"})

    nobody.send("authenticate", token=token_of(5)).send("joinFlashSale", flashSaleId=sale.id)

    assert nobody.hear() == ("authenticated", {"userId": "5"})
    assert nobody.hear()[0] == "stockUpdate"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{not json", "BAD_FRAME"),
        ("[]", "BAD_FRAME"),
        ('{"event": 7}', "BAD_FRAME"),
        ('{"event": "joinFlashSale"}', "BAD_FRAME"),
        ('{"event": "joinFlashSale", "data": {"flashSaleId": -1}}', "BAD_FRAME"),
        ('{"event": "joinFlashSale", "data": {"flashSaleId": "999999999999999999999"}}', "SALE_NOT_FOUND"),
        ('{"event": "joinFlashSale", "data": {"flashSaleId": "99"}}', "SALE_NOT_FOUND"),
        ('{"event": "joinFlashSale", "data": {"flashSaleId": "99", "since": "x"}}', "BAD_FRAME"),
        ('{"event": "authenticate", "data": {"token": 5}}', "BAD_FRAME"),
        ('{"event": "authenticate", "data": {"token": "x.y.z"}}', "UNAUTHORIZED"),
        ('{"event": "drop tables"}', "UNKNOWN_EVENT"),
    ],
)
def test_a_frame_of_the_wrong_shape_is_answered_with_an_error(live, text, code):
    client = live.connect()

    client.connection.send(text)

    assert client.hear()[1]["code"] == code


def test_frames_that_are_too_large_or_too_many_end_the_conversation(live, make_sale):
    large, flood = live.connect(), live.connect()

    large.connection.send("x" * 10_000)
    assert large.is_dropped()
    for _ in range(300):
        try:
            flood.send("leaveFlashSale", flashSaleId=1)
        except OSError:
            break
    assert flood.is_dropped()

    assert live.connect().send("joinFlashSale", flashSaleId=make_sale().id).hear()[0] == "stockUpdate"


def test_redis_killed_and_back_is_caught_up_with(live, make_sale, servers, token_of):
    sale = make_sale(total_stock=5)
    client = live.connect(token=token_of(1))
    client.send("joinFlashSale", flashSaleId=sale.id)
    client.hear_until("stockUpdate", availableUnits=5)
    servers.valkey.kill()
    servers.valkey.start()

    buy(sale.id, 1)

    heard = client.hear_until("stockUpdate", availableUnits=4)
    if "purchaseSettled" not in [name for name, _ in heard]:
        client.hear_until("purchaseSettled", status="confirmed")
