"""Archives: the mark on a sale whose history went, what its audit had counted, and where the files are.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("flash_sales", sa.Column("history_archived_at", _moment(), nullable=True))
    op.create_table(
        "history_archives",
        sa.Column("first_sale_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end_sale_id", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", _moment(), server_default=sa.text("now()"), nullable=False),
        sa.Column("sales", sa.BigInteger(), nullable=False),
        sa.Column("purchases", sa.BigInteger(), nullable=False),
        sa.Column("movements", sa.BigInteger(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "first_sale_id >= 0 AND end_sale_id > first_sale_id", name=op.f("ck_history_archives_a_range_has_sales")
        ),
        sa.PrimaryKeyConstraint("first_sale_id", name=op.f("pk_history_archives")),
    )
    op.create_table(
        "archived_books",
        sa.Column("sale_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("counted", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tickets_by_status", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("units_by_status", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("sale_id", name=op.f("pk_archived_books")),
    )


def downgrade() -> None:
    op.drop_table("archived_books")
    op.drop_table("history_archives")
    op.drop_column("flash_sales", "history_archived_at")


def _moment() -> sa.types.TypeEngine:
    return postgresql.TIMESTAMP(timezone=True)
