"""One batch of a sale's line: decided and written in one transaction, and what is told of it afterwards.

The sale's row lock is what makes one worker at a time true. Everything may run twice: a ticket at or below
`settled_through` is only told again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from models import mailbox
from models.arrays import array_of
from models.buyer_months import add_units, with_month
from models.clock import to_ms
from models.database import transaction
from models.decide import Holding, Request, SaleTerms
from models.messages import Statement, commit_together
from models.outcomes import Settlement, Waiting, purchases_of
from models.purchase import Purchase, Status
from models.record import PurchaseRecord
from models.sale import FlashSale, SaleState
from models.sale_rules import end_if_sold_out, touch
from models.snapshot import SaleSnapshot, terms_of
from models.taking_over import take_over
from models.totals import totals_of

# What is done while PostgreSQL writes: it gets the new requests of the batch, and how the sale stands behind it, unless
# more than that decides what becomes of the next.
Meanwhile = Callable[[Waiting, SaleTerms | None], None]

# The sale behind a batch: what a batch can change of it.
WRITE_SALE = """
    UPDATE flash_sales
    SET sold = %(sold)s, reserved = %(reserved)s, settled_through = %(settled_through)s, state = %(state)s,
        end_reason = %(end_reason)s, revision = %(revision)s, updated_at = %(updated_at)s
    WHERE id = %(id)s
"""
WRITTEN = ("id", "sold", "reserved", "settled_through", "state", "end_reason", "revision", "updated_at")

# What settling makes of a request.
DECIDED = (Status.CONFIRMED, Status.RESERVED, Status.REJECTED)

# Units that each buyer concerned already has of the sale, and the end of their oldest running hold.
HOLDINGS = text("""
    SELECT user_id, sum(quantity), min(expires_at) FILTER (WHERE status = 'reserved')
    FROM purchases
    WHERE sale_id = :sale_id AND user_id = ANY(CAST(:users AS bigint[])) AND status IN ('confirmed', 'reserved')
    GROUP BY user_id
""")

# The tickets that these Idempotency-Keys were settled under.
FIRST_TICKETS = text("""
    SELECT purchases.user_id, purchases.idempotency_key, purchases.ticket
    FROM purchases
    JOIN unnest(CAST(:users AS bigint[]), CAST(:keys AS text[])) AS asked (user_id, idempotency_key)
      USING (user_id, idempotency_key)
    WHERE purchases.sale_id = :sale_id
""")


@dataclass(frozen=True, slots=True)
class SettledBatch:
    """One transaction's worth, committed; nobody was told yet."""

    snapshot: SaleSnapshot
    waiting: Waiting
    fresh: Waiting
    settlement: Settlement | None
    told_again: Sequence[PurchaseRecord]
    strays: Sequence[Request]
    batch_max: int
    # How long the transaction took.
    seconds: float

    @property
    def more(self) -> bool:
        """Whether the line has more than what was read."""
        return len(self.waiting.requests) == self.batch_max or bool(self.strays)

    def counts(self) -> dict[Status, int]:
        """How many requests were decided, by what can become of one here."""
        decided = self.settlement.decided.fields["status"] if self.settlement else ()
        return {status: decided.count(status) for status in DECIDED}


def commit_batch(sale_id: int, batch_max: int, read_before: Waiting | None, meanwhile: Meanwhile) -> SettledBatch:
    """Settle the oldest `batch_max` entries of a sale's mailbox in one transaction.

    `read_before` are those entries, where they were read already. `meanwhile` is called at most once, when all is
    decided and PostgreSQL is about to write: whatever it starts must not touch this sale's rows. Raises BusyError,
    and what PostgreSQL and Redis raise where they are away.
    """
    started = time.monotonic()
    with transaction() as session:
        sale, now = take_over(session, sale_id)
        waiting = read_before or Waiting(mailbox.read(sale_id, batch_max))
        fresh = waiting.behind(sale.settled_through)
        leftovers = [] if fresh is waiting else waiting.through(sale.settled_through)
        told_again, strays = _sort_leftovers(session, sale_id, leftovers)
        settlement = _settle_fresh(session, sale, now, fresh, meanwhile) if fresh.requests else None
        snapshot = SaleSnapshot.of(sale)
    seconds = time.monotonic() - started
    return SettledBatch(snapshot, waiting, fresh, settlement, told_again, strays, batch_max, seconds)


def _settle_fresh(session: Session, sale: FlashSale, now: datetime, fresh: Waiting, meanwhile: Meanwhile) -> Settlement:
    """Decide the requests and write outcomes, stock and `settled_through`; the sale's row is locked."""
    requests = fresh.requests
    users = (request.user_id for request in requests)
    terms, holdings = with_month(session, sale, terms_of(sale), _holdings(session, sale, fresh), users)
    decided = fresh.decided(terms, holdings, to_ms(now), _first_tickets(session, sale.id, fresh))
    if sale.state == SaleState.SCHEDULED and any(request.admitted_ms >= to_ms(sale.starts_at) for request in requests):
        # Beat only announces: a request that Redis admitted after the start proves that the sale is open.
        sale.state = SaleState.LIVE
    sale.sold, sale.reserved = decided.decision.sold, decided.decision.reserved
    sale.settled_through = requests[-1].ticket
    touch(sale, now)
    end_if_sold_out(sale)
    settlement = Settlement.of(sale, fresh, decided, now)
    add_units(session, sale, ((each.request.user_id, each.request.quantity) for each in settlement.let_in()))
    behind = terms_of(sale) if terms.max_per_user_month is None else None
    commit_together(session, _writes(sale, settlement), lambda: meanwhile(fresh, behind))
    return settlement


def _writes(sale: FlashSale, settlement: Settlement) -> list[Statement]:
    """What a batch changes: purchases, what their buyers have of the sale, and the sale."""
    purchases = purchases_of(settlement)
    stock = WRITE_SALE, {name: getattr(sale, name) for name in WRITTEN}
    if settlement.decided.are_all_confirmed:
        bought = settlement.fresh
    else:
        bought = Waiting([each.request for each in settlement.outcomes if each.status is Status.CONFIRMED])
    return [purchases, totals_of(sale.id, bought.bought), stock] if bought.requests else [purchases, stock]


def _holdings(session: Session, sale: FlashSale, fresh: Waiting) -> dict[int, Holding]:
    """What the buyers of this batch already have; asked only where an outcome can rest on it."""
    if sale.max_per_user is None and fresh.only_purchases:
        return {}
    users = array_of({request.user_id for request in fresh.requests})
    rows = session.execute(HOLDINGS, {"sale_id": sale.id, "users": users})
    return {user: Holding(int(units), to_ms(expires) if expires else None) for user, units, expires in rows}


def _first_tickets(session: Session, sale_id: int, fresh: Waiting) -> dict[tuple[int, str], int]:
    if not fresh.has_keys:
        return {}
    pairs = [(request.user_id, request.idempotency_key) for request in fresh.requests if request.idempotency_key]
    if not pairs:
        return {}
    users, keys = zip(*pairs, strict=True)
    rows = session.execute(FIRST_TICKETS, {"sale_id": sale_id, "users": array_of(users), "keys": list(keys)})
    return {(user, key): ticket for user, key, ticket in rows}


def _sort_leftovers(
    session: Session, sale_id: int, leftovers: Sequence[Request]
) -> tuple[list[PurchaseRecord], list[Request]]:
    """Split what lies at or below `settled_through` into outcomes to tell again and strays to line up anew.

    A crash between commit and trim leaves entries whose row has their nonce. An entry whose ticket was settled under
    another nonce was admitted by a Redis that came back from the past: a different request under a used number.
    """
    if not leftovers:
        return [], []
    tickets = [request.ticket for request in leftovers]
    rows = session.scalars(select(Purchase).where(Purchase.sale_id == sale_id, Purchase.ticket.in_(tickets)))
    settled = {row.ticket: row for row in rows}
    told: list[PurchaseRecord] = []
    strays: list[Request] = []
    for request in leftovers:
        row = settled.get(request.ticket)
        if row is not None and row.nonce == request.nonce:
            told.append(PurchaseRecord.of(row))
        else:
            strays.append(request)
    return told, strays
