"""A flash sale: one run of one product, and the only place where stock is stored."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, Numeric, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.database import Base, CreatedAt, Money, RowId
from models.product import Product
from models.series import Series


class SaleState(StrEnum):
    """scheduled -> live -> ended, or -> cancelled from either of the first two; ended -> live by a restock."""

    SCHEDULED = "scheduled"
    LIVE = "live"
    ENDED = "ended"
    CANCELLED = "cancelled"


class EndReason(StrEnum):
    """Why a sale is over, in the words of the `flashSaleEnded` event."""

    SOLD_OUT = "sold-out"
    TIME_ENDED = "time-ended"
    CANCELLED = "cancelled"


class FlashSale(Base):
    """One run of one product at a flash price.

    Stock changes only under this row's lock. `revision` counts the committed changes of the row, so that whoever
    holds two copies knows which is the newer. `settled_through` is the highest ticket that has its outcome.
    """

    __tablename__ = "flash_sales"
    __table_args__ = (
        CheckConstraint("length(title) BETWEEN 1 AND 200", name="title_has_a_length"),
        CheckConstraint("total_stock >= 0", name="total_stock_is_not_negative"),
        CheckConstraint("sold >= 0", name="sold_is_not_negative"),
        CheckConstraint("reserved >= 0", name="reserved_is_not_negative"),
        CheckConstraint("sold + reserved <= total_stock", name="never_oversold"),
        CheckConstraint("original_price > 0", name="original_price_is_positive"),
        CheckConstraint("flash_price > 0", name="flash_price_is_positive"),
        CheckConstraint("flash_price <= original_price", name="flash_price_is_no_surcharge"),
        CheckConstraint("(flash_price IS NULL) = (original_price IS NULL)", name="priced_or_not"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_is_iso_4217"),
        CheckConstraint("ends_at > starts_at", name="ends_after_it_starts"),
        CheckConstraint("state IN ('scheduled', 'live', 'ended', 'cancelled')", name="state_is_known"),
        CheckConstraint("end_reason IN ('sold-out', 'time-ended', 'cancelled')", name="end_reason_is_known"),
        CheckConstraint("(state IN ('ended', 'cancelled')) = (end_reason IS NOT NULL)", name="an_end_has_a_reason"),
        CheckConstraint("max_per_purchase >= 1", name="max_per_purchase_is_positive"),
        CheckConstraint("max_per_user >= 1", name="max_per_user_is_positive"),
        CheckConstraint("hold_seconds BETWEEN 1 AND 86400", name="hold_seconds_are_bounded"),
        CheckConstraint("settled_through >= 0", name="settled_through_is_not_negative"),
        # One scheduled or live sale a product, beside its series; a paused one gives its place up until it is resumed.
        Index(
            "uq_flash_sales_active_product",
            "product_id",
            unique=True,
            postgresql_where=text("state IN ('scheduled', 'live') AND NOT paused AND series_id IS NULL"),
        ),
        # No two active sales of a product at one time, a series' runs included: by their times, whatever beat is
        # doing, so that the next run can stand ready while one is on. The ranges need no extension for their `=`.
        ExcludeConstraint(
            (text("int8range(product_id, product_id, '[]')"), "&&"),
            (text("tstzrange(starts_at, ends_at)"), "&&"),
            name="ex_flash_sales_one_at_a_time",
            where=text("state IN ('scheduled', 'live') AND NOT paused"),
        ),
        # An occurrence becomes one sale, however many planners are at it.
        UniqueConstraint("series_id", "run_at"),
        # What beat looks for every second, without reading the sales of the past.
        Index("ix_flash_sales_due_start", "starts_at", postgresql_where=text("state = 'scheduled'")),
        Index("ix_flash_sales_due_end", "ends_at", postgresql_where=text("state IN ('scheduled', 'live')")),
        Index("ix_flash_sales_created_at", "created_at"),
        Index("ix_flash_sales_product_id", "product_id"),
        Index("ix_flash_sales_updated_at", "updated_at"),
    )

    # Computed columns come back with the statement that changed them.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012

    id: Mapped[RowId]
    title: Mapped[str]
    description: Mapped[str | None]
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))

    # A run of a series: the occurrence it stands for (none once it was withdrawn), and its month in the series' zone.
    series_id: Mapped[int | None] = mapped_column(ForeignKey(Series.id))
    run_at: Mapped[datetime | None]
    month: Mapped[date | None]

    original_price: Mapped[Money | None]
    flash_price: Mapped[Money | None]
    currency: Mapped[str]
    discount: Mapped[Decimal | None] = mapped_column(
        Numeric(5, 2), Computed("round((original_price - flash_price) * 100 / original_price, 2)", persisted=True)
    )

    total_stock: Mapped[int]
    sold: Mapped[int] = mapped_column(server_default="0")
    reserved: Mapped[int] = mapped_column(server_default="0")
    remaining: Mapped[int] = mapped_column(Computed("total_stock - sold - reserved", persisted=True))

    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(server_default=SaleState.SCHEDULED)
    end_reason: Mapped[str | None]
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    featured: Mapped[bool] = mapped_column(server_default=text("false"))

    max_per_purchase: Mapped[int | None]
    max_per_user: Mapped[int | None]
    hold_seconds: Mapped[int]
    # Settled by a worker of its own, on the queue `sale.<id>`.
    dedicated: Mapped[bool] = mapped_column(server_default=text("false"))

    settled_through: Mapped[int] = mapped_column(server_default="0")
    revision: Mapped[int] = mapped_column(server_default="1")

    # Out of sight.
    archived_at: Mapped[datetime | None]
    # Its purchases and movements are no longer here: models/archives.py.
    history_archived_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    # Named where it is wanted, so that no query under the row lock drags the product along.
    product: Mapped[Product] = relationship(lazy="raise")
