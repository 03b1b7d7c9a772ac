"""Leaderboard: buyers' totals, and the indexes that lists of confirmed purchases are read by.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from migrations.gently import create_index

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CONFIRMED = sa.text("status = 'confirmed'")


def upgrade() -> None:
    create_index("ix_purchases_confirmed", "purchases", ["sale_id", "ticket"], postgresql_where=CONFIRMED)
    create_index("ix_purchases_latest", "purchases", ["admitted_at", "sale_id", "ticket"], postgresql_where=CONFIRMED)
    op.create_table(
        "buyer_totals",
        sa.Column("sale_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("first_ticket", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("units >= 1", name=op.f("ck_buyer_totals_units_are_positive")),
        sa.CheckConstraint("first_ticket >= 1", name=op.f("ck_buyer_totals_tickets_start_at_one")),
        sa.PrimaryKeyConstraint("sale_id", "user_id", name=op.f("pk_buyer_totals")),
    )
    # Workers from before this version count no totals: they are stopped before, or an audit names what they sold.
    op.execute(
        "INSERT INTO buyer_totals (sale_id, user_id, units, first_ticket) "
        "SELECT sale_id, user_id, sum(quantity), min(ticket) FROM purchases WHERE status = 'confirmed' "
        "GROUP BY sale_id, user_id"
    )
    op.create_index("ix_buyer_totals_rank", "buyer_totals", ["sale_id", sa.text("units DESC"), "first_ticket"])


def downgrade() -> None:
    op.drop_table("buyer_totals")
    op.drop_index("ix_purchases_latest", table_name="purchases")
    op.drop_index("ix_purchases_confirmed", table_name="purchases")
