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
from functools import cached_property
from typing import Self

from models.arrays import array_of, text_array_of
from models.clock import to_ms
from models.decide import Decision, Holding, Outcome, Request, SaleTerms, decide
from models.messages import Statement
from models.purchase import Kind
from models.record import PurchaseRecord
from models.sale import FlashSale

# A time in milliseconds, by days and the rest of a day: each is exact, and no time zone has a say.
TIME = """(timestamp 'epoch' + {ms} / 86400000 * interval '1 day'
                             + {ms} %% 86400000 * interval '1 millisecond') AT TIME ZONE 'UTC'"""

# What differs from row to row, a column an array: PostgreSQL reads them in half the time that it takes for JSON.
# A duplicate leaves its key with the first, so that the key stays unique.
INSERT = f"""
    INSERT INTO purchases (sale_id, ticket, user_id, kind, quantity, status, reason, unit_price, total_amount, currency,
                           nonce, idempotency_key, duplicate_of, original_ticket, admitted_at, settled_at, expires_at,
                           revision)
    SELECT %(sale_id)s, ticket, user_id, kind, quantity, status, reason, %(unit_price)s, %(unit_price)s * quantity,
           %(currency)s, nonce, CASE WHEN duplicate_of IS NULL THEN key END, duplicate_of, original_ticket,
           {TIME.format(ms="admitted_ms")}, %(settled_at)s, {TIME.format(ms="expires_ms")}, %(revision)s
    FROM unnest(%(tickets)s::bigint[], %(users)s::bigint[], %(kinds)s::text[], %(quantities)s::bigint[],
                %(statuses)s::text[], %(reasons)s::text[], %(nonces)s::text[], %(keys)s::text[],
                %(duplicates)s::bigint[], %(originals)s::bigint[], %(admitted)s::bigint[], %(expiries)s::bigint[])
      AS outcomes (ticket, user_id, kind, quantity, status, reason, nonce, key, duplicate_of, original_ticket,
                   admitted_ms, expires_ms)
"""  # noqa: S608 # nosec B608 # all of it is written here


class Waiting:
    """Requests of one sale in ticket order, and the columns that they fill in their rows whatever becomes of them."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self._guess: tuple[SaleTerms, Decided] | None = None

    def behind(self, ticket: int) -> "Waiting":
        """Those with a later ticket: this very object where all are later."""
        later = [request for request in self.requests if request.ticket > ticket]
        return self if len(later) == len(self.requests) else Waiting(later)

    def guess(self, terms: SaleTerms) -> None:
        """Decide ahead, should the sale stand so when these are settled. No hold is guessed, whose end rests on the
        time."""
        if all(request.kind is Kind.PURCHASE for request in self.requests):
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

    @cached_property
    def columns(self) -> dict[str, str]:
        """The columns by the names that INSERT has for them: made ahead, or when they are needed."""
        requests = self.requests
        return {
            "tickets": array_of([request.ticket for request in requests]),
            "users": array_of([request.user_id for request in requests]),
            "kinds": text_array_of([request.kind for request in requests]),
            "quantities": array_of([request.quantity for request in requests]),
            "nonces": text_array_of([request.nonce for request in requests]),
            "keys": text_array_of([request.idempotency_key for request in requests]),
            "originals": array_of([request.original_ticket for request in requests]),
            "admitted": array_of([request.admitted_ms for request in requests]),
        }


class Decided:
    """What became of requests, and the columns that it fills in their rows."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    @cached_property
    def columns(self) -> dict[str, str]:
        """By the names that INSERT has for them."""
        outcomes = self.decision.outcomes
        return {
            "statuses": text_array_of([outcome.status for outcome in outcomes]),
            "reasons": text_array_of([outcome.reason for outcome in outcomes]),
            "duplicates": array_of([outcome.duplicate_of for outcome in outcomes]),
            "expiries": array_of([outcome.expires_ms for outcome in outcomes]),
        }


@dataclass(frozen=True, slots=True)
class Settlement:
    """A batch's outcomes, in ticket order, and what they have in common. Money is Decimal in `currency`."""

    sale_id: int
    unit_price: Decimal | None
    currency: str
    revision: int
    settled_at: datetime
    decided: Decided

    @classmethod
    def of(cls, sale: FlashSale, decided: Decided, now: datetime) -> Self:
        """What was decided of a sale at a moment; the sale has its new revision."""
        return cls(sale.id, sale.flash_price, sale.currency, sale.revision, now, decided)

    @property
    def outcomes(self) -> Sequence[Outcome]:
        return self.decided.decision.outcomes

    def let_in(self) -> Iterator[Outcome]:
        """Those that have units now."""
        return (outcome for outcome in self.outcomes if outcome.reason is None)

    def records(self) -> list[PurchaseRecord]:
        """The purchases, as their buyers are told of them."""
        sale_id, unit_price, currency, revision = self.sale_id, self.unit_price, self.currency, self.revision
        settled_ms = to_ms(self.settled_at)
        return [
            PurchaseRecord(
                sale_id=sale_id,
                ticket=request.ticket,
                user_id=request.user_id,
                kind=request.kind.value,
                quantity=request.quantity,
                status=outcome.status.value,
                reason=outcome.reason.value if outcome.reason else None,
                unit_price=unit_price,
                total_amount=None if unit_price is None else unit_price * request.quantity,
                currency=currency,
                admitted_ms=request.admitted_ms,
                settled_ms=settled_ms,
                expires_ms=outcome.expires_ms,
                duplicate_of=outcome.duplicate_of,
                original_ticket=request.original_ticket,
                revision=revision,
            )
            for outcome in self.outcomes
            for request in (outcome.request,)
        ]


def purchases_of(settlement: Settlement, fresh: Waiting) -> Statement:
    """What inserts a batch's purchases: the outcomes of these requests."""
    values = {
        "sale_id": settlement.sale_id,
        "unit_price": settlement.unit_price,
        "currency": settlement.currency,
        "settled_at": settlement.settled_at,
        "revision": settlement.revision,
    }
    return INSERT, values | fresh.columns | settlement.decided.columns
