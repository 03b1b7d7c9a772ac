"""The catalogue: making, changing, finding and removing products."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from models.constraints import violates
from models.database import snapshot, transaction
from models.errors import InvalidError, NotFoundError
from models.product import Category, Product
from models.sale import FlashSale
from models.slugs import free_slug, slug_of

SortBy = Literal["createdAt", "updatedAt", "name", "price", "rating", "stock"]
SortOrder = Literal["asc", "desc"]

SORTABLE: dict[SortBy, ColumnElement[Any] | InstrumentedAttribute[Any]] = {
    "createdAt": Product.created_at,
    "updatedAt": Product.updated_at,
    "name": func.lower(Product.name),
    "price": Product.price,
    "rating": Product.rating,
    "stock": Product.stock,
}
# PostgreSQL's advisory lock under which a product gets its slug; any number that nothing else uses.
SLUG_LOCK = 4243
NO_SUCH_CATEGORY = "there is no such category"


class ProductNotFoundError(NotFoundError):
    code = "PRODUCT_NOT_FOUND"
    message = "Product not found"


@contextmanager
def _breaches_explained() -> Iterator[None]:
    """Say what a breach of the database's rules means; only a race gets as far as that."""
    try:
        yield
    except IntegrityError as error:
        if violates(error, "fk_products_category_id"):
            raise InvalidError.field("categoryId", NO_SUCH_CATEGORY) from error
        raise


@dataclass(frozen=True, slots=True)
class NewProduct:
    """What a product is made from. `price` is Decimal in `currency` (ISO 4217); None is priced at checkout."""

    name: str
    description: str | None = None
    images: list[str] = field(default_factory=list)
    price: Decimal | None = None
    currency: str = "USD"
    stock: int | None = None
    monthly_allotment: int | None = None
    rating: Decimal = Decimal(0)
    total_reviews: int = 0
    category_id: int | None = None


@dataclass(frozen=True, slots=True)
class ProductQuery:
    """Which products to list, and in what order; pages count from 1."""

    page: int = 1
    limit: int = 10
    search: str | None = None
    category_id: int | None = None
    sort_by: SortBy = "createdAt"
    sort_order: SortOrder = "desc"


def create_product(new: NewProduct) -> Product:
    """Make a product, with a slug from its name. Raises InvalidError for a category that does not exist."""
    with _breaches_explained(), transaction() as session:
        _check_category(session, new.category_id)
        product = Product(slug=_free_slug(session, new.name), **{name: getattr(new, name) for name in new.__slots__})
        session.add(product)
        session.flush()
        session.refresh(product)
    return product


def update_product(product_id: int, changes: Mapping[str, Any]) -> Product:
    """Change the named fields of a product (names of `Product`). The slug stays: links to it live elsewhere.

    Sales that were made keep the price that they were made with. Raises ProductNotFoundError, and InvalidError for a
    category that does not exist.
    """
    with _breaches_explained(), transaction() as session:
        product = _lock_product(session, product_id)
        if "category_id" in changes:
            _check_category(session, changes["category_id"])
        for name, value in changes.items():
            setattr(product, name, value)
        session.flush()
        session.refresh(product)
    return product


def delete_product(product_id: int) -> Product:
    """Remove a product: archived if it was ever in a sale, so that history keeps its name, and deleted if not.

    The answer's `archived_at` says which. Raises ProductNotFoundError.
    """
    with transaction() as session:
        # A sale that is being made holds a lock on this row too, so it is either seen here or finds nothing.
        product = _lock_product(session, product_id)
        if session.scalar(select(exists().where(FlashSale.product_id == product_id))):
            product.archived_at = session.scalar(select(func.now()))
            session.flush()
            session.refresh(product)
        else:
            session.delete(product)
    return product


def find_product(product_id: int) -> Product:
    """Raises ProductNotFoundError, for an archived product too."""
    with transaction() as session:
        product = session.get(Product, product_id)
    if product is None or product.archived_at is not None:
        raise ProductNotFoundError
    return product


def list_products(query: ProductQuery) -> tuple[list[Product], int]:
    """One page of the products that are not archived, and how many there are."""
    wanted: Select[Product] = select(Product).where(Product.archived_at.is_(None))
    if query.search:
        wanted = wanted.where(Product.name.icontains(query.search, autoescape=True))
    if query.category_id is not None:
        wanted = wanted.where(Product.category_id == query.category_id)
    column = SORTABLE[query.sort_by]
    order = column.desc().nulls_last() if query.sort_order == "desc" else column.asc().nulls_last()
    # The id settles ties, so that no product stands on two pages.
    tie = Product.id.desc() if query.sort_order == "desc" else Product.id.asc()
    with snapshot() as session:
        total = session.scalar(wanted.with_only_columns(func.count(), maintain_column_froms=True)) or 0
        page = wanted.order_by(order, tie).limit(query.limit).offset((query.page - 1) * query.limit)
        return list(session.scalars(page)), total


def _lock_product(session: Session, product_id: int) -> Product:
    product = session.get(Product, product_id, with_for_update={"of": Product})
    if product is None or product.archived_at is not None:
        raise ProductNotFoundError
    return product


def _check_category(session: Session, category_id: int | None) -> None:
    if category_id is not None and session.get(Category, category_id) is None:
        raise InvalidError.field("categoryId", NO_SUCH_CATEGORY)


def _free_slug(session: Session, name: str) -> str:
    """A slug that no product has, until the end of the transaction: one product at a time is named."""
    session.execute(select(func.pg_advisory_xact_lock(SLUG_LOCK)))
    wanted = slug_of(name, "product")
    taken = session.scalars(select(Product.slug).where(Product.slug.startswith(wanted, autoescape=True)))
    return free_slug(wanted, taken)
