"""Stock movements: their key begins with the sale, so that they can live where their sale does.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

from migrations.gently import create_index, drop_index

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("pk_stock_movements_by_sale", "stock_movements", ["sale_id", "id"], unique=True)
    create_index("ix_stock_movements_id", "stock_movements", ["id"])
    # Nothing is read here: the index is there already, and the columns are NOT NULL.
    op.drop_constraint("pk_stock_movements", "stock_movements", type_="primary")
    op.execute(
        "ALTER TABLE stock_movements ADD CONSTRAINT pk_stock_movements PRIMARY KEY USING INDEX pk_stock_movements_by_sale"
    )
    drop_index("ix_stock_movements_sale_id", "stock_movements")


def downgrade() -> None:
    create_index("pk_stock_movements_by_id", "stock_movements", ["id"], unique=True)
    create_index("ix_stock_movements_sale_id", "stock_movements", ["sale_id", "id"])
    op.drop_constraint("pk_stock_movements", "stock_movements", type_="primary")
    op.execute(
        "ALTER TABLE stock_movements ADD CONSTRAINT pk_stock_movements PRIMARY KEY USING INDEX pk_stock_movements_by_id"
    )
    drop_index("ix_stock_movements_id", "stock_movements")
