"""What each buyer bought of a sale moves with the sale's stock, whatever happens at once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import text

from models import holds
from models.audit import audit_sale
from models.database import transaction
from models.leaderboard import by_totals, chronological
from models.purchase import Kind
from models.settle import settle_turn
from models.totals import BuyerTotal

REFUNDS = 8


def totals(sale):
    with transaction() as session:
        rows = session.query(BuyerTotal).filter_by(sale_id=sale.id).order_by(BuyerTotal.user_id)
        return [(row.user_id, row.units, row.first_ticket) for row in rows]


def ranks(rows):
    return [(row.rank, row.user_id, row.units) for row in rows]


def together(count, action):
    barrier = Barrier(count)

    def one(number):
        barrier.wait(60)
        return action(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_units_bought_in_many_batches_add_up_and_refused_ones_do_not_count(make_sale, make_user, buy):
    ann, ben = make_user(), make_user()
    sale = make_sale(total_stock=7)

    buy(sale, (ann, 1), (ben, 2), (ann, 1))
    buy(sale, (ann, 1), (ben, 3))

    assert totals(sale) == [(ann.id, 3, 1), (ben.id, 2, 2)]
    assert audit_sale(sale.id).agrees


def test_a_hold_counts_from_its_checkout_on_and_one_that_is_given_back_never(make_sale, make_user, buy):
    ann, ben = make_user(), make_user()
    sale = make_sale()
    kept, given_back = buy(sale, (ann, 2), (ben, 1), kind=Kind.RESERVATION)
    assert totals(sale) == []

    holds.checkout(sale.id, [kept], ann.id)
    holds.cancel(sale.id, [given_back], ben.id)

    assert totals(sale) == [(ann.id, 2, kept)]


def test_a_hold_that_is_paid_late_stands_where_it_was_admitted(make_sale, make_user, buy):
    early, late = make_user(), make_user()
    sale = make_sale()
    [held] = buy(sale, (early, 1), kind=Kind.RESERVATION)
    [bought] = buy(sale, (late, 1))

    holds.checkout(sale.id, [held], early.id)

    assert [row.ticket for row in chronological(sale.id, 10)] == [held, bought]


def test_a_refund_is_taken_off_and_the_first_ticket_is_then_the_next_one(make_sale, make_user, buy):
    ann, ben, operator = make_user(), make_user(), make_user(role="admin")
    sale = make_sale()
    first, second, other = buy(sale, (ann, 2), (ann, 3), (ben, 1))

    holds.refund(sale.id, first, actor_id=operator.id, reason="broken")
    assert totals(sale) == [(ann.id, 3, second), (ben.id, 1, other)]

    holds.refund(sale.id, second, actor_id=operator.id, reason="broken too")
    assert totals(sale) == [(ben.id, 1, other)]
    assert [row.user_id for row in chronological(sale.id, 10)] == [ben.id]
    assert audit_sale(sale.id).agrees


def test_totals_that_went_astray_are_named_by_the_audit_and_left_as_they_are(make_sale, make_user, buy):
    ann = make_user()
    sale = make_sale()
    buy(sale, (ann, 2))
    with transaction() as session:
        session.execute(text("UPDATE buyer_totals SET units = 3"))

    audit = audit_sale(sale.id)

    assert [check.name for check in audit.checks if not check.agrees] == ["buyerTotals"]
    assert totals(sale) == [(ann.id, 3, 1)]


def test_equals_share_a_rank_and_the_next_rank_is_skipped_on_every_page(make_sale, make_user, buy):
    buyers = [make_user() for _ in range(7)]
    sale = make_sale()
    buy(sale, *zip(buyers, (1, 3, 3, 2, 1, 3, 1), strict=True))
    wanted = [(1, 1, 3), (1, 2, 3), (1, 5, 3), (4, 3, 2), (5, 0, 1), (5, 4, 1), (5, 6, 1)]
    whole = [(rank, buyers[index].id, units) for rank, index, units in wanted]

    assert ranks(by_totals(sale.id, 100)) == whole
    for size in range(1, 8):
        paged, after = [], None
        while rows := by_totals(sale.id, size, after):
            paged += rows
            after = rows[-1].place
        assert ranks(paged) == whole, f"in pages of {size}"


def test_refunds_purchases_and_checkouts_at_once_leave_totals_that_agree(make_sale, make_user, buy):
    ann = make_user()
    sale = make_sale()
    tickets = buy(sale, *[(ann, 1)] * REFUNDS)
    held = buy(sale, *[(ann, 1)] * REFUNDS, kind=Kind.RESERVATION)

    def act(number):
        if number < REFUNDS:
            holds.refund(sale.id, tickets[number], actor_id=ann.id, reason="raced")
        elif number < 2 * REFUNDS:
            holds.checkout(sale.id, [held[number - REFUNDS]], ann.id)
        else:
            settle_turn(sale.id)

    buy_more = [(ann, 1)] * 3
    together(2 * REFUNDS, act)
    buy(sale, *buy_more)

    assert totals(sale) == [(ann.id, REFUNDS + 3, held[0])]
    assert audit_sale(sale.id).agrees


def test_control_the_same_refunds_without_the_lock_lose_count(make_sale, make_user, buy):
    """Read what the buyer has, write what is left: what the sale's lock and the one statement are for."""
    ann = make_user()
    sale = make_sale()
    buy(sale, (ann, 100))

    def take_one(_):
        with transaction() as session:
            units = session.scalar(text("SELECT units FROM buyer_totals WHERE user_id = :user"), {"user": ann.id})
            session.execute(
                text("UPDATE buyer_totals SET units = :left WHERE user_id = :user"),
                {"left": units - 1, "user": ann.id},
            )

    for _ in range(5):
        together(REFUNDS, take_one)

    assert totals(sale)[0][1] > 100 - 5 * REFUNDS, "the race did not happen: the guarded test above proves nothing"
