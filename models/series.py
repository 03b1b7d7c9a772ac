"""Series: sales that come again by a rule, what they drew and ran in each month, and why a run was left out."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Money, RowId


class Series(Base):
    """A recurring sale of one product: a recurrence rule (RFC 5545) on the wall clock of an IANA zone.

    Every occurrence becomes a sale of its own with fresh stock, so that no run overwrites another.
    """

    __tablename__ = "series"
    __table_args__ = (
        CheckConstraint("length(title) BETWEEN 1 AND 200", name="title_has_a_length"),
        CheckConstraint("length(rule) BETWEEN 1 AND 500", name="rule_has_a_length"),
        CheckConstraint("length(zone) BETWEEN 1 AND 100", name="zone_has_a_length"),
        CheckConstraint("stock_per_run >= 1", name="stock_per_run_is_positive"),
        CheckConstraint("flash_price > 0", name="flash_price_is_positive"),
        CheckConstraint("max_per_purchase >= 1", name="max_per_purchase_is_positive"),
        CheckConstraint("max_per_user >= 1", name="max_per_user_is_positive"),
        CheckConstraint("max_per_user_month >= 1", name="max_per_user_month_is_positive"),
        CheckConstraint("hold_seconds BETWEEN 1 AND 86400", name="hold_seconds_are_bounded"),
        CheckConstraint("duration_seconds >= 1", name="duration_is_positive"),
        CheckConstraint("runs_per_month >= 1", name="runs_per_month_is_positive"),
        Index("ix_series_product_id", "product_id"),
    )
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012

    id: Mapped[RowId]
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    title: Mapped[str]
    description: Mapped[str | None]

    # An RRULE's value, without DTSTART: the first occurrence on the wall clock, and whose wall it hangs on.
    rule: Mapped[str]
    starts_local: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=False))
    zone: Mapped[str]
    # Occurrences before this moment are none of the series' business: it was not there, or was another.
    planned_from: Mapped[datetime]

    stock_per_run: Mapped[int]
    # None: the product's own price.
    flash_price: Mapped[Money | None]
    max_per_purchase: Mapped[int | None]
    max_per_user: Mapped[int | None]
    hold_seconds: Mapped[int]
    # None: until it is sold out, or until the next occurrence.
    duration_seconds: Mapped[int | None]
    runs_per_month: Mapped[int | None]
    # What one buyer may have of all runs of a month together.
    max_per_user_month: Mapped[int | None]

    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    ended_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class RunOutcome(StrEnum):
    """What became of an occurrence."""

    MADE = "made"
    SKIPPED = "skipped"
    # Made, and taken back before it started: the series was changed, paused or ended.
    WITHDRAWN = "withdrawn"


class SkipReason(StrEnum):
    """Why an occurrence did not become a sale."""

    ACTIVE_SALE = "ACTIVE_SALE"
    ALLOTMENT_EXHAUSTED = "ALLOTMENT_EXHAUSTED"
    RUNS_EXHAUSTED = "RUNS_EXHAUSTED"
    PRICE_NOT_BELOW = "PRICE_NOT_BELOW"
    PRODUCT_ARCHIVED = "PRODUCT_ARCHIVED"


class SeriesRun(Base):
    """One occurrence, or one restart by hand, and what became of it.

    `month` is the 1st of its month in the series' zone; `stock` the units drawn for it from the month's allotment.
    """

    __tablename__ = "series_runs"
    __table_args__ = (
        CheckConstraint("outcome IN ('made', 'skipped', 'withdrawn')", name="outcome_is_known"),
        CheckConstraint("(outcome = 'skipped') = (reason IS NOT NULL)", name="a_skip_has_a_reason"),
        CheckConstraint("(outcome = 'skipped') = (sale_id IS NULL)", name="what_was_made_is_a_sale"),
        CheckConstraint("stock >= 0", name="stock_is_not_negative"),
    )

    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True, autoincrement=False)
    run_at: Mapped[datetime] = mapped_column(primary_key=True)
    month: Mapped[date]
    outcome: Mapped[str]
    reason: Mapped[str | None]
    sale_id: Mapped[int | None] = mapped_column(ForeignKey("flash_sales.id"))
    stock: Mapped[int] = mapped_column(server_default="0")
    by_hand: Mapped[bool] = mapped_column(server_default=text("false"))
    decided_at: Mapped[datetime]


class SeriesMonth(Base):
    """How many runs a series had in a month. A new month has no row yet, and so starts afresh by itself."""

    __tablename__ = "series_months"
    __table_args__ = (CheckConstraint("runs >= 0", name="runs_are_not_negative"),)

    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(primary_key=True)
    runs: Mapped[int] = mapped_column(server_default="0")


class ProductMonth(Base):
    """How many units runs drew from a product's allotment of a month."""

    __tablename__ = "product_months"
    __table_args__ = (CheckConstraint("drawn >= 0", name="drawn_is_not_negative"),)

    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(primary_key=True)
    drawn: Mapped[int] = mapped_column(server_default="0")


class BuyerMonth(Base):
    """The units that a buyer has, bought or held, of a series' runs of a month.

    `user_id` has no foreign key, as in purchases.
    """

    __tablename__ = "buyer_months"
    __table_args__ = (CheckConstraint("units >= 0", name="units_are_not_negative"),)

    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    units: Mapped[int] = mapped_column(server_default="0")


class SeriesReset(Base):
    """A month of a series that began: one row for each, whoever and however many noticed, and however late.

    `at` is 00:00 on the 1st in the series' zone. The rest is what the month before had come to, and started afresh.
    """

    __tablename__ = "series_resets"

    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    noticed_at: Mapped[datetime]
    runs_before: Mapped[int]
    drawn_before: Mapped[int]
    buyers_before: Mapped[int]
    units_before: Mapped[int]
