"""Outcomes on their way into their table: those of a whole batch in one message to PostgreSQL.

Not by COPY. While PostgreSQL takes a COPY's rows no timeout of its own ends the statement (it looks only whether the
session was terminated), so that a worker which stalls between two rows would hold its sale for as long as it sleeps.
Parameters have messages of their own too; a statement with its values inside is one, and until the whole of it is there
the session is idle in its transaction, which PostgreSQL bounds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property, partial
from itertools import repeat
from operator import attrgetter
from typing import Any, Self

from models.clock import from_ms, to_ms
from models.columns import Column, keys, numbers, rows_of, texts
from models.decide import Decision, Holding, Outcome, Request, SaleTerms, decide
from models.messages import Statement
from models.purchase import Kind, Status
from models.record import PurchaseRecord
from models.sale import FlashSale
from models.totals import sums_of

# A time in milliseconds, by days and the rest of a day: each is exact, and no time zone has a say.
TIME = """(timestamp 'epoch' + {ms} / 86400000 * interval '1 day'
                             + {ms} %% 86400000 * interval '1 millisecond') AT TIME ZONE 'UTC'"""

# The same for many times that lie less than this apart, from the first of them on: with a third of the steps a row.
SINCE = "%(since)s::timestamptz + admitted_ms * interval '1 millisecond'"
# PostgreSQL counts the microseconds in between as a double, which has so many whole numbers.
APART_MS_MAX = 2**53 // 1000

# A member's text, without the call that `value` is.
VALUE = attrgetter("_value_")

# Behind it stand the rows (models/columns.py). A duplicate leaves its key with the first, so that the key stays unique.
INSERT = """
    INSERT INTO purchases (sale_id, ticket, user_id, kind, quantity, status, reason, unit_price, total_amount, currency,
                           nonce, idempotency_key, duplicate_of, original_ticket, admitted_at, settled_at, expires_at,
                           revision)
    SELECT %(sale_id)s, ticket, user_id, kind, quantity, status, reason, %(unit_price)s, %(unit_price)s * quantity,
           %(currency)s, nonce, CASE WHEN duplicate_of IS NULL THEN key END, duplicate_of, original_ticket,
           {admitted_at}, %(settled_at)s, {expires_at}, %(revision)s
    FROM """


class Waiting:
    """Requests of one sale in ticket order, and the columns that they fill in their rows whatever becomes of them."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self._guess: tuple[SaleTerms, Decided] | None = None

    def behind(self, ticket: int) -> "Waiting":
        """Those with a later ticket: this very object where all are later."""
        if self.requests and min(self.fields["ticket"]) > ticket:
            return self
        return Waiting([request for request in self.requests if request.ticket > ticket])

    def through(self, ticket: int) -> list[Request]:
        """Those with no later ticket."""
        return [request for request in self.requests if request.ticket <= ticket]

    def guess(self, terms: SaleTerms) -> None:
        """Decide ahead, should the sale stand so when these are settled. No hold is guessed, whose end rests on the
        time."""
        if self.requests and self.only_purchases:
            decided = Decided(decide(terms, {}, self.requests, now_ms=0))
            _ = decided.columns
            self._guess = terms, decided

    def decided(
        self,
        terms: SaleTerms,
        holdings: Mapping[int, Holding],
        now_ms: int,
        first_tickets: Mapping[tuple[int, str], int],
    ) -> "Decided":
        """What becomes of these (models/decide.py): the guess, where all is as it was guessed."""
        if self._guess is not None and self._guess[0] == terms and not holdings and not first_tickets:
            return self._guess[1]
        return Decided(decide(terms, holdings, self.requests, now_ms, first_tickets))

    @property
    def only_purchases(self) -> bool:
        """Whether nobody asks for a hold."""
        return self.columns["kind"].value == Kind.PURCHASE

    @property
    def has_keys(self) -> bool:
        """Whether any of them has an Idempotency-Key."""
        return self.columns["key"].value is not None

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The columns by the names that INSERT has for them: made ahead, or when they are needed."""
        of, since_ms = self.fields, self.since_ms
        return {
            "ticket": keys(of["ticket"]),
            "user_id": numbers(of["user_id"]),
            "kind": texts(of["kind"]),
            "quantity": numbers(of["quantity"]),
            "nonce": texts(of["nonce"]),
            "key": texts(of["idempotency_key"]),
            "original_ticket": numbers(of["original_ticket"]),
            "admitted_ms": numbers([each - since_ms for each in of["admitted_ms"]]),
        }

    @cached_property
    def since_ms(self) -> int:
        """From when on `admitted_ms` counts in `columns`: the first admission, or 0, the epoch, where another lies too
        far behind it to be counted exactly."""
        times = self.fields["admitted_ms"]
        first = min(times)
        return first if max(times) - first < APART_MS_MAX else 0

    @cached_property
    def bought(self) -> dict[str, Column]:
        """What their buyers have more of the sale, should all be confirmed (models/totals.py)."""
        of = self.fields
        return sums_of(of["user_id"], of["ticket"], of["quantity"])

    @cached_property
    def fields(self) -> dict[str, tuple[Any, ...]]:
        """Of each field, what the requests have in it."""
        return dict(zip(Request._fields, zip(*self.requests, strict=True), strict=True))


class Decided:
    """What became of requests, and the columns that it fills in their rows."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    @cached_property
    def fields(self) -> dict[str, tuple[Any, ...]]:
        """Of each field, what the outcomes have in it."""
        return dict(zip(Outcome._fields, zip(*self.decision.outcomes, strict=True), strict=True))

    @cached_property
    def columns(self) -> dict[str, Column]:
        """By the names that INSERT has for them."""
        of = self.fields
        return {
            "status": texts(of["status"]),
            "reason": texts(of["reason"]),
            "duplicate_of": numbers(of["duplicate_of"]),
            "expires_ms": numbers(of["expires_ms"]),
        }

    @property
    def are_all_confirmed(self) -> bool:
        return self.columns["status"].value == Status.CONFIRMED


@dataclass(frozen=True, slots=True)
class Settlement:
    """A batch's outcomes, in ticket order, and what they have in common. Money is Decimal in `currency`."""

    sale_id: int
    unit_price: Decimal | None
    currency: str
    revision: int
    settled_at: datetime
    fresh: Waiting
    decided: Decided

    @classmethod
    def of(cls, sale: FlashSale, fresh: Waiting, decided: Decided, now: datetime) -> Self:
        """What was decided of a sale's requests at a moment; the sale has its new revision."""
        return cls(sale.id, sale.flash_price, sale.currency, sale.revision, now, fresh, decided)

    @property
    def outcomes(self) -> Sequence[Outcome]:
        return self.decided.decision.outcomes

    def let_in(self) -> Iterator[Outcome]:
        """Those that have units now."""
        return (outcome for outcome in self.outcomes if outcome.reason is None)

    def records(self) -> list[PurchaseRecord]:
        """The purchases, as their buyers are told of them: field by field, for the same reason as requests are read so
        (models/mailbox.py)."""
        asked, became = self.fresh.fields, self.decided.fields
        nothing: repeat[None] = repeat(None)
        price = self.unit_price
        amounts = {quantity: None if price is None else price * quantity for quantity in set(asked["quantity"])}
        told = {
            "sale_id": repeat(self.sale_id),
            "ticket": asked["ticket"],
            "user_id": asked["user_id"],
            "kind": map(VALUE, asked["kind"]),
            "quantity": asked["quantity"],
            "status": map(VALUE, became["status"]),
            "reason": [reason and reason.value for reason in became["reason"]],
            "unit_price": repeat(price),
            "total_amount": map(amounts.__getitem__, asked["quantity"]),
            "currency": repeat(self.currency),
            "admitted_ms": asked["admitted_ms"],
            "settled_ms": repeat(to_ms(self.settled_at)),
            "expires_ms": became["expires_ms"],
            "duplicate_of": became["duplicate_of"],
            "original_ticket": asked["original_ticket"],
            "revision": repeat(self.revision),
        }
        fields = zip(*(told.get(name, nothing) for name in PurchaseRecord._fields), strict=False)
        return list(map(partial(tuple.__new__, PurchaseRecord), fields))


def purchases_of(settlement: Settlement) -> Statement:
    """What inserts a batch's purchases."""
    values: dict[str, Any] = {
        "sale_id": settlement.sale_id,
        "unit_price": settlement.unit_price,
        "currency": settlement.currency,
        "settled_at": settlement.settled_at,
        "revision": settlement.revision,
    }
    fresh = settlement.fresh
    rows, named = rows_of(fresh.columns | settlement.decided.columns)
    if fresh.since_ms:
        values["since"] = from_ms(fresh.since_ms)
    insert = INSERT.format(
        admitted_at=SINCE if fresh.since_ms else TIME.format(ms="admitted_ms"),
        expires_at=TIME.format(ms="expires_ms"),
    )
    return insert + rows, values | named
