"""Products and their categories: what is sold."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Text

from models.database import Base, CreatedAt, Money, RowId


class Category(Base):
    """A shelf of the shop."""

    __tablename__ = "categories"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("slug"),
        CheckConstraint("length(name) BETWEEN 1 AND 100", name="name_has_a_length"),
    )

    id: Mapped[RowId]
    name: Mapped[str]
    slug: Mapped[str]
    created_at: Mapped[CreatedAt]


class Product(Base):
    """What is sold: a price with its ISO 4217 currency. A product without a price is priced at checkout."""

    __tablename__ = "products"
    __table_args__ = (
        UniqueConstraint("slug"),
        CheckConstraint("length(name) BETWEEN 1 AND 200", name="name_has_a_length"),
        CheckConstraint("price > 0", name="price_is_positive"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_is_iso_4217"),
        CheckConstraint("stock >= 0", name="stock_is_not_negative"),
        CheckConstraint("monthly_allotment >= 0", name="monthly_allotment_is_not_negative"),
        CheckConstraint("rating BETWEEN 0 AND 5", name="rating_is_a_rating"),
        CheckConstraint("total_reviews >= 0", name="reviews_are_counted"),
        Index("ix_products_category_id", "category_id"),
    )

    id: Mapped[RowId]
    name: Mapped[str]
    slug: Mapped[str]
    description: Mapped[str | None]
    images: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    price: Mapped[Money | None]
    currency: Mapped[str] = mapped_column(server_default="USD")
    # What the shop holds outside of flash sales: shown, never counted down here.
    stock: Mapped[int | None]
    # Units that the runs of a month may draw together; None: as many as they like.
    monthly_allotment: Mapped[int | None]
    rating: Mapped[Decimal] = mapped_column(Numeric(2, 1), server_default="0")
    total_reviews: Mapped[int] = mapped_column(server_default="0")
    category_id: Mapped[int | None] = mapped_column(ForeignKey("categories.id"))
    archived_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    category: Mapped[Category | None] = relationship(lazy="joined")
