"""The verdict: a rush passes only if every unit and every accepted request is accounted for."""

from collections import Counter
from dataclasses import replace

import pytest

from ops.rush import Verdict
from ops.rush.tally import SaleCount
from ops.rush.verdict import SaleBooks, judge

# 5,000 buyers, 200 units: 300 came into the line before the gate knew that all was gone.
COUNT = SaleCount(
    sale_id=7,
    quantity=1,
    buyers=5_000,
    accepted=300,
    confirmed=200,
    confirmed_units=200,
    refused=Counter(SOLD_OUT=4_700),
    rejected=Counter(SOLD_OUT=100),
)
BOOKS = SaleBooks(sale_id=7, total_stock=200, sold=200, agrees=True)


def fault(count: SaleCount = COUNT, books: SaleBooks | None = BOOKS) -> str:
    """The one fault that is found, which makes the rush fail."""
    verdict = Verdict(judge([(count, books)]))
    assert verdict.exit_status == 1
    [only] = verdict.faults
    return only


def faults(count: SaleCount = COUNT, books: SaleBooks | None = BOOKS) -> tuple[str, ...]:
    return judge([(count, books)])


def test_a_rush_in_which_every_unit_found_its_buyer_is_right() -> None:
    verdict = Verdict(judge([(COUNT, BOOKS)]))

    assert verdict.is_right
    assert verdict.exit_status == 0


def test_one_unit_more_in_the_books_than_the_buyers_hold_is_wrong() -> None:
    assert "the shop sold 200 units, but the buyers counted 199" in fault(replace(COUNT, confirmed_units=199))


def test_one_unit_more_in_the_buyers_hands_than_in_the_books_is_wrong() -> None:
    assert "the buyers counted 201" in fault(replace(COUNT, confirmed_units=201))


def test_more_units_than_there_are_is_wrong_even_where_everybody_agrees_about_it() -> None:
    assert "oversold: 201 units of 200" in fault(replace(COUNT, confirmed_units=201), replace(BOOKS, sold=201))


def test_an_accepted_request_without_an_outcome_is_wrong() -> None:
    assert "1 accepted requests have no outcome" in fault(replace(COUNT, lost=1))


def test_a_buyer_who_never_had_an_answer_is_wrong() -> None:
    assert "1 buyers never had an answer" in fault(replace(COUNT, unanswered=1))


def test_two_buyers_with_one_purchase_are_wrong() -> None:
    assert "2 buyers share a purchase" in fault(replace(COUNT, doubled=2))


def test_a_confirmed_purchase_of_another_quantity_is_wrong() -> None:
    assert "not what was asked for" in fault(replace(COUNT, misjudged=1))


def test_a_purchase_that_became_a_hold_is_wrong() -> None:
    assert "became reserved" in fault(replace(COUNT, other_statuses=Counter(reserved=1)))


def test_an_audit_that_disagrees_is_wrong_and_says_where() -> None:
    books = replace(BOOKS, agrees=False, disagreements=("sold is 200 in the sale's row and 199 by recount",))

    assert "the audit disagrees: sold is 200" in fault(books=books)


def test_an_audit_that_cannot_be_had_proves_nothing() -> None:
    assert "its audit could not be had" in fault(books=None)


def test_a_unit_left_over_that_somebody_was_refused_is_wrong() -> None:
    found = fault(replace(COUNT, confirmed=199, confirmed_units=199), replace(BOOKS, sold=199))

    assert "1 units are left although 4800 buyers were told that there were none" in found


def test_a_rest_that_is_smaller_than_what_everybody_wants_may_be_left_over() -> None:
    threes = replace(COUNT, quantity=3, confirmed=66, confirmed_units=198, refused=Counter(INSUFFICIENT_STOCK=4_700))

    assert faults(threes, replace(BOOKS, sold=198)) == ()


def test_too_few_sold_in_spite_of_the_demand_is_wrong_whatever_the_buyers_were_told() -> None:
    turned_away = replace(
        COUNT,
        accepted=199,
        confirmed=199,
        confirmed_units=199,
        refused=Counter(TOKEN_INVALID=4_801),
        rejected=Counter(),
    )

    assert "only 199 of 200 units were sold" in fault(turned_away, replace(BOOKS, sold=199))


def test_fewer_buyers_than_units_leave_units_over_and_all_is_right() -> None:
    few = SaleCount(sale_id=7, quantity=1, buyers=50, accepted=50, confirmed=50, confirmed_units=50)

    assert faults(few, replace(BOOKS, sold=50)) == ()


def test_units_that_others_bought_beside_the_crowd_are_no_fault_of_it() -> None:
    assert faults(replace(COUNT, confirmed=197, confirmed_units=197), replace(BOOKS, sold_to_others=3)) == ()


def test_units_that_came_back_after_an_early_no_are_no_fault() -> None:
    assert faults(replace(COUNT, confirmed_units=199), replace(BOOKS, sold=199, moved=True)) == ()


def test_every_sale_of_a_rush_is_judged_by_its_own_books() -> None:
    other = replace(COUNT, sale_id=8, confirmed_units=199)

    found = judge([(COUNT, BOOKS), (other, replace(BOOKS, sale_id=8))])

    assert [text.split(":")[0] for text in found] == ["sale 8"]


@pytest.fixture
def audit() -> dict[str, object]:
    """The answer of GET /api/flash-sales/7/audit after a rush that went well."""

    def check(name: str, recorded: int) -> dict[str, object]:
        return {"name": name, "recorded": recorded, "counted": recorded, "agrees": True}

    return {
        "saleId": "7",
        "agrees": True,
        "checks": [check("sold", 200), check("reserved", 0), check("totalStock", 200)],
        "unitsByStatus": {"confirmed": 200, "rejected": 100},
    }


def test_the_books_are_read_from_the_audit(audit: dict[str, object]) -> None:
    assert SaleBooks.of_audit(audit, stock_before=200, sold_to_others=0) == BOOKS


def test_the_books_know_when_stock_moved_during_the_rush(audit: dict[str, object]) -> None:
    restocked = SaleBooks.of_audit(audit, stock_before=150, sold_to_others=0)
    returned = SaleBooks.of_audit(
        audit | {"unitsByStatus": {"confirmed": 199, "refunded": 1}}, stock_before=200, sold_to_others=0
    )

    assert restocked.moved
    assert returned.moved


def test_the_books_name_the_check_that_disagrees(audit: dict[str, object]) -> None:
    wrong = {"name": "sold", "recorded": 200, "counted": 199, "agrees": False}
    audit |= {"agrees": False, "checks": [wrong, *audit["checks"][1:]]}  # type: ignore[index]

    books = SaleBooks.of_audit(audit, stock_before=200, sold_to_others=0)

    assert books.disagreements == ("sold is 200 in the sale's row and 199 by recount",)
