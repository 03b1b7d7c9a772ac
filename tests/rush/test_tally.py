"""The tally: what every buyer saw, added up."""

from collections import Counter

from ops.rush.figures import milliseconds, percentile
from ops.rush.tally import Tally, Visit


def a_visit(tally: Tally) -> Visit:
    visit = Visit(sale_id=7, quantity=1)
    tally.visits.append(visit)
    return visit


def settle(tally: Tally, visit: Visit, status: str = "confirmed", reason: str = "", units: int = 1) -> None:
    tally.settle(visit, 3.0, status=status, reason=reason, units=units, settled_at="")


def test_every_buyer_is_counted_by_what_became_of_them() -> None:
    tally = Tally()
    lucky, late, refused, silent = (a_visit(tally) for _ in range(4))

    tally.accept(lucky, "7-1", 2.0)
    settle(tally, lucky)
    tally.accept(late, "7-2", 2.0)
    settle(tally, late, "rejected", "SOLD_OUT")
    tally.refuse(refused, "SOLD_OUT", 2.0)
    count = tally.count(7)

    assert (count.buyers, count.accepted, count.confirmed_units, count.lost) == (4, 2, 1, 0)
    assert (count.rejected, count.refused) == (Counter(SOLD_OUT=1), Counter(SOLD_OUT=1))
    assert silent.is_unanswered
    assert count.unanswered == 1
    assert tally.done == 3


def test_an_accepted_buyer_who_never_heard_again_is_lost() -> None:
    tally = Tally()
    tally.accept(a_visit(tally), "7-1", 2.0)

    assert tally.count(7).lost == 1


def test_two_buyers_with_the_same_purchase_are_both_counted() -> None:
    tally = Tally()
    for _ in range(2):
        tally.accept(a_visit(tally), "7-1", 2.0)

    assert tally.count(7).doubled == 2


def test_a_purchase_of_another_sale_or_quantity_is_seen() -> None:
    tally = Tally()
    for purchase_id, units in (("8-1", 1), ("7-2", 2), ("7-3", 1)):
        visit = a_visit(tally)
        tally.accept(visit, purchase_id, 2.0)
        settle(tally, visit, units=units)

    assert tally.count(7).misjudged == 2


def test_sales_are_counted_apart() -> None:
    tally = Tally()
    tally.accept(a_visit(tally), "7-1", 2.0)
    tally.visits.append(Visit(sale_id=8, quantity=1))

    assert (tally.count(7).buyers, tally.count(8).buyers) == (1, 1)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    hundred = [float(number) for number in range(1, 101)]

    assert [percentile(hundred, percent) for percent in (50, 95, 99)] == [50.0, 95.0, 99.0]
    assert percentile([4.0], 99) == 4.0


def test_times_are_told_in_milliseconds_and_of_nothing_nothing_is_told() -> None:
    assert milliseconds([0.1, 0.3, 0.2]) == {"p50": 200.0, "p95": 300.0, "p99": 300.0, "max": 300.0}
    assert milliseconds([]) is None
