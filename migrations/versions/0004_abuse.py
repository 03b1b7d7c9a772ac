"""Abuse.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_standing_version()
    _create_ip_rules()
    _create_fraud_records()
    _index_fraud_records()


def downgrade() -> None:
    op.drop_table("fraud_records")
    op.drop_table("ip_rules")
    op.drop_table("standing_version")


def _create_standing_version() -> None:
    op.create_table(
        "standing_version",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Uuid(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_standing_version_there_is_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_standing_version")),
    )


def _create_ip_rules() -> None:
    op.create_table(
        "ip_rules",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("network", postgresql.CIDR(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("NOT network <<= '::ffff:0.0.0.0/96'", name=op.f("ck_ip_rules_ipv4_is_written_as_ipv4")),
        sa.CheckConstraint("action IN ('allow', 'deny')", name=op.f("ck_ip_rules_action_is_known")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_ip_rules_expires_after_it_is_made")),
        sa.CheckConstraint("length(reason) BETWEEN 1 AND 500", name=op.f("ck_ip_rules_reason_has_a_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ip_rules")),
        sa.UniqueConstraint("network", "action", name=op.f("uq_ip_rules_network_action")),
    )


def _create_fraud_records() -> None:
    op.create_table(
        "fraud_records",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=True),
        sa.Column("sale_id", sa.BigInteger(), nullable=False),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("score", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("overruled_by", sa.BigInteger(), nullable=True),
        sa.Column("overruled_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("action IN ('flag', 'refuse')", name=op.f("ck_fraud_records_action_is_known")),
        sa.CheckConstraint("length(note) BETWEEN 1 AND 500", name=op.f("ck_fraud_records_note_has_a_length")),
        sa.CheckConstraint(
            "num_nulls(overruled_by, overruled_at, note) IN (0, 3)",
            name=op.f("ck_fraud_records_who_overrules_says_why"),
        ),
        sa.CheckConstraint("score >= 0", name=op.f("ck_fraud_records_score_is_not_negative")),
        sa.CheckConstraint(
            "signal IN ('many_accounts', 'many_sales', 'shared_group')", name=op.f("ck_fraud_records_signal_is_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fraud_records")),
    )


def _index_fraud_records() -> None:
    op.create_index(
        "ix_fraud_records_at", "fraud_records", ["at"], unique=False, postgresql_where=sa.text("overruled_at IS NULL")
    )
    op.create_index(
        "ix_fraud_records_passes",
        "fraud_records",
        ["signal", "subject"],
        unique=False,
        postgresql_where=sa.text("overruled_at IS NOT NULL"),
    )
    op.create_index(
        "ix_fraud_records_refused", "fraud_records", ["id"], unique=False, postgresql_where=sa.text("action = 'refuse'")
    )
    op.create_index("ix_fraud_records_sale_id", "fraud_records", ["sale_id", "id"], unique=False)
    op.create_index("ix_fraud_records_signal", "fraud_records", ["signal", "id"], unique=False)
    op.create_index("ix_fraud_records_user_id", "fraud_records", ["user_id", "id"], unique=False)
