"""A product that brings its stock along: made together with an open-ended sale of its own, live at once."""

from models.catalogue import NewProduct, create_product
from models.database import database_now, transaction
from models.product import Product
from models.sales import NewSale, create_sale


def create_product_on_sale(new: NewProduct, total_stock: int, *, actor_id: int | None) -> tuple[Product, int]:
    """Make a product and its sale at the product's own price, or at none; the product and the sale's id.

    The two are two transactions: where the second fails, the product stands without a sale, and a sale can be made for
    it. Raises InvalidError for a category that does not exist or a stock that is out of bounds.
    """
    product = create_product(new)
    with transaction() as session:
        # By the clock that opens sales, so that this one is live at once.
        now = database_now(session)
    new_sale = NewSale(product_id=product.id, title=product.name, starts_at=now, total_stock=total_stock)
    return product, create_sale(new_sale, actor_id=actor_id)
