"""The operators' log, and the refusals before the line.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "operator_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("actor_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.CheckConstraint("length(action) BETWEEN 1 AND 100", name=op.f("ck_operator_log_action_has_a_length")),
        sa.CheckConstraint("length(subject) <= 100", name=op.f("ck_operator_log_subject_has_a_length")),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name=op.f("ck_operator_log_details_are_an_object")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_log")),
    )
    op.create_index("ix_operator_log_actor_id", "operator_log", ["actor_id", "id"])
    op.create_index("ix_operator_log_subject", "operator_log", ["subject", "id"])
    op.create_table(
        "sale_refusals",
        sa.Column("sale_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("since_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("count >= 1", name=op.f("ck_sale_refusals_count_is_positive")),
        sa.PrimaryKeyConstraint("sale_id", "since_ms", "code", name=op.f("pk_sale_refusals")),
    )


def downgrade() -> None:
    op.drop_table("sale_refusals")
    op.drop_table("operator_log")
