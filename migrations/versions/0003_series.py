"""Series.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.gently import lock_first

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ACTIVE = "state IN ('scheduled', 'live') AND NOT paused"


def upgrade() -> None:
    lock_first("flash_sales", "products")
    _create_series()
    _create_series_runs()
    _create_months()
    _create_series_resets()
    _change_products_and_sales()


def downgrade() -> None:
    # What a series left of its runs is history; only the ties are cut.
    op.drop_constraint("uq_flash_sales_series_id_run_at", "flash_sales", type_="unique")
    op.drop_constraint("ex_flash_sales_one_at_a_time", "flash_sales")
    op.drop_index("uq_flash_sales_active_product", table_name="flash_sales")
    op.create_index(
        "uq_flash_sales_active_product", "flash_sales", ["product_id"], unique=True, postgresql_where=sa.text(ACTIVE)
    )
    op.drop_constraint(op.f("fk_flash_sales_series_id"), "flash_sales", type_="foreignkey")
    for column in ("month", "run_at", "series_id"):
        op.drop_column("flash_sales", column)
    op.drop_constraint(op.f("ck_products_monthly_allotment_is_not_negative"), "products", type_="check")
    op.drop_column("products", "monthly_allotment")
    for table in ("series_resets", "buyer_months", "product_months", "series_months", "series_runs", "series"):
        op.drop_table(table)


def _moment(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column:
    return sa.Column(
        name,
        postgresql.TIMESTAMP(timezone=True),
        nullable=nullable,
        server_default=sa.text(default) if default else None,
    )


def _create_series() -> None:
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("product_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("starts_local", postgresql.TIMESTAMP(timezone=False), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        _moment("planned_from"),
        sa.Column("stock_per_run", sa.BigInteger(), nullable=False),
        sa.Column("flash_price", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("max_per_purchase", sa.BigInteger(), nullable=True),
        sa.Column("max_per_user", sa.BigInteger(), nullable=True),
        sa.Column("hold_seconds", sa.BigInteger(), nullable=False),
        sa.Column("duration_seconds", sa.BigInteger(), nullable=True),
        sa.Column("runs_per_month", sa.BigInteger(), nullable=True),
        sa.Column("max_per_user_month", sa.BigInteger(), nullable=True),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _moment("ended_at", nullable=True),
        _moment("created_at", default="now()"),
        _moment("updated_at", default="now()"),
        sa.CheckConstraint("length(title) BETWEEN 1 AND 200", name=op.f("ck_series_title_has_a_length")),
        sa.CheckConstraint("length(rule) BETWEEN 1 AND 500", name=op.f("ck_series_rule_has_a_length")),
        sa.CheckConstraint("length(zone) BETWEEN 1 AND 100", name=op.f("ck_series_zone_has_a_length")),
        sa.CheckConstraint("stock_per_run >= 1", name=op.f("ck_series_stock_per_run_is_positive")),
        sa.CheckConstraint("flash_price > 0", name=op.f("ck_series_flash_price_is_positive")),
        sa.CheckConstraint("max_per_purchase >= 1", name=op.f("ck_series_max_per_purchase_is_positive")),
        sa.CheckConstraint("max_per_user >= 1", name=op.f("ck_series_max_per_user_is_positive")),
        sa.CheckConstraint("max_per_user_month >= 1", name=op.f("ck_series_max_per_user_month_is_positive")),
        sa.CheckConstraint("hold_seconds BETWEEN 1 AND 86400", name=op.f("ck_series_hold_seconds_are_bounded")),
        sa.CheckConstraint("duration_seconds >= 1", name=op.f("ck_series_duration_is_positive")),
        sa.CheckConstraint("runs_per_month >= 1", name=op.f("ck_series_runs_per_month_is_positive")),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name=op.f("fk_series_product_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
    )
    op.create_index("ix_series_product_id", "series", ["product_id"])


def _create_series_runs() -> None:
    op.create_table(
        "series_runs",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        _moment("run_at"),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("sale_id", sa.BigInteger(), nullable=True),
        sa.Column("stock", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("by_hand", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _moment("decided_at"),
        sa.CheckConstraint("outcome IN ('made', 'skipped', 'withdrawn')", name=op.f("ck_series_runs_outcome_is_known")),
        sa.CheckConstraint(
            "(outcome = 'skipped') = (reason IS NOT NULL)", name=op.f("ck_series_runs_a_skip_has_a_reason")
        ),
        sa.CheckConstraint(
            "(outcome = 'skipped') = (sale_id IS NULL)", name=op.f("ck_series_runs_what_was_made_is_a_sale")
        ),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_series_runs_stock_is_not_negative")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_series_runs_series_id")),
        sa.ForeignKeyConstraint(["sale_id"], ["flash_sales.id"], name=op.f("fk_series_runs_sale_id")),
        sa.PrimaryKeyConstraint("series_id", "run_at", name=op.f("pk_series_runs")),
    )


def _create_months() -> None:
    op.create_table(
        "series_months",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("runs", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("runs >= 0", name=op.f("ck_series_months_runs_are_not_negative")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_series_months_series_id")),
        sa.PrimaryKeyConstraint("series_id", "month", name=op.f("pk_series_months")),
    )
    op.create_table(
        "product_months",
        sa.Column("product_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("drawn", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("drawn >= 0", name=op.f("ck_product_months_drawn_is_not_negative")),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name=op.f("fk_product_months_product_id")),
        sa.PrimaryKeyConstraint("product_id", "month", name=op.f("pk_product_months")),
    )
    op.create_table(
        "buyer_months",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("units", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("units >= 0", name=op.f("ck_buyer_months_units_are_not_negative")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_buyer_months_series_id")),
        sa.PrimaryKeyConstraint("series_id", "month", "user_id", name=op.f("pk_buyer_months")),
    )


def _create_series_resets() -> None:
    op.create_table(
        "series_resets",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        _moment("at"),
        _moment("noticed_at"),
        sa.Column("runs_before", sa.BigInteger(), nullable=False),
        sa.Column("drawn_before", sa.BigInteger(), nullable=False),
        sa.Column("buyers_before", sa.BigInteger(), nullable=False),
        sa.Column("units_before", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_series_resets_series_id")),
        sa.PrimaryKeyConstraint("series_id", "month", name=op.f("pk_series_resets")),
    )


def _change_products_and_sales() -> None:
    op.add_column("products", sa.Column("monthly_allotment", sa.BigInteger(), nullable=True))
    op.create_check_constraint(
        op.f("ck_products_monthly_allotment_is_not_negative"), "products", "monthly_allotment >= 0"
    )
    op.add_column("flash_sales", sa.Column("series_id", sa.BigInteger(), nullable=True))
    op.add_column("flash_sales", _moment("run_at", nullable=True))
    op.add_column("flash_sales", sa.Column("month", sa.Date(), nullable=True))
    op.create_foreign_key(op.f("fk_flash_sales_series_id"), "flash_sales", "series", ["series_id"], ["id"])
    op.create_unique_constraint("uq_flash_sales_series_id_run_at", "flash_sales", ["series_id", "run_at"])
    op.drop_index("uq_flash_sales_active_product", table_name="flash_sales")
    op.create_index(
        "uq_flash_sales_active_product",
        "flash_sales",
        ["product_id"],
        unique=True,
        postgresql_where=sa.text(f"{ACTIVE} AND series_id IS NULL"),
    )
    op.execute(
        "ALTER TABLE flash_sales ADD CONSTRAINT ex_flash_sales_one_at_a_time EXCLUDE USING gist"
        " (int8range(product_id, product_id, '[]') WITH &&, tstzrange(starts_at, ends_at) WITH &&)"
        f" WHERE ({ACTIVE})"
    )
