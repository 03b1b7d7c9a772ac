"""Bodies and answers of products and categories."""

from typing import Annotated

from pydantic import AliasChoices, Field

from models.catalogue import SortBy, SortOrder
from models.sales import STOCK_MAX as SALE_STOCK_MAX
from web.fields import Currency, Id, ImageUrl, LongText, PersonName, Price, Rating, SearchTerm, Title
from web.schemas import Body, PageQuery, PathIds, View

STOCK_MAX = 1_000_000_000

Stock = Annotated[int, Field(ge=0, le=STOCK_MAX)]
Images = Annotated[list[ImageUrl], Field(max_length=20)]


class ProductBody(Body):
    """A new product."""

    name: Title
    description: LongText | None = None
    images: Images = Field(default_factory=list)
    price: Price | None = Field(default=None, description="none: priced at checkout")
    currency: Currency = Field(default="USD", description="ISO 4217")
    stock: Stock | None = Field(default=None, description="what the shop holds outside of flash sales")
    monthly_allotment: Stock | None = Field(
        default=None, description="units that the runs of a month draw from; null: no bound"
    )
    rating: Rating | None = None
    total_reviews: Stock = 0
    category_id: Id | None = None
    total_stock: int | None = Field(
        default=None,
        ge=1,
        le=SALE_STOCK_MAX,
        validation_alias=AliasChoices("totalStock", "total_stock"),
        description="makes an open-ended sale of so many units too, live at once; also `total_stock`",
    )


class ProductChanges(Body):
    """Only the named fields change; null clears a field that may be empty."""

    name: Title = ""
    description: LongText | None = None
    images: Images = Field(default_factory=list)
    price: Price | None = None
    currency: Currency = "USD"
    stock: Stock | None = None
    monthly_allotment: Stock | None = None
    rating: Rating | None = None
    total_reviews: Stock = 0
    category_id: Id | None = None


class ProductsQuery(PageQuery):
    search_term: SearchTerm | None = Field(default=None, description="a part of the name")
    category_id: Id | None = None
    sort_by: SortBy = "createdAt"
    sort_order: SortOrder = "desc"


class ProductPath(PathIds):
    product_id: int


class CategoryBody(Body):
    name: PersonName


class CategoryPath(PathIds):
    category_id: int


class CategoryRef(View):
    id: str
    name: str


class ProductView(View):
    id: str
    name: str
    slug: str
    description: str | None
    images: list[str]
    price: float | None = Field(description="in major units of `currency`, at most two decimals")
    currency: str
    stock: int | None
    monthly_allotment: int | None
    rating: float
    total_reviews: int
    category: CategoryRef | None
    created_at: str
    updated_at: str


class NewProductView(ProductView):
    """A product that was just made; with `totalStock`, also the sale that was made with it."""

    total_stock: int | None = None
    flash_sale_id: str | None = None


class CategoryView(View):
    id: str
    name: str
    slug: str
    created_at: str
