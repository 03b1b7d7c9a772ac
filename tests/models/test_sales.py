"""Making and changing sales."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from models import holds, sales
from models.audit import audit_sale
from models.database import transaction
from models.errors import ConflictError, InvalidError, NotFoundError
from models.gate import admit
from models.movement import StockMovement
from models.purchase import Kind
from models.sale_queries import SaleFilter, TimeStatus, get_sale, list_sales, live_sales
from models.sales import ActiveSaleExistsError, NewSale
from models.schedule import close_due_sales, open_due_sales
from models.settle import settle_turn


def now():
    with transaction() as session:
        return session.scalar(text("SELECT now()"))


def new(product, **fields):
    values = {"starts_at": now() - timedelta(seconds=1), "title": "A sale", "flash_price": Decimal("49.99")}
    return NewSale(product.id, **values | fields)


def buy(sale_id, user_id=1, quantity=1, kind=Kind.PURCHASE):
    ticket = admit(sale_id, user_id, kind, quantity).ticket
    settle_turn(sale_id)
    return ticket


def test_a_sale_takes_its_price_from_the_product_and_its_stock_from_the_settings(make_product):
    product = make_product(price=Decimal("99.99"), currency="EUR")

    sale = get_sale(sales.create_sale(new(product), actor_id=7))

    assert (sale.original_price, sale.flash_price, sale.discount) == (
        Decimal("99.99"),
        Decimal("49.99"),
        Decimal("50.01"),
    )
    assert (sale.currency, sale.total_stock, sale.remaining, sale.state) == ("EUR", 200, 200, "live")
    with transaction() as session:
        movement = session.query(StockMovement).one()
    assert (movement.kind, movement.quantity, movement.actor_id) == ("initial", 200, 7)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"flash_price": Decimal("99.99")}, "flashPrice"),
        ({"flash_price": Decimal("100")}, "flashPrice"),
        ({"total_stock": 0}, "totalStock"),
        ({"total_stock": -5}, "totalStock"),
        ({"ends_at": "before the start"}, "endTime"),
        ({"ends_at": "in the past"}, "endTime"),
    ],
)
def test_a_sale_that_cannot_be_is_refused_with_the_field_and_nothing_is_written(make_product, fields, field):
    product = make_product()
    moments = {"before the start": now() - timedelta(hours=2), "in the past": now() - timedelta(milliseconds=1)}
    if "ends_at" in fields:
        fields = {"ends_at": moments[fields["ends_at"]]}

    with pytest.raises(InvalidError) as caught:
        sales.create_sale(new(product, **fields), actor_id=1)

    assert [each.field for each in caught.value.fields] == [field]
    assert list_sales(SaleFilter())[1] == 0


def test_a_product_has_one_scheduled_or_live_sale_and_a_paused_one_gives_its_place_up(make_product):
    product = make_product()
    first = sales.create_sale(new(product), actor_id=1)
    with pytest.raises(ActiveSaleExistsError):
        sales.create_sale(new(product, starts_at=now() + timedelta(hours=1)), actor_id=1)

    sales.pause_sale(first)
    second = sales.create_sale(new(product), actor_id=1)

    with pytest.raises(ActiveSaleExistsError):
        sales.resume_sale(first)
    sales.cancel_sale(second)
    sales.resume_sale(first)
    with pytest.raises(NotFoundError):
        sales.create_sale(new(product.__class__(id=999)), actor_id=1)


def test_a_sale_whose_time_is_over_blocks_no_new_one_even_before_beat_comes_by(make_product, make_sale):
    product = make_product()
    old = make_sale(product_id=product.id, opens_in=timedelta(seconds=-10), lasts=timedelta(seconds=5))

    sales.create_sale(new(product), actor_id=1)

    assert get_sale(old.id).end_reason == "time-ended"


def test_stock_is_raised_at_any_time_and_lowered_only_to_what_is_sold_and_held(make_sale, sale_row):
    sale = make_sale(total_stock=10)
    buy(sale.id, quantity=3)
    buy(sale.id, quantity=2, kind=Kind.RESERVATION)

    with pytest.raises(InvalidError) as caught:
        sales.patch_sale(sale.id, {"total_stock": 4}, actor_id=1)
    assert caught.value.code == "STOCK_BELOW_SOLD"
    sales.patch_sale(sale.id, {"total_stock": 5}, actor_id=1)
    sales.patch_sale(sale.id, {"total_stock": 50}, actor_id=1)

    assert (sale_row(sale.id).remaining, sale_row(sale.id).total_stock) == (45, 50)
    assert audit_sale(sale.id).agrees


def test_a_sale_that_sold_out_goes_on_when_stock_is_added_and_when_a_purchase_is_refunded(make_sale, sale_row):
    sale = make_sale(total_stock=1)
    ticket = buy(sale.id)
    assert sale_row(sale.id).end_reason == "sold-out"

    sales.patch_sale(sale.id, {"total_stock": 2}, actor_id=1)
    assert sale_row(sale.id).state == "live"
    buy(sale.id, user_id=2)
    assert sale_row(sale.id).state == "ended"
    assert holds.refund(sale.id, ticket, actor_id=9, reason="broken box").status == "refunded"

    assert (sale_row(sale.id).state, sale_row(sale.id).remaining) == ("live", 1)
    buy(sale.id, user_id=3)
    assert audit_sale(sale.id).agrees
    with pytest.raises(ConflictError):
        holds.refund(sale.id, ticket, actor_id=9, reason="again")


def test_who_was_admitted_before_the_end_is_served_after_it(make_sale, sale_row):
    sale = make_sale(total_stock=5)
    admit(sale.id, 1, Kind.PURCHASE, 1)

    sales.end_sale(sale.id)

    assert settle_turn(sale.id).confirmed == 1
    assert (sale_row(sale.id).sold, sale_row(sale.id).end_reason) == (1, "time-ended")


def test_who_waits_when_a_sale_is_called_off_is_told_that_it_ended(make_sale):
    sale = make_sale(total_stock=5)
    admit(sale.id, 1, Kind.PURCHASE, 1)

    sales.cancel_sale(sale.id)

    assert settle_turn(sale.id).rejected == 1
    with pytest.raises(ConflictError):
        sales.patch_sale(sale.id, {"total_stock": 9}, actor_id=1)


def test_a_start_can_be_moved_until_it_has_come(make_sale, sale_row):
    sale = make_sale(opens_in=timedelta(hours=1))

    sales.patch_sale(sale.id, {"starts_at": now() - timedelta(minutes=1)}, actor_id=1)

    assert sale_row(sale.id).state == "live"
    with pytest.raises(ConflictError) as caught:
        sales.patch_sale(sale.id, {"starts_at": now() + timedelta(hours=1)}, actor_id=1)
    assert caught.value.code == "SALE_STARTED"


def test_beat_opens_and_ends_what_is_due_once_however_often_it_comes(make_sale, sale_row):
    sale = make_sale(opens_in=timedelta(milliseconds=20), lasts=timedelta(milliseconds=60))
    later = make_sale(opens_in=timedelta(hours=1))
    while sale_row(sale.id).state == "scheduled":
        open_due_sales()
    revision = sale_row(sale.id).revision
    assert open_due_sales() == 0
    while not close_due_sales():
        pass

    assert close_due_sales() == 0
    after = sale_row(sale.id)
    assert (after.state, after.end_reason, after.revision) == ("ended", "time-ended", revision + 1)
    assert sale_row(later.id).state == "scheduled"


def test_an_archived_sale_is_out_of_sight_and_its_purchases_are_not_erased(make_sale):
    sale = make_sale()
    buy(sale.id)

    sales.archive_sale(sale.id)

    with pytest.raises(NotFoundError):
        get_sale(sale.id)
    assert list_sales(SaleFilter())[1] == 0
    assert audit_sale(sale.id).units_by_status == {"confirmed": 1}


def test_lists_filter_by_the_clock_by_flags_and_by_words(make_sale):
    live = make_sale(title="Live shoes", featured=True)
    upcoming = make_sale(title="Next 100%", opens_in=timedelta(hours=1))
    paused = make_sale(title="Paused")
    sales.pause_sale(paused.id)
    over = make_sale(title="Over")
    sales.end_sale(over.id)

    def found(**wanted):
        return {sale.id for sale in list_sales(SaleFilter(**wanted))[0]}

    assert found() == {live.id, upcoming.id, paused.id, over.id}
    assert found(status=TimeStatus.LIVE) == {live.id}
    assert found(status=TimeStatus.PAUSED) == {paused.id}
    assert found(status=TimeStatus.UPCOMING) == {upcoming.id}
    assert found(status=TimeStatus.ENDED) == {over.id}
    assert found(active=False) == {paused.id}
    assert found(featured=True) == {live.id}
    assert found(search="100%") == {upcoming.id}
    assert found(search="_") == set()
    assert [sale.id for sale in live_sales()] == [live.id]
    page, total = list_sales(SaleFilter(page=2, limit=3, sort_by="title", descending=False))
    assert ([sale.title for sale in page], total) == (["Paused"], 4)
