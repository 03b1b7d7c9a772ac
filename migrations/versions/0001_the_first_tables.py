"""The first tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_categories()
    _create_users()
    _create_products()
    _create_sales()
    _index_sales()
    _create_purchases()
    _index_purchases()
    _create_stock_movements()


def downgrade() -> None:
    op.drop_index("ix_stock_movements_sale_id", table_name="stock_movements")
    op.drop_table("stock_movements")
    op.drop_index("uq_purchases_idempotency_key", table_name="purchases")
    op.drop_index("ix_purchases_user", table_name="purchases")
    op.drop_index("ix_purchases_original_ticket", table_name="purchases")
    op.drop_index("ix_purchases_holds", table_name="purchases")
    op.drop_index("ix_purchases_buyer", table_name="purchases")
    op.drop_table("purchases")
    op.drop_index("uq_flash_sales_active_product", table_name="flash_sales")
    op.drop_index("ix_flash_sales_updated_at", table_name="flash_sales")
    op.drop_index("ix_flash_sales_product_id", table_name="flash_sales")
    op.drop_index("ix_flash_sales_due_start", table_name="flash_sales")
    op.drop_index("ix_flash_sales_due_end", table_name="flash_sales")
    op.drop_index("ix_flash_sales_created_at", table_name="flash_sales")
    op.drop_table("flash_sales")
    op.drop_index("ix_products_category_id", table_name="products")
    op.drop_table("products")
    op.drop_table("users")
    op.drop_table("categories")


def _index_where(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, postgresql_where=sa.text(where))


def _create_categories() -> None:
    op.create_table(
        "categories",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_categories_name_has_a_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_categories")),
        sa.UniqueConstraint("name", name=op.f("uq_categories_name")),
        sa.UniqueConstraint("slug", name=op.f("uq_categories_slug")),
    )


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), server_default="customer", nullable=False),
        sa.Column("blocked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('customer', 'admin')", name=op.f("ck_users_role_is_known")),
        sa.CheckConstraint(
            "email = lower(email) AND length(email) BETWEEN 3 AND 254", name=op.f("ck_users_email_is_normal")
        ),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_users_name_has_a_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )


def _create_products() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("images", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("price", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("currency", sa.Text(), server_default="USD", nullable=False),
        sa.Column("stock", sa.BigInteger(), nullable=True),
        sa.Column("rating", sa.Numeric(precision=2, scale=1), server_default="0", nullable=False),
        sa.Column("total_reviews", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("category_id", sa.BigInteger(), nullable=True),
        sa.Column("archived_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_products_currency_is_iso_4217")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 200", name=op.f("ck_products_name_has_a_length")),
        sa.CheckConstraint("price > 0", name=op.f("ck_products_price_is_positive")),
        sa.CheckConstraint("rating BETWEEN 0 AND 5", name=op.f("ck_products_rating_is_a_rating")),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_products_stock_is_not_negative")),
        sa.CheckConstraint("total_reviews >= 0", name=op.f("ck_products_reviews_are_counted")),
        sa.ForeignKeyConstraint(["category_id"], ["categories.id"], name=op.f("fk_products_category_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
        sa.UniqueConstraint("slug", name=op.f("uq_products_slug")),
    )
    op.create_index("ix_products_category_id", "products", ["category_id"], unique=False)


def _create_sales() -> None:
    op.create_table("flash_sales", *_columns_of_sales(), *_rules_of_sales())


def _columns_of_sales() -> list[sa.Column]:
    return [
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("product_id", sa.BigInteger(), nullable=False),
        sa.Column("original_price", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("flash_price", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column(
            "discount",
            sa.Numeric(precision=5, scale=2),
            sa.Computed("round((original_price - flash_price) * 100 / original_price, 2)", persisted=True),
            nullable=True,
        ),
        sa.Column("total_stock", sa.BigInteger(), nullable=False),
        sa.Column("sold", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "remaining", sa.BigInteger(), sa.Computed("total_stock - sold - reserved", persisted=True), nullable=False
        ),
        sa.Column("starts_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ends_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), server_default="scheduled", nullable=False),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("featured", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("max_per_purchase", sa.BigInteger(), nullable=True),
        sa.Column("max_per_user", sa.BigInteger(), nullable=True),
        sa.Column("hold_seconds", sa.BigInteger(), nullable=False),
        sa.Column("dedicated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("settled_through", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("archived_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
    ]


def _rules_of_sales() -> list[sa.Constraint]:
    return [
        sa.CheckConstraint(
            "(state IN ('ended', 'cancelled')) = (end_reason IS NOT NULL)",
            name=op.f("ck_flash_sales_an_end_has_a_reason"),
        ),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_flash_sales_currency_is_iso_4217")),
        sa.CheckConstraint(
            "end_reason IN ('sold-out', 'time-ended', 'cancelled')", name=op.f("ck_flash_sales_end_reason_is_known")
        ),
        sa.CheckConstraint(
            "state IN ('scheduled', 'live', 'ended', 'cancelled')", name=op.f("ck_flash_sales_state_is_known")
        ),
        sa.CheckConstraint(
            "(flash_price IS NULL) = (original_price IS NULL)", name=op.f("ck_flash_sales_priced_or_not")
        ),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_flash_sales_ends_after_it_starts")),
        sa.CheckConstraint("flash_price <= original_price", name=op.f("ck_flash_sales_flash_price_is_no_surcharge")),
        sa.CheckConstraint("flash_price > 0", name=op.f("ck_flash_sales_flash_price_is_positive")),
        sa.CheckConstraint("hold_seconds BETWEEN 1 AND 86400", name=op.f("ck_flash_sales_hold_seconds_are_bounded")),
        sa.CheckConstraint("length(title) BETWEEN 1 AND 200", name=op.f("ck_flash_sales_title_has_a_length")),
        sa.CheckConstraint("max_per_purchase >= 1", name=op.f("ck_flash_sales_max_per_purchase_is_positive")),
        sa.CheckConstraint("max_per_user >= 1", name=op.f("ck_flash_sales_max_per_user_is_positive")),
        sa.CheckConstraint("original_price > 0", name=op.f("ck_flash_sales_original_price_is_positive")),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_flash_sales_reserved_is_not_negative")),
        sa.CheckConstraint("settled_through >= 0", name=op.f("ck_flash_sales_settled_through_is_not_negative")),
        sa.CheckConstraint("sold + reserved <= total_stock", name=op.f("ck_flash_sales_never_oversold")),
        sa.CheckConstraint("sold >= 0", name=op.f("ck_flash_sales_sold_is_not_negative")),
        sa.CheckConstraint("total_stock >= 0", name=op.f("ck_flash_sales_total_stock_is_not_negative")),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name=op.f("fk_flash_sales_product_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flash_sales")),
    ]


def _index_sales() -> None:
    op.create_index("ix_flash_sales_created_at", "flash_sales", ["created_at"], unique=False)
    _index_where("ix_flash_sales_due_end", "flash_sales", ["ends_at"], "state IN ('scheduled', 'live')")
    _index_where("ix_flash_sales_due_start", "flash_sales", ["starts_at"], "state = 'scheduled'")
    op.create_index("ix_flash_sales_product_id", "flash_sales", ["product_id"], unique=False)
    op.create_index("ix_flash_sales_updated_at", "flash_sales", ["updated_at"], unique=False)
    _index_where(
        "uq_flash_sales_active_product",
        "flash_sales",
        ["product_id"],
        "state IN ('scheduled', 'live') AND NOT paused",
        unique=True,
    )


def _create_purchases() -> None:
    op.create_table(
        "purchases",
        sa.Column("sale_id", sa.BigInteger(), nullable=False),
        sa.Column("ticket", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("unit_price", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("total_amount", sa.Numeric(precision=20, scale=2), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("duplicate_of", sa.BigInteger(), nullable=True),
        sa.Column("original_ticket", sa.BigInteger(), nullable=True),
        sa.Column("admitted_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("settled_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(reason = 'DUPLICATE') = (duplicate_of IS NOT NULL)", name=op.f("ck_purchases_a_duplicate_names_its_first")
        ),
        sa.CheckConstraint(
            "(status = 'rejected') = (reason IS NOT NULL)", name=op.f("ck_purchases_a_rejection_has_a_reason")
        ),
        sa.CheckConstraint("kind IN ('purchase', 'reservation')", name=op.f("ck_purchases_kind_is_known")),
        sa.CheckConstraint("quantity >= 1 OR reason = 'MALFORMED'", name=op.f("ck_purchases_quantity_is_positive")),
        sa.CheckConstraint(
            "reason IN ('SOLD_OUT', 'INSUFFICIENT_STOCK', 'LIMIT_EXCEEDED', 'NOT_STARTED', 'ENDED', 'PAUSED', 'DUPLICATE', 'MALFORMED')",
            name=op.f("ck_purchases_reason_is_known"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'confirmed', 'reserved', 'rejected', 'cancelled', 'expired', 'refunded') AND status <> 'queued'",
            name=op.f("ck_purchases_status_is_an_outcome"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('reserved', 'expired') OR expires_at IS NOT NULL",
            name=op.f("ck_purchases_a_hold_has_an_expiry"),
        ),
        sa.CheckConstraint("duplicate_of < ticket", name=op.f("ck_purchases_the_first_came_first")),
        sa.CheckConstraint("ticket >= 1", name=op.f("ck_purchases_tickets_start_at_one")),
        sa.ForeignKeyConstraint(["sale_id"], ["flash_sales.id"], name=op.f("fk_purchases_sale_id")),
        sa.PrimaryKeyConstraint("sale_id", "ticket", name=op.f("pk_purchases")),
    )


def _index_purchases() -> None:
    op.create_index("ix_purchases_buyer", "purchases", ["sale_id", "user_id"], unique=False)
    _index_where("ix_purchases_holds", "purchases", ["expires_at"], "status = 'reserved'")
    _index_where(
        "ix_purchases_original_ticket", "purchases", ["sale_id", "original_ticket"], "original_ticket IS NOT NULL"
    )
    op.create_index("ix_purchases_user", "purchases", ["user_id", "admitted_at", "sale_id", "ticket"], unique=False)
    _index_where(
        "uq_purchases_idempotency_key",
        "purchases",
        ["sale_id", "user_id", "idempotency_key"],
        "idempotency_key IS NOT NULL",
        unique=True,
    )


def _create_stock_movements() -> None:
    op.create_table(
        "stock_movements",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sale_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("ticket", sa.BigInteger(), nullable=True),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("(kind = 'shrink') = (quantity < 0)", name=op.f("ck_stock_movements_only_a_shrink_takes")),
        sa.CheckConstraint(
            "(kind IN ('hold_cancelled', 'hold_expired', 'refund')) = (ticket IS NOT NULL)",
            name=op.f("ck_stock_movements_a_release_names_its_ticket"),
        ),
        sa.CheckConstraint(
            "kind IN ('initial', 'restock', 'shrink', 'reset', 'hold_cancelled', 'hold_expired', 'refund')",
            name=op.f("ck_stock_movements_kind_is_known"),
        ),
        sa.ForeignKeyConstraint(["sale_id"], ["flash_sales.id"], name=op.f("fk_stock_movements_sale_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_movements")),
    )
    op.create_index("ix_stock_movements_sale_id", "stock_movements", ["sale_id", "id"], unique=False)
