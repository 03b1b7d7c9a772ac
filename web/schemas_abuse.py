"""Bodies, paths and answers of address rules and fraud records, for validation and for the API's description."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from models.addresses import Network, read_range
from models.fraud import NOTE_LENGTH_MAX, Signal, Verdict
from models.ip_ranges import Action
from models.ip_rule import REASON_LENGTH_MAX
from web.fields import Id, Moment, refuse_control_characters
from web.schemas import Body, PageQuery, PathIds, Query, View
from web.schemas_purchases import CursorMeta

Range = Annotated[
    Network,
    BeforeValidator(read_range),
    WithJsonSchema({"type": "string", "maxLength": 49, "examples": ["203.0.113.0/24", "2001:db8::/32"]}),
]


def _one_line(maximum: int) -> Any:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=maximum)


Why = Annotated[str, _one_line(REASON_LENGTH_MAX), AfterValidator(refuse_control_characters)]
Note = Annotated[str, _one_line(NOTE_LENGTH_MAX), AfterValidator(refuse_control_characters)]
ActionName = Annotated[Action, BeforeValidator(lambda value: _named(Action, value))]


def _named(kinds: type[StrEnum], value: object) -> StrEnum:
    """A body is read strictly, and text is no enum: the names of our own kinds are read here. Raises ValueError."""
    if not isinstance(value, str) or value not in list(kinds):
        raise ValueError(f"must be one of {', '.join(kinds)}")
    return kinds(value)


class IpRuleBody(Body):
    """A rule for a range of addresses; without `expiresAt` it is for good."""

    network: Range
    action: ActionName
    reason: Why
    expires_at: Moment | None = None


class IpRuleChangesBody(Body):
    """What changes; a range or an action that was wrong is deleted and made anew."""

    reason: Why = ""
    expires_at: Moment | None = None


class IpRulePath(PathIds):
    rule_id: int


class IpRulesQuery(PageQuery):
    action: Action | None = None


class IpRuleView(View):
    """A rule; `isActive` is false once it has expired."""

    id: str
    network: str
    action: str
    reason: str
    expires_at: str | None
    is_active: bool
    created_by: str
    created_at: str


class FraudRecordPath(PathIds):
    record_id: int


class FraudRecordsQuery(Query):
    signal: Signal | None = None
    action: Verdict | None = None
    user_id: Id | None = None
    sale_id: Id | None = None
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=300)


class OverruleBody(Body):
    """Why this subject may pass the signal."""

    note: Note


class FraudRecordView(View):
    """What was noticed. `score` is in percent of the threshold; `subject` is what passes once it is overruled."""

    id: str
    at: str
    user_id: str
    address: str | None
    sale_id: str
    signal: str
    subject: str
    score: int
    action: str
    details: dict[str, Any]
    overruled_by: str | None
    overruled_at: str | None
    note: str | None


class FraudRecordPage(View):
    success: bool
    message: str
    data: list[FraudRecordView]
    meta: CursorMeta
