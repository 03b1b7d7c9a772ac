"""Bodies, queries and answers of reference 001, for validation and for the API's description."""

from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, RootModel, WithJsonSchema

from models.sales import STOCK_MAX
from web.fields import AnyId, LongText, Moment, Price, Title, read_hundredths
from web.schemas import Body, Query, View
from web.schemas_reservations import Quantity
from web.schemas_sales import Bound

# A client that knows of no pages has every buyer of a sale of the default stock, and of some larger ones.
RANKED_MAX = 1_000


def read_discount(value: object) -> Decimal:
    """Percent, as a JSON number or its text. Raises ValueError."""
    percent = read_hundredths(value)
    if not 0 < percent < 100:  # noqa: PLR2004 - percent
        raise ValueError("must be above 0 and below 100")
    return percent


Discount = Annotated[
    Decimal,
    BeforeValidator(read_discount),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100}),
]


class PricedProductBody(Body):
    name: Title
    description: LongText | None = None
    price: Price


class DiscountSaleBody(Body):
    """A sale at so many percent below the product's price."""

    product_id: AnyId
    start_time: Moment
    end_time: Moment | None = None
    discount: Discount
    stock: int | None = Field(default=None, ge=1, le=STOCK_MAX)
    max_per_purchase: int | None = Bound
    max_per_user: int | None = Bound


class PurchaseInSaleBody(Body):
    flash_sale_id: AnyId
    quantity: Quantity


class RankedQuery(Query):
    flash_sale_id: AnyId
    limit: int = Field(default=RANKED_MAX, ge=1, le=RANKED_MAX)
    cursor: str | None = Field(default=None, max_length=300, description="of the `Link` of the page before")


class AccountView(View):
    id: str
    name: str
    email: str
    role: str


class SignedInUserView(View):
    name: str
    email: str
    role: str


class SignedInView(View):
    user: SignedInUserView
    access_token: str


class PricedProductView(View):
    id: str
    name: str
    description: str | None
    price: float


class DiscountSaleView(View):
    id: str
    product_id: str
    start_time: str
    end_time: str | None
    discount: float
    status: str


class BoughtInSaleView(View):
    """What was bought, and what has become of it since: whoever asks again after a refund is told so by `status`."""

    id: str
    user_id: str
    flash_sale_id: str
    quantity: int
    purchased_at: str
    status: str


class RankedView(View):
    rank: int
    name: str
    email: str
    total_purchases: int
    user_id: str


class RankingView(RootModel[list[RankedView]]):
    model_config = ConfigDict(title="Ranking001")
