"""Queries and answers of the leaderboards, for validation and for the API's description."""

from pydantic import Field

from models.first_page import FIRST_PAGE
from models.leaderboard import LIMIT_MAX
from web.schemas import Query, View
from web.schemas_purchases import CursorMeta


class LeaderboardQuery(Query):
    limit: int = Field(default=FIRST_PAGE, ge=1, le=LIMIT_MAX)
    cursor: str | None = Field(default=None, max_length=300, description="`meta.nextCursor` of the page before")


class LeaderboardRowView(View):
    """A confirmed purchase. Names are masked (`A***e`) and addresses and ids left out for all but admins."""

    position: int = Field(description="from 1, in order of admission")
    ticket: int
    name: str | None = Field(description="null for a buyer who is not known any more")
    email: str | None = Field(description="null for all but admins")
    user_id: str | None = Field(description="null for all but admins")
    quantity: int
    purchased_at: str = Field(description="when it was admitted to the line")
    is_you: bool


class LeaderboardPage(View):
    success: bool
    message: str
    data: list[LeaderboardRowView]
    meta: CursorMeta


class RankedRowView(View):
    """A buyer's confirmed units of the sale; equals share a rank, and the next rank is skipped."""

    rank: int
    name: str | None = Field(description="null for a buyer who is not known any more")
    email: str | None = Field(description="null for all but admins")
    user_id: str | None = Field(description="null for all but admins")
    total_units: int
    is_you: bool


class RankedPage(View):
    success: bool
    message: str
    data: list[RankedRowView]
    meta: CursorMeta
