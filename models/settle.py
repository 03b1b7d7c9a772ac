"""Settling: take the waiting requests of a sale in ticket order, decide each, write it all in one transaction, tell.

The sale's row lock is what makes one worker at a time true. Everything may run twice: a ticket at or below
`settled_through` is only told again.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from models import mailbox, metrics
from models.announce import announce
from models.buyer_months import add_units, with_month
from models.clock import to_ms
from models.connections import tell_transaction
from models.database import database_now, transaction
from models.decide import Decision, Holding, Request, decide
from models.first_page import refresh_first_page
from models.outcomes import write_outcomes
from models.purchase import Kind, Purchase, Status
from models.record import PurchaseRecord
from models.sale import FlashSale, SaleState
from models.sale_rules import end_if_sold_out, lock_sale, touch
from models.settings import settings
from models.settle_traces import telling
from models.snapshot import SaleSnapshot, terms_of
from models.totals import add_totals

# How much longer the next worker waits for a sale than the one that has it may stall.
NEXT_WAITS_MS = 1_000

# Units that each buyer concerned already has of the sale, and the end of their oldest running hold.
HOLDINGS = text("""
    SELECT user_id, sum(quantity), min(expires_at) FILTER (WHERE status = 'reserved')
    FROM purchases
    WHERE sale_id = :sale_id AND user_id = ANY(:users) AND status IN ('confirmed', 'reserved')
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
class SettleReport:
    """What one turn at a sale did, as operators read it in Flower."""

    sale: int
    settled: int = 0
    confirmed: int = 0
    reserved: int = 0
    rejected: int = 0
    remaining: int = 0
    milliseconds: int = 0
    more: bool = False
    dedicated: bool = False

    def as_dict(self) -> dict[str, int | bool]:
        return asdict(self)


def settle_turn(sale_id: int) -> SettleReport:
    """Settle up to `settle_batches_per_turn` batches; `more` says whether the line has more.

    Raises what PostgreSQL or Redis raise when they are away: the batch in hand is then rolled back whole.
    """
    known = settings()
    started = time.monotonic()
    mailbox.clear_awake(sale_id)
    statuses: dict[Status, int] = dict.fromkeys(Status, 0)
    remaining, more, dedicated = 0, False, False
    for _ in range(known.settle_batches_per_turn):
        batch = settle_batch(sale_id, known.settle_batch_max)
        for outcome in batch.outcomes:
            statuses[Status(outcome.status)] += 1
        remaining, more, dedicated = batch.remaining, batch.more, batch.dedicated
        if not more:
            break
    return SettleReport(
        sale=sale_id,
        settled=sum(statuses.values()),
        confirmed=statuses[Status.CONFIRMED],
        reserved=statuses[Status.RESERVED],
        rejected=statuses[Status.REJECTED],
        remaining=remaining,
        milliseconds=round((time.monotonic() - started) * 1000),
        more=more,
        dedicated=dedicated,
    )


@dataclass(frozen=True, slots=True)
class SettledBatch:
    """One transaction's worth."""

    outcomes: list[PurchaseRecord]
    remaining: int
    more: bool
    dedicated: bool


def settle_batch(sale_id: int, batch_max: int) -> SettledBatch:
    """Settle the oldest `batch_max` entries of a sale's mailbox in one transaction, then tell everyone."""
    started = time.monotonic()
    with transaction() as session:
        _bound(session)
        sale = lock_sale(session, sale_id)
        waiting = mailbox.read(sale_id, batch_max)
        leftovers = [request for request in waiting if request.ticket <= sale.settled_through]
        fresh = [request for request in waiting if request.ticket > sale.settled_through]
        told, strays = _sort_leftovers(session, sale_id, leftovers)
        outcomes = _settle_fresh(session, sale, fresh) if fresh else []
        snapshot = SaleSnapshot.of(sale)
    seconds = time.monotonic() - started
    if outcomes:
        metrics.settled(outcomes, seconds)
    if waiting:
        pace = len(fresh) / seconds if fresh else None
        with telling(sale_id, fresh, outcomes, seconds) as traces:
            announce(
                snapshot,
                [*told, *outcomes],
                strays=strays,
                pace_per_second=pace,
                read_through=waiting[-1].ticket,
                traces=traces,
            )
    confirmed = next((outcome.ticket for outcome in outcomes if outcome.status == Status.CONFIRMED), None)
    if confirmed is not None:
        refresh_first_page(sale_id, confirmed)
    more = len(waiting) == batch_max or bool(strays)
    return SettledBatch(outcomes, snapshot.remaining, more, snapshot.dedicated)


def _bound(session: Session) -> None:
    """Whoever stalls with a sale in hand is put out sooner than others, and who comes next waits for that.

    A worker that is cut off from PostgreSQL looks to it like one that is idle in its transaction.
    """
    stall_ms = settings().settle_stall_ms
    bounds = {"idle_in_transaction_session_timeout": stall_ms, "lock_timeout": stall_ms + NEXT_WAITS_MS}
    session.execute(text(tell_transaction(bounds)))


def _settle_fresh(session: Session, sale: FlashSale, fresh: Sequence[Request]) -> list[PurchaseRecord]:
    """Decide the requests and write outcomes, stock and `settled_through`; the sale's row is locked."""
    now = database_now(session)
    users = (request.user_id for request in fresh)
    terms, holdings = with_month(session, sale, terms_of(sale), _holdings(session, sale, fresh), users)
    decision = decide(terms, holdings, fresh, to_ms(now), _first_tickets(session, sale.id, fresh))
    if sale.state == SaleState.SCHEDULED and any(request.admitted_ms >= to_ms(sale.starts_at) for request in fresh):
        # Beat only announces: a request that Redis admitted after the start proves that the sale is open.
        sale.state = SaleState.LIVE
    sale.sold = decision.sold
    sale.reserved = decision.reserved
    sale.settled_through = fresh[-1].ticket
    touch(sale, now)
    end_if_sold_out(sale)
    records = _records(sale, decision, to_ms(now))
    write_outcomes(session, records, decision.outcomes, to_ms(now))
    add_units(session, sale, ((record.user_id, record.quantity) for record in records if record.reason is None))
    confirmed = (record for record in records if record.status == Status.CONFIRMED)
    add_totals(session, sale.id, ((record.user_id, record.ticket, record.quantity) for record in confirmed))
    session.flush()
    return records


def _holdings(session: Session, sale: FlashSale, fresh: Sequence[Request]) -> dict[int, Holding]:
    """What the buyers of this batch already have; asked only where an outcome can rest on it."""
    if sale.max_per_user is None and all(request.kind is Kind.PURCHASE for request in fresh):
        return {}
    users = list({request.user_id for request in fresh})
    rows = session.execute(HOLDINGS, {"sale_id": sale.id, "users": users})
    return {user: Holding(int(units), to_ms(expires) if expires else None) for user, units, expires in rows}


def _first_tickets(session: Session, sale_id: int, fresh: Sequence[Request]) -> dict[tuple[int, str], int]:
    pairs = [(request.user_id, request.idempotency_key) for request in fresh if request.idempotency_key]
    if not pairs:
        return {}
    users, keys = zip(*pairs, strict=True)
    rows = session.execute(FIRST_TICKETS, {"sale_id": sale_id, "users": list(users), "keys": list(keys)})
    return {(user, key): ticket for user, key, ticket in rows}


def _records(sale: FlashSale, decision: Decision, now_ms: int) -> list[PurchaseRecord]:
    # Read from the sale once, not once for each of a thousand.
    sale_id, unit_price, currency, revision = sale.id, sale.flash_price, sale.currency, sale.revision
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
            total_amount=_total(unit_price, request.quantity),
            currency=currency,
            admitted_ms=request.admitted_ms,
            settled_ms=now_ms,
            expires_ms=outcome.expires_ms,
            duplicate_of=outcome.duplicate_of,
            original_ticket=request.original_ticket,
            revision=revision,
        )
        for outcome in decision.outcomes
        for request in (outcome.request,)
    ]


def _total(unit_price: Decimal | None, quantity: int) -> Decimal | None:
    return None if unit_price is None else unit_price * quantity


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
