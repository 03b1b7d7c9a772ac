"""Categories: the shelves of the shop."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.constraints import violates
from models.database import snapshot, transaction
from models.errors import ConflictError, NotFoundError
from models.product import Category
from models.slugs import free_slug, slug_of


class CategoryNotFoundError(NotFoundError):
    code = "CATEGORY_NOT_FOUND"
    message = "Category not found"


class CategoryExistsError(ConflictError):
    code = "CATEGORY_EXISTS"
    message = "There is a category with this name already"


class CategoryInUseError(ConflictError):
    code = "CATEGORY_IN_USE"
    message = "There are products in this category"


@contextmanager
def _breaches_explained() -> Iterator[None]:
    """Say what a breach of the database's rules means; two who make one name at once meet only there."""
    try:
        yield
    except IntegrityError as error:
        if violates(error, "uq_categories_name") or violates(error, "uq_categories_slug"):
            raise CategoryExistsError from error
        if violates(error, "fk_products_category_id"):
            raise CategoryInUseError from error
        raise


def create_category(name: str) -> Category:
    """Raises CategoryExistsError."""
    with _breaches_explained(), transaction() as session:
        wanted = slug_of(name, "category")
        taken = session.scalars(select(Category.slug).where(Category.slug.startswith(wanted, autoescape=True)))
        category = Category(name=name, slug=free_slug(wanted, taken))
        session.add(category)
        session.flush()
        session.refresh(category)
    return category


def rename_category(category_id: int, name: str) -> Category:
    """The slug stays: links to it live elsewhere. Raises CategoryNotFoundError and CategoryExistsError."""
    with _breaches_explained(), transaction() as session:
        category = _lock(session, category_id)
        category.name = name
        session.flush()
    return category


def delete_category(category_id: int) -> Category:
    """Raises CategoryNotFoundError, and CategoryInUseError while products, archived ones too, stand in it."""
    with _breaches_explained(), transaction() as session:
        category = _lock(session, category_id)
        session.delete(category)
    return category


def find_category(category_id: int) -> Category:
    """Raises CategoryNotFoundError."""
    with transaction() as session:
        category = session.get(Category, category_id)
    if category is None:
        raise CategoryNotFoundError
    return category


def list_categories(page: int, limit: int) -> tuple[list[Category], int]:
    """One page of the categories by name, and how many there are."""
    with snapshot() as session:
        total = session.scalar(select(func.count(Category.id))) or 0
        rows = session.scalars(
            select(Category).order_by(func.lower(Category.name), Category.id).limit(limit).offset((page - 1) * limit)
        )
        return list(rows), total


def _lock(session: Session, category_id: int) -> Category:
    category = session.get(Category, category_id, with_for_update=True)
    if category is None:
        raise CategoryNotFoundError
    return category
