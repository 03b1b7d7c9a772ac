"""A sale that was archived stays gone: it sells nothing again, blocks nothing, and can be changed by nobody."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from models import holds, rediskeys, restarts, sales
from models.announce import announce
from models.audit import audit_sale
from models.catalogue import delete_product
from models.database import transaction
from models.errors import DomainError
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.sale_rules import SaleNotFoundError
from models.sales import NewSale
from models.settle import settle_turn
from models.snapshot import SaleSnapshot
from models.view import sale_as_told, view_of


def buy(sale_id, user_id=1):
    ticket = admit(sale_id, user_id, Kind.PURCHASE, 1).ticket
    settle_turn(sale_id)
    return ticket


def code_of(action, *args):
    with pytest.raises(DomainError) as caught:
        action(*args)
    return caught.value.code


def test_a_refund_does_not_bring_an_archived_sale_back_and_its_product_can_be_sold_anew(make_sale, sale_row):
    sale = make_sale(total_stock=1)
    ticket = buy(sale.id)
    sales.archive_sale(sale.id)

    assert holds.refund(sale.id, ticket, actor_id=9, reason="broken box").status == "refunded"

    row = sale_row(sale.id)
    assert (row.state, row.end_reason, row.sold, row.remaining) == ("ended", "sold-out", 0, 1)
    assert code_of(buy, sale.id, 2) == "SOLD_OUT"
    assert audit_sale(sale.id).agrees
    new = NewSale(sale.product_id, "A sale", row.starts_at, flash_price=Decimal("49.99"))
    assert sales.create_sale(new, actor_id=1) > sale.id


def test_a_refund_does_not_bring_back_the_sale_of_a_product_that_is_gone(make_sale, sale_row):
    sale = make_sale(total_stock=1)
    ticket = buy(sale.id)
    assert delete_product(sale.product_id).archived_at is not None

    holds.refund(sale.id, ticket, actor_id=9, reason="broken box")

    assert (sale_row(sale.id).state, sale_row(sale.id).remaining) == ("ended", 1)
    assert code_of(buy, sale.id, 2) == "SOLD_OUT"


@pytest.mark.parametrize("is_over", [False, True], ids=["live when it was archived", "over when it was archived"])
def test_an_archived_sale_is_not_found_by_whoever_would_change_it(make_sale, sale_row, is_over):
    sale = make_sale()
    if is_over:
        sales.end_sale(sale.id)
    sales.archive_sale(sale.id)
    before = sale_row(sale.id)

    for change in (sales.pause_sale, sales.resume_sale, sales.end_sale, sales.cancel_sale, sales.archive_sale):
        assert code_of(change, sale.id) == "SALE_NOT_FOUND"
    with pytest.raises(SaleNotFoundError):
        sales.patch_sale(sale.id, {"total_stock": 300, "title": "Back again"}, actor_id=1)

    after = sale_row(sale.id)
    assert (after.revision, after.archived_at, after.title) == (before.revision, before.archived_at, before.title)


def test_a_sale_that_is_archived_while_it_is_about_to_be_restarted_is_not_restarted(make_sale, monkeypatch):
    sale = make_sale()
    lock_both = restarts._lock_both

    def archive_behind(session, sale_id):
        found = lock_both(session, sale_id)
        sales.archive_sale(sale_id)
        return found

    monkeypatch.setattr(restarts, "_lock_both", archive_behind)

    with pytest.raises(SaleNotFoundError):
        restarts.restart_sale(sale.id, actor_id=1)


def test_whoever_asks_what_everybody_was_told_does_not_find_it_and_redis_knows_so_alone(make_sale):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    sales.archive_sale(sale.id)
    with pytest.raises(SaleNotFoundError):
        sale_as_told(sale.id, 0)

    # Whoever stood in line is told that it ended, and that is told of the sale as well.
    assert settle_turn(sale.id).rejected == 1

    assert view_of(sale.id).archived
    with pytest.raises(SaleNotFoundError):
        sale_as_told(sale.id, 0)
    # What Redis forgot is asked of PostgreSQL.
    redis_client().delete(rediskeys.view(sale.id))
    with pytest.raises(SaleNotFoundError):
        sale_as_told(sale.id, 0)


def test_what_a_process_wrote_that_knew_nothing_of_this_is_read_as_ever(make_sale):
    sale = SaleSnapshot.of(make_sale())
    announce(sale)
    redis_client().hdel(rediskeys.view(sale.sale_id), "archived")
    wire = sale.to_wire()
    del wire["archived"]

    assert view_of(sale.sale_id) == sale
    assert SaleSnapshot.from_wire(wire) == sale


def test_what_is_held_of_a_sale_that_was_called_off_can_be_bought_until_the_hold_runs_out(make_sale, sale_row):
    """A hold is a promise: who has one is no longer in line, and nobody else gets in."""
    for call_off in (sales.cancel_sale, sales.archive_sale):
        sale = make_sale(total_stock=5)
        for user_id in (1, 2):
            admit(sale.id, user_id, Kind.RESERVATION, 1)
        settle_turn(sale.id)
        admit(sale.id, 3, Kind.PURCHASE, 1)

        call_off(sale.id)

        assert settle_turn(sale.id).rejected == 1
        assert code_of(admit, sale.id, 4, Kind.PURCHASE, 1) == "ENDED"
        assert holds.checkout(sale.id, [1], 1)[0].status == "confirmed"
        with transaction() as session:
            due = {"id": sale.id, "late": timedelta(seconds=1)}
            session.execute(
                text("UPDATE purchases SET expires_at = now() - :late WHERE sale_id = :id AND status = 'reserved'"), due
            )
        assert code_of(holds.checkout, sale.id, [2], 2) == "RESERVATION_EXPIRED"
        assert holds.expire_due_holds() == 1
        row = sale_row(sale.id)
        assert (row.state, row.sold, row.reserved) == ("cancelled", 1, 0)
        assert audit_sale(sale.id).agrees
