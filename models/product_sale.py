"""A product that brings its stock along: made together with an open-ended sale of its own, live at once."""

from models import catalogue
from models.catalogue import NewProduct
from models.database import database_now, transaction
from models.product import Product
from models.sales import NewSale, create_sale


def create_product(new: NewProduct, total_stock: int | None, *, actor_id: int | None) -> tuple[Product, int | None]:
    """Make a product and, given its stock, a sale of it at the product's own price, or at none: the sale's id.

    The two are two transactions: should the second fail, the product stands without a sale, and one can be made for it.
    Raises InvalidError for a category that does not exist or a stock that is out of bounds.
    """
    product = catalogue.create_product(new)
    if total_stock is None:
        return product, None
    with transaction() as session:
        # By the clock that opens sales, so that this one is live at once.
        now = database_now(session)
    new_sale = NewSale(product_id=product.id, title=product.name, starts_at=now, total_stock=total_stock)
    return product, create_sale(new_sale, actor_id=actor_id)
