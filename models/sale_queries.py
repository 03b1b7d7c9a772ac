"""Reading sales: one, a page of many, and what is live. Never under a lock, and never the source of a decision."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Select, and_, func, not_, or_, select
from sqlalchemy.orm import Session, joinedload

from models.database import transaction
from models.errors import InvalidError
from models.product import Product
from models.replica import read_lately
from models.sale import FlashSale, SaleState
from models.sale_rules import SaleNotFoundError
from models.snapshot import SaleSnapshot

# So many sales may lie before a page: PostgreSQL walks past every one of them.
OFFSET_MAX = 100_000
LIVE_MAX = 100
SORTS = {
    "createdAt": FlashSale.created_at,
    "updatedAt": FlashSale.updated_at,
    "startTime": FlashSale.starts_at,
    "endTime": FlashSale.ends_at,
    "title": FlashSale.title,
    "flashPrice": FlashSale.flash_price,
    "originalPrice": FlashSale.original_price,
    "discount": FlashSale.discount,
    "totalStock": FlashSale.total_stock,
    "soldCount": FlashSale.sold,
    "remainingStock": FlashSale.remaining,
}


class TimeStatus(StrEnum):
    """A sale's place in time, as lists filter by it. PAUSED would be LIVE, were it not held back."""

    UPCOMING = "UPCOMING"
    LIVE = "LIVE"
    PAUSED = "PAUSED"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class SaleFilter:
    """Which sales a list shows; None shows them whatever they are. `page` starts at 1."""

    page: int = 1
    limit: int = 10
    search: str | None = None
    status: TimeStatus | None = None
    active: bool | None = None
    featured: bool | None = None
    product_id: int | None = None
    sort_by: str = "createdAt"
    descending: bool = True


def get_sale(sale_id: int) -> FlashSale:
    """A sale with its product. Raises SaleNotFoundError, also for an archived one."""
    with transaction() as session:
        sale = session.scalar(_with_product().where(FlashSale.id == sale_id, FlashSale.archived_at.is_(None)))
    if sale is None:
        raise SaleNotFoundError
    return sale


def list_sales(wanted: SaleFilter) -> tuple[list[FlashSale], int]:
    """A page of sales with their products, and how many there are in all. Raises InvalidError (page)."""
    conditions = _conditions(wanted)
    column = SORTS[wanted.sort_by]
    order = column.desc().nulls_last() if wanted.descending else column.asc().nulls_last()
    query = (
        _with_product()
        .where(*conditions)
        .order_by(order, FlashSale.id.desc())
        .limit(wanted.limit)
        .offset(_offset(wanted))
    )

    def ask(session: Session) -> tuple[list[FlashSale], int]:
        total = session.scalar(select(func.count()).select_from(FlashSale).where(*conditions)) or 0
        return list(session.scalars(query)), total

    return read_lately(ask)


def _offset(wanted: SaleFilter) -> int:
    """How many sales lie before the page."""
    page_max = OFFSET_MAX // wanted.limit + 1
    if wanted.page > page_max:
        narrow = "narrow the list with its filters to see the others"
        raise InvalidError.field("page", f"must be at most {page_max} with {wanted.limit} to a page: {narrow}")
    return (wanted.page - 1) * wanted.limit


def live_sales() -> list[FlashSale]:
    """The sales that can be bought from now, featured first: started, not over, active, with units left."""
    query = _with_product().where(FlashSale.archived_at.is_(None), is_live(), FlashSale.remaining > 0)
    query = query.order_by(FlashSale.featured.desc(), FlashSale.ends_at.asc().nulls_last(), FlashSale.id)
    return read_lately(lambda session: list(session.scalars(query.limit(LIVE_MAX))))


def snapshots_of(sale_ids: Sequence[int]) -> list[SaleSnapshot]:
    """These sales as they stand, without those that are unknown."""
    with transaction() as session:
        return [SaleSnapshot.of(sale) for sale in session.scalars(select(FlashSale).where(FlashSale.id.in_(sale_ids)))]


def titles_of(sale_ids: Collection[int]) -> dict[int, str]:
    """The titles of these sales, archived ones too: a purchase outlives its sale's place in the lists."""
    with transaction() as session:
        found = session.execute(select(FlashSale.id, FlashSale.title).where(FlashSale.id.in_(set(sale_ids))))
        return {row.id: row.title for row in found}


def is_live() -> ColumnElement[bool]:
    """By the clock, whether or not beat has come by."""
    return and_(_is_running(), not_(FlashSale.paused))


def _is_running() -> ColumnElement[bool]:
    """Started and not over, held back or not."""
    now = func.now()
    return and_(
        FlashSale.state.in_((SaleState.SCHEDULED, SaleState.LIVE)),
        FlashSale.starts_at <= now,
        or_(FlashSale.ends_at.is_(None), FlashSale.ends_at > now),
    )


def _is_over() -> ColumnElement[bool]:
    # Without the NULL check a sale without an end would be neither over nor not over.
    past = and_(FlashSale.ends_at.is_not(None), FlashSale.ends_at <= func.now())
    return or_(FlashSale.state.in_((SaleState.ENDED, SaleState.CANCELLED)), past)


def _conditions(wanted: SaleFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [FlashSale.archived_at.is_(None)]
    if wanted.search:
        conditions.append(FlashSale.title.icontains(wanted.search, autoescape=True))
    if wanted.status is TimeStatus.UPCOMING:
        conditions += [FlashSale.starts_at > func.now(), not_(_is_over())]
    elif wanted.status is TimeStatus.LIVE:
        conditions.append(is_live())
    elif wanted.status is TimeStatus.PAUSED:
        conditions += [_is_running(), FlashSale.paused.is_(True)]
    elif wanted.status is TimeStatus.ENDED:
        conditions.append(_is_over())
    if wanted.active is not None:
        is_active = and_(not_(FlashSale.paused), FlashSale.state != SaleState.CANCELLED)
        conditions.append(is_active if wanted.active else not_(is_active))
    if wanted.featured is not None:
        conditions.append(FlashSale.featured.is_(wanted.featured))
    if wanted.product_id is not None:
        conditions.append(FlashSale.product_id == wanted.product_id)
    return conditions


def _with_product() -> Select[FlashSale]:
    return select(FlashSale).options(joinedload(FlashSale.product, innerjoin=True).joinedload(Product.category))
