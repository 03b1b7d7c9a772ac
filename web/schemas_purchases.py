"""Bodies, paths and answers of purchases, for validation and for the API's description."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from models.gate import QUANTITY_MAX
from models.velocity import GROUP_KEY_LENGTH_MAX
from web.fields import refuse_control_characters
from web.schemas import Body, PathIds, Query, View

GroupKey = Annotated[
    str, StringConstraints(min_length=1, max_length=GROUP_KEY_LENGTH_MAX), AfterValidator(refuse_control_characters)
]


class PurchaseBody(Body):
    """How many units; the price is the server's."""

    quantity: int = Field(default=1, ge=1, le=QUANTITY_MAX)
    group_key: GroupKey | None = Field(
        default=None, description="the shop's name for the card or address behind this; few buyers may share one"
    )


class SalePath(PathIds):
    sale_id: int


class TicketPath(PathIds):
    sale_id: int
    ticket: int


class PurchasePath(PathIds):
    purchase_id: str = Field(description="`<sale>-<ticket>`")


class WaitQuery(Query):
    wait: float | None = Field(default=None, ge=0, description="seconds to wait for the outcome, at most 30")


class CursorQuery(Query):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=300)


class PurchaseView(View):
    """A purchase; times in UTC, money in `currency`. `position` is the number of tickets still ahead."""

    purchase_id: str
    sale_id: str
    user_id: str
    ticket: int
    position: int | None
    estimate_seconds: float | None
    kind: str
    quantity: int
    status: str
    reason: str | None
    unit_price: float | None
    total_amount: float | None
    currency: str | None
    admitted_at: str | None
    settled_at: str | None
    expires_at: str | None
    closed_at: str | None


class CursorMeta(View):
    limit: int
    next_cursor: str | None


class PurchasePage(View):
    success: bool
    message: str
    data: list[PurchaseView]
    meta: CursorMeta
