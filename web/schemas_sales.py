"""Bodies, queries and answers of sales, for validation and for the API's description."""

from typing import Literal

from pydantic import Field

from models.sale_queries import TimeStatus
from models.sales import STOCK_MAX
from web.fields import AnyId, LongText, Moment, Price, SearchTerm, Title
from web.schemas import Body, PageQuery, View

Sort = Literal[
    "createdAt",
    "updatedAt",
    "startTime",
    "endTime",
    "title",
    "flashPrice",
    "originalPrice",
    "discount",
    "totalStock",
    "soldCount",
    "remainingStock",
]
Bound = Field(default=None, ge=1, le=STOCK_MAX)


class NewSaleBody(Body):
    """A sale to be made. `endTime` may be absent: it then goes on until it is sold out."""

    title: Title
    description: LongText | None = None
    product_id: AnyId
    flash_price: Price
    total_stock: int | None = Field(default=None, ge=1, le=STOCK_MAX)
    start_time: Moment
    end_time: Moment | None = None
    is_featured: bool = False
    max_per_purchase: int | None = Bound
    max_per_user: int | None = Bound
    hold_seconds: int | None = Field(default=None, ge=1, le=86_400)
    dedicated: bool = False


class SalePatchBody(Body):
    """The fields to change; a product cannot be exchanged."""

    title: Title | None = None
    description: LongText | None = None
    flash_price: Price | None = None
    total_stock: int | None = Field(default=None, ge=1, le=STOCK_MAX)
    start_time: Moment | None = None
    end_time: Moment | None = None
    is_active: bool | None = None
    is_featured: bool | None = None
    max_per_purchase: int | None = Bound
    max_per_user: int | None = Bound
    hold_seconds: int | None = Field(default=None, ge=1, le=86_400)
    dedicated: bool | None = None


# Fields that a PATCH may set to null.
NULLABLE = frozenset({"description", "end_time", "max_per_purchase", "max_per_user"})


class SaleListQuery(PageQuery):
    search_term: SearchTerm | None = None
    status: TimeStatus | None = None
    is_active: bool | None = None
    is_featured: bool | None = None
    product_id: AnyId | None = None
    sort_by: Sort = "createdAt"
    sort_order: Literal["asc", "desc"] = "desc"


class SaleProductCategoryView(View):
    id: str
    name: str


class SaleProductView(View):
    id: str
    name: str
    slug: str
    images: list[str]
    price: float | None
    stock: int | None
    category: SaleProductCategoryView | None
    rating: float
    total_reviews: int


class SaleView(View):
    """A sale; times in UTC, money in `currency`, `discount` in percent, to one decimal. `seq` numbers its changes."""

    id: str
    title: str
    description: str | None
    product_id: str
    original_price: float | None
    flash_price: float | None
    discount: float | None
    currency: str
    total_stock: int
    sold_count: int
    reserved_count: int
    remaining_stock: int
    start_time: str
    end_time: str | None
    status: str
    state: str
    end_reason: str | None
    is_active: bool
    is_featured: bool
    max_per_purchase: int | None
    max_per_user: int | None
    hold_seconds: int
    dedicated: bool
    settled_through: int
    seq: int
    created_at: str
    updated_at: str
    product: SaleProductView
    server_time: str


class CheckView(View):
    name: str
    recorded: int
    counted: int
    agrees: bool


class AuditView(View):
    """The recount of a sale's purchases and movements against its row."""

    sale_id: str
    agrees: bool
    checks: list[CheckView]
    tickets_by_status: dict[str, int]
    units_by_status: dict[str, int]
    history_archived_at: str | None
    server_time: str
