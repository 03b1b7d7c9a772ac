"""Users: the generation of the tokens that are good, and when the ones before it were refused.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("token_generation", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("users", sa.Column("tokens_refused_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.create_index(
        "ix_users_tokens_refused_at",
        "users",
        ["tokens_refused_at"],
        postgresql_where=sa.text("tokens_refused_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_users_tokens_refused_at", table_name="users")
    op.drop_column("users", "tokens_refused_at")
    op.drop_column("users", "token_generation")
