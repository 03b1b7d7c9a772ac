"""Receipts.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "receipts",
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("sale_id", sa.BigInteger(), nullable=False),
        sa.Column("tickets", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("done_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cardinality(tickets) >= 1", name=op.f("ck_receipts_something_was_done")),
        sa.PrimaryKeyConstraint("user_id", "idempotency_key", name=op.f("pk_receipts")),
    )


def downgrade() -> None:
    op.drop_table("receipts")
