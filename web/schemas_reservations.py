"""Bodies, paths and answers of reservations, for validation and for the API's description."""

from typing import Annotated

from pydantic import ConfigDict, Field

from models.gate import QUANTITY_MAX
from web.fields import Amount, AnyId, Title
from web.schemas import LIMIT_MAX, Body, PageMeta, PageQuery, PathIds, View
from web.schemas_purchases import PurchaseView

Quantity = Annotated[int, Field(ge=1, le=QUANTITY_MAX)]


class EitherCase(Body):
    """A body whose names may be written `product_id` or `productId`."""

    model_config = ConfigDict(populate_by_name=True)


class ReserveBody(EitherCase):
    """Units of a product's sale, to be held. `user_id` and its like in snake_case are understood too."""

    user_id: AnyId | None = Field(default=None, description="the token's own user")
    product_id: AnyId
    quantity: Quantity


class CheckoutProductBody(EitherCase):
    """What is held of a product, to be bought. `user_id` and its like in snake_case are understood too."""

    user_id: AnyId | None = Field(default=None, description="the token's own user")
    product_id: AnyId
    quantity: Quantity = Field(description="all that is held")
    total_amount: Amount = Field(description="must match the price; recorded as given where there is none")


class CheckoutBody(EitherCase):
    total_amount: Amount | None = Field(default=None, description="must match the price, if given")


class RefundBody(Body):
    reason: Title


class HeldProductPath(PathIds):
    user_id: int
    product_id: int


class BuyerPath(PathIds):
    user_id: int


class HoldsQuery(PageQuery):
    """Whoever names the buyer in the path may know of no pages: they are given the largest."""

    limit: int = Field(default=LIMIT_MAX, ge=1, le=LIMIT_MAX)


class ReservationView(PurchaseView):
    """A hold; `secondsLeft` by the server's clock, 0 once it has ended."""

    product_id: str
    seconds_left: int


class CheckoutView(View):
    """What a checkout bought; `purchases` has one for every hold that it ended."""

    user_id: str
    product_id: str
    sale_id: str
    quantity: int
    total_amount: float | None
    currency: str | None
    status: str
    purchases: list[PurchaseView]


class CancelledView(View):
    user_id: str
    product_id: str
    quantity: int
    reservations: list[PurchaseView]


class ProductStatusView(View):
    """A product's units in the sale that it is sold in, and how that sale stands; zeros and null where it is in none.

    What is available is what is unsold and not held. It can be reserved while `status` is LIVE.
    """

    product_id: str
    name: str
    flash_sale_id: str | None
    status: str | None
    state: str | None
    start_time: str | None
    end_time: str | None
    total_stock: int
    reserved_stock: int
    available_stock: int
    sold_stock: int
    server_time: str


class ReservationMeta(PageMeta):
    server_time: str


class ReservationPage(View):
    success: bool
    message: str
    data: list[ReservationView]
    meta: ReservationMeta
