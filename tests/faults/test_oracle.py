"""The controls of the rig: each thing that the oracle looks for is done to it, and it says so."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.faults.ledger import Ask, Ledger
from tests.faults.oracle import Restore, Row, SaleRow, Verdict, judge

SALE = 7
START = datetime(2026, 11, 27, 12, tzinfo=UTC)


def ask(user: int, *told: str, ticket: int | None = None, quantity: int = 1, at: float = 0.0, **fields: object) -> Ask:
    """A buyer's request that was sent and accepted at `at`, and what the buyer was told of it since."""
    values = {"kind": "purchase", "key": f"key-{user}", "sent_at": at, "tries": 1} | fields
    made = Ask(sale_id=SALE, user_id=user, token="", quantity=quantity, **values)
    for number, status in enumerate(("queued", *told)):
        made.hear(at + number, ticket or user, status, "answer" if number == 0 else "look")
    return made


def row(user: int, status: str = "confirmed", *, ticket: int | None = None, quantity: int = 1, **fields: object) -> Row:
    values = {"kind": "purchase", "key": f"key-{user}", "settled_at": START} | fields
    if status == "rejected":
        values = {"reason": "SOLD_OUT"} | values
    return Row(SALE, ticket or user, user, status=status, quantity=quantity, **values)


def sale(rows: list[Row], stock: int = 2, **fields: object) -> SaleRow:
    """A sale whose row agrees with these purchases."""
    sold = sum(each.quantity for each in rows if each.status == "confirmed")
    reserved = sum(each.quantity for each in rows if each.status == "reserved")
    values = {"total_stock": stock, "sold": sold, "reserved": reserved, "settled_through": len(rows)} | fields
    return SaleRow(SALE, **values)


def found(asks: list[Ask], rows: list[Row], restores: tuple[Restore, ...] = (), **of_sale: object) -> Verdict:
    return judge(Ledger(asks), [sale(rows, **of_sale)], rows, restores)


def test_what_is_right_is_found_right():
    asks = [ask(1, "confirmed"), ask(2, "confirmed"), ask(3, "rejected")]
    rows = [row(1), row(2), row(3, "rejected")]

    verdict = found(asks, rows)

    assert verdict.is_right
    assert (verdict.accepted, verdict.lost, verdict.doubled, verdict.wrong_units) == (3, 0, 0, 0)


def test_a_lost_ticket_is_reported():
    verdict = found([ask(1, "confirmed"), ask(2)], [row(1)])

    assert verdict.lost == 1
    assert "accepted as ticket 2 and has no outcome" in verdict.complaints[0]


def test_a_ticket_that_went_to_somebody_else_is_lost():
    assert found([ask(1), ask(2, ticket=1)], [row(1)]).lost == 1


def test_a_ticket_that_went_to_another_request_of_the_same_buyer_is_lost():
    asks = [ask(1, "confirmed"), ask(1, ticket=1, key="another")]

    assert found(asks, [row(1)]).lost == 1


def test_who_lined_up_anew_is_not_lost():
    asks = [ask(1, "confirmed"), ask(2, "confirmed", ticket=1)]

    assert found(asks, [row(1), row(2, ticket=2, original_ticket=1)], (Restore(0, 1),)).lost == 0


@pytest.mark.parametrize(("accepted_at", "forgotten", "lost"), [(4.9, 0, 1), (5.1, 1, 0), (9.9, 1, 0), (10.1, 0, 1)])
def test_a_restore_may_forget_what_was_admitted_after_the_copy_and_nothing_else(accepted_at, forgotten, lost):
    verdict = found([ask(1, at=accepted_at)], [], (Restore(copied_at=5, back_at=10),))

    assert (verdict.forgotten, verdict.lost) == (forgotten, lost)
    assert verdict.is_right is (lost == 0)


def test_two_outcomes_of_one_request_are_reported():
    asks = [ask(1, "confirmed")]

    assert found(asks, [row(1), row(1, ticket=2, key=None)]).doubled == 1


def test_two_outcomes_of_one_key_are_reported():
    asks = [ask(1, "confirmed"), ask(1, "confirmed", ticket=2, key="another")]

    assert found(asks, [row(1), row(1, ticket=2)]).doubled == 1


def test_a_duplicate_that_was_settled_as_one_is_no_second_outcome():
    asks = [ask(1, "confirmed"), ask(2, "confirmed")]
    rows = [row(1), row(2), row(1, "rejected", ticket=3, key=None, reason="DUPLICATE", duplicate_of=1)]

    assert found(asks, rows).is_right


def test_who_asked_twice_without_a_key_may_have_two_outcomes_and_no_third():
    asks = [ask(1, "confirmed", key=None, tries=2)]
    rows = [row(1, key=None), row(1, ticket=2, key=None)]

    assert found(asks, rows).doubled == 0
    assert found(asks, [*rows, row(1, "rejected", ticket=3, key=None)]).doubled == 1


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (("confirmed", "rejected"), "rejected"),
        (("rejected",), "confirmed"),
        (("confirmed",), "rejected"),
        (("reserved", "confirmed", "cancelled"), "confirmed"),
    ],
)
def test_an_outcome_that_changed_into_what_it_cannot_be_is_reported(told, status):
    verdict = found([ask(1, *told)], [row(1, status)])

    assert verdict.doubled == 1


def test_a_hold_may_end_after_it_was_told():
    assert found(
        [ask(1, "reserved", kind="reservation")], [row(1, "cancelled", kind="reservation")], moved=True
    ).is_right


def test_a_socket_that_says_another_outcome_is_reported():
    asked = ask(1, "confirmed")
    asked.hear(5, 1, "rejected", "socket")

    assert found([asked], [row(1)]).doubled == 1


def test_a_socket_that_is_late_is_no_contradiction():
    asked = ask(1, "reserved", "confirmed", kind="reservation")
    asked.hear(5, 1, "reserved", "socket")

    assert found([asked], [row(1, kind="reservation")]).is_right


def test_a_ticket_given_twice_to_one_buyer_tells_of_the_first_request_and_only_after_a_restore():
    first = ask(1, "reserved", "cancelled", kind="reservation")
    second = ask(1, "cancelled", "confirmed", key="another")
    rows = [row(1, "cancelled", kind="reservation"), row(1, ticket=2, key="another", original_ticket=1)]

    assert found([first, second], rows, (Restore(0.0, 9.0),), moved=True).is_right
    assert found([first, second], rows, moved=True).doubled == 1


def test_a_ticket_given_twice_to_one_buyer_excuses_nothing_that_was_told_under_another():
    first = ask(1, "reserved", "cancelled", kind="reservation")
    second = ask(1, "confirmed", key="another")
    second.hear(5, 2, "rejected", "look")
    rows = [row(1, "cancelled", kind="reservation"), row(1, ticket=2, key="another", original_ticket=1)]

    assert found([first, second], rows, (Restore(0.0, 9.0),), moved=True).doubled == 1


@pytest.mark.parametrize(
    "of_sale",
    [
        {"sold": 1},
        {"reserved": 1},
        {"total_stock": 1},
        {"audit_agrees": False},
        {"audit_agrees": None},
    ],
)
def test_units_that_do_not_add_up_are_reported(of_sale):
    asks = [ask(1, "confirmed"), ask(2, "confirmed")]

    assert found(asks, [row(1), row(2)], **of_sale).wrong_units >= 1


def test_other_units_than_were_asked_for_are_reported():
    assert found([ask(1, "confirmed", quantity=2)], [row(1, quantity=1)]).wrong_units == 1


def test_a_unit_left_over_that_somebody_was_refused_is_reported():
    asks = [ask(1, "confirmed"), ask(2, "rejected")]
    rows = [row(1), row(2, "rejected")]

    assert found(asks, rows, stock=2).wrong_units == 1
    assert found(asks, rows, stock=2, moved=True).is_right
    assert found(asks, rows, stock=1).is_right


def test_a_unit_left_over_that_the_gate_refused_is_reported():
    turned_away = Ask(SALE, 2, "", "purchase", 1, key="k", sent_at=0.0, tries=1, refusal="SOLD_OUT")

    assert found([ask(1, "confirmed"), turned_away], [row(1)], stock=2).wrong_units == 1


def test_a_gap_between_tickets_is_reported():
    assert found([ask(1, "confirmed"), ask(3, "confirmed")], [row(1), row(3)], settled_through=3).out_of_order == 1


def test_a_sale_that_was_not_settled_through_its_last_ticket_is_reported():
    assert found([ask(1, "confirmed")], [row(1)], settled_through=2).out_of_order == 1


def test_a_ticket_settled_before_an_earlier_one_is_reported():
    late = replace(row(1), settled_at=START + timedelta(seconds=1))

    assert found([ask(1, "confirmed"), ask(2, "confirmed")], [late, row(2)]).out_of_order == 1


def test_who_asked_later_and_stands_in_front_is_reported():
    asks = [ask(1, "confirmed", ticket=2, at=0.0), ask(2, "confirmed", ticket=1, at=5.0)]
    rows = [row(2, ticket=1), row(1, ticket=2)]

    assert found(asks, rows).out_of_order == 1


def test_an_answer_that_no_shop_should_give_is_reported():
    asked = ask(1, "confirmed")
    asked.broken["500 INTERNAL_ERROR"] += 1

    assert found([asked], [row(1)]).broken == 1
