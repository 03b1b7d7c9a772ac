"""`decide()` on its own: any sale, any buyers, any requests."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from models.decide import Holding, Request, SaleTerms, decide
from models.outcomes import Waiting
from models.purchase import Kind, Reason, Status
from models.sale import SaleState

START = 1_000_000
SALE = SaleTerms(
    total_stock=10,
    sold=0,
    reserved=0,
    starts_ms=START,
    ends_ms=None,
    state=SaleState.LIVE,
    paused=False,
    max_per_purchase=None,
    max_per_user=None,
    hold_seconds=600,
)


def request(ticket=1, user_id=1, quantity=1, kind=Kind.PURCHASE, at=START, **fields):
    return Request(ticket, user_id, kind, quantity, nonce=f"n{ticket}", admitted_ms=at, **fields)


def decide_one(sale=SALE, holding=None, **fields):
    held = {1: holding} if holding else {}
    return decide(sale, held, [request(**fields)], START + 5).outcomes[0]


def test_units_go_in_ticket_order_until_there_are_none():
    requests = [request(ticket=n, user_id=n, quantity=4) for n in (1, 2, 3)]

    decision = decide(SALE, {}, requests, START)

    assert [outcome.status for outcome in decision.outcomes] == ["confirmed", "confirmed", "rejected"]
    assert decision.outcomes[2].reason is Reason.INSUFFICIENT_STOCK
    assert decision.sold == 8


def test_a_smaller_request_behind_one_that_was_too_large_still_gets_its_units():
    requests = [request(ticket=1, user_id=1, quantity=11), request(ticket=2, user_id=2, quantity=10)]

    outcomes = decide(SALE, {}, requests, START).outcomes

    assert [(o.status, o.reason) for o in outcomes] == [("rejected", "INSUFFICIENT_STOCK"), ("confirmed", None)]


def test_a_request_admitted_before_the_end_is_honoured_and_one_at_the_end_is_not():
    sale = replace(SALE, ends_ms=START + 100, state=SaleState.ENDED)

    assert decide_one(sale, at=START + 99).status is Status.CONFIRMED
    assert decide_one(sale, at=START + 100).reason is Reason.ENDED


def test_a_request_admitted_before_the_start_is_refused_even_if_the_sale_says_live():
    assert decide_one(at=START - 1).reason is Reason.NOT_STARTED


def test_a_cancelled_sale_and_a_paused_one_sell_nothing():
    assert decide_one(replace(SALE, state=SaleState.CANCELLED)).reason is Reason.ENDED
    assert decide_one(replace(SALE, paused=True)).reason is Reason.PAUSED


def test_a_buyer_cannot_pass_their_limit_by_asking_twice_in_one_batch():
    sale = replace(SALE, max_per_user=2)
    requests = [request(ticket=n, quantity=1) for n in (1, 2, 3)]

    outcomes = decide(sale, {}, requests, START).outcomes

    assert [o.reason for o in outcomes] == [None, None, "LIMIT_EXCEEDED"]
    assert decide_one(sale, Holding(units=2)).reason is Reason.LIMIT_EXCEEDED
    assert decide_one(replace(SALE, max_per_purchase=1), quantity=2).reason is Reason.LIMIT_EXCEEDED


def test_a_buyers_month_counts_what_they_have_of_other_runs_and_of_this_batch():
    sale = replace(SALE, max_per_user_month=4)
    requests = [request(ticket=n, kind=kind) for n, kind in enumerate([*Kind, *Kind], 1)]

    outcomes = decide(sale, {1: Holding(month_units=2)}, requests, START).outcomes

    assert [o.reason for o in outcomes] == [None, None, "LIMIT_EXCEEDED", "LIMIT_EXCEEDED"]
    assert decide_one(sale, Holding(units=9)).status is Status.CONFIRMED


def test_the_same_key_is_decided_once_within_a_batch_and_across_batches():
    requests = [request(ticket=n, idempotency_key="k") for n in (1, 2)]

    outcomes = decide(SALE, {}, requests, START).outcomes

    assert (outcomes[1].reason, outcomes[1].duplicate_of) == (Reason.DUPLICATE, 1)
    later = decide(SALE, {}, [request(ticket=9, idempotency_key="k")], START, {(1, "k"): 1}).outcomes[0]
    assert later.duplicate_of == 1


def test_a_top_up_shares_the_clock_of_the_hold_that_runs_and_an_old_hold_does_not_shorten_a_new_one():
    running = Holding(units=1, hold_expires_ms=START + 50)
    over = Holding(units=1, hold_expires_ms=START + 5)

    assert decide_one(holding=running, kind=Kind.RESERVATION).expires_ms == START + 50
    assert decide_one(holding=over, kind=Kind.RESERVATION).expires_ms == START + 5 + 600_000


sales = st.builds(
    SaleTerms,
    total_stock=st.integers(20, 60),
    sold=st.integers(0, 10),
    reserved=st.integers(0, 10),
    starts_ms=st.just(START),
    ends_ms=st.none() | st.integers(START + 1, START + 100),
    state=st.sampled_from(SaleState),
    paused=st.booleans(),
    max_per_purchase=st.none() | st.integers(1, 5),
    max_per_user=st.none() | st.integers(1, 8),
    hold_seconds=st.integers(1, 1000),
    max_per_user_month=st.none() | st.integers(1, 8),
)
lines = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.integers(1, 9),
        st.sampled_from(Kind),
        st.integers(START - 20, START + 120),
        st.none() | st.sampled_from("ab"),
    ),
    max_size=40,
)


# What buyers have of the other runs of the month.
elsewhere = st.dictionaries(st.integers(1, 5), st.builds(Holding, month_units=st.integers(1, 9)))


@given(sales, lines, elsewhere)
def test_whatever_comes_stock_is_conserved_limits_hold_and_everyone_has_one_outcome(sale, line, earlier):
    requests = [
        request(ticket=n, user_id=user, quantity=quantity, kind=kind, at=at, idempotency_key=key)
        for n, (user, quantity, kind, at, key) in enumerate(line, 1)
    ]

    decision = decide(sale, earlier, requests, START + 50)

    assert [outcome.request for outcome in decision.outcomes] == requests
    bought = sum(o.request.quantity for o in decision.outcomes if o.status is Status.CONFIRMED)
    held = sum(o.request.quantity for o in decision.outcomes if o.status is Status.RESERVED)
    assert (decision.sold, decision.reserved) == (sale.sold + bought, sale.reserved + held)
    assert decision.sold + decision.reserved <= sale.total_stock
    for user in range(1, 6):
        units = sum(o.request.quantity for o in decision.outcomes if o.request.user_id == user and not o.reason)
        assert sale.max_per_user is None or units <= sale.max_per_user
        before = earlier.get(user, Holding()).month_units
        assert sale.max_per_user_month is None or units == 0 or before + units <= sale.max_per_user_month
    for outcome in decision.outcomes:
        assert (outcome.status is Status.REJECTED) == (outcome.reason is not None)
        assert (outcome.status is Status.RESERVED) == (outcome.expires_ms is not None)


@given(sales, lines, st.integers(0, 40), elsewhere)
def test_a_line_cut_into_two_batches_has_the_same_outcomes_as_one(sale, line, cut, earlier):
    requests = [
        request(ticket=n, user_id=user, quantity=quantity, kind=kind, at=at, idempotency_key=key)
        for n, (user, quantity, kind, at, key) in enumerate(line, 1)
    ]
    whole = decide(sale, earlier, requests, START)

    first = decide(sale, earlier, requests[:cut], START)
    holdings: dict[int, Holding] = dict(earlier)
    keys = {}
    for outcome in first.outcomes:
        user, key = outcome.request.user_id, outcome.request.idempotency_key
        if outcome.status is not Status.REJECTED:
            before = holdings.get(user, Holding())
            expires = outcome.expires_ms or before.hold_expires_ms
            quantity = outcome.request.quantity
            holdings[user] = Holding(before.units + quantity, expires, before.month_units + quantity)
        if key and outcome.reason is not Reason.DUPLICATE:
            keys[(user, key)] = outcome.request.ticket
    second = decide(replace(sale, sold=first.sold, reserved=first.reserved), holdings, requests[cut:], START, keys)

    assert [*first.outcomes, *second.outcomes] == whole.outcomes
    assert (second.sold, second.reserved) == (whole.sold, whole.reserved)


@given(sales, sales, lines, elsewhere, st.booleans())
def test_what_was_guessed_ahead_is_what_would_be_decided_now(guessed, sale, line, earlier, as_guessed):
    """Or it is thrown away: whatever of the sale, its buyers or the time became another."""
    requests = [
        request(ticket=n, user_id=user, quantity=quantity, kind=kind, at=at, idempotency_key=key)
        for n, (user, quantity, kind, at, key) in enumerate(line, 1)
    ]
    now, holdings = (guessed, {}) if as_guessed else (sale, earlier)
    ahead = Waiting(requests)
    ahead.guess(guessed)

    assert ahead.decided(now, holdings, START + 50, {}).decision == decide(now, holdings, requests, START + 50)


def test_a_key_that_was_settled_before_is_no_guess():
    requests = [request(idempotency_key="once")]
    ahead = Waiting(requests)
    ahead.guess(SALE)

    (outcome,) = ahead.decided(SALE, {}, START, {(1, "once"): 7}).decision.outcomes
    assert (outcome.reason, outcome.duplicate_of) == ("DUPLICATE", 7)
