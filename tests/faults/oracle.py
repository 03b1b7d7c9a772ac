"""The oracle: what the buyers were told, held against PostgreSQL. Pure: it is given both and reads nothing.

Four counts must be nought: requests lost (accepted, and nowhere), doubled (two outcomes of one request), wrong units
(stock that does not add up), and out of order. Requests that a Redis restored from an older copy could not know are
counted by themselves, as `forgotten`, and only where docs/architecture.md, "What is not promised", allows it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tests.faults.ledger import QUEUED, Ask, Ledger, Told, follows

STOCK_REFUSALS = frozenset({"SOLD_OUT", "INSUFFICIENT_STOCK"})


@dataclass(frozen=True, slots=True)
class Row:
    """A purchase as PostgreSQL has it."""

    sale_id: int
    ticket: int
    user_id: int
    kind: str
    quantity: int
    status: str
    reason: str | None = None
    key: str | None = None
    duplicate_of: int | None = None
    original_ticket: int | None = None
    admitted_at: datetime | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SaleRow:
    """A sale as PostgreSQL has it, and whether its audit, asked over HTTP, agrees (None: nobody could ask)."""

    sale_id: int
    total_stock: int
    sold: int
    reserved: int
    settled_through: int
    audit_agrees: bool | None = True
    # Units came back, the sale was paused or ended by time: then an early "sold out" proves nothing.
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Restore:
    """Redis came back as it was at `copied_at`, not before `back_at` (the rig's monotonic clock).

    It was away for a while before: whoever heard of a ticket until then had it from the Redis that is gone.
    """

    copied_at: float
    back_at: float

    def may_forget(self, ask: Ask) -> bool:
        """Whether this request was admitted after the copy, and by the Redis that is gone."""
        return ask.accepted_at is not None and self.copied_at <= ask.accepted_at <= self.back_at


@dataclass(slots=True)
class Verdict:
    """The counts of a seed, and a sentence for each fault that they are made of."""

    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    wrong_units: int = 0
    out_of_order: int = 0
    broken: int = 0  # answers that a shop under faults must not give either, such as 500
    forgotten: int = 0  # allowed after a restore, and only then
    complaints: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        return not self.complaints

    def complain(self, what: str) -> None:
        self.complaints.append(what)


def judge(ledger: Ledger, sales: Sequence[SaleRow], rows: Sequence[Row], restores: Sequence[Restore] = ()) -> Verdict:
    """Hold what the buyers know against what PostgreSQL has, once every line is drained."""
    verdict = Verdict(accepted=len(ledger.accepted))
    book = {(row.sale_id, row.ticket): row for row in rows}
    moved = {(row.sale_id, row.original_ticket, row.user_id): row for row in rows if row.original_ticket is not None}
    for ask in ledger.asks:
        _judge_ask(ask, book, moved, restores, verdict)
    _judge_doubles(ledger, rows, verdict)
    for sale in sales:
        mine = sorted((row for row in rows if row.sale_id == sale.sale_id), key=lambda row: row.ticket)
        _judge_units(sale, mine, ledger, verdict)
        _judge_line(sale, mine, verdict)
        if not restores:
            _judge_order(sale.sale_id, ledger, verdict)
    return verdict


def _judge_ask(
    ask: Ask,
    book: Mapping[tuple[int, int], Row],
    moved: Mapping[tuple[int, int | None, int], Row],
    restores: Sequence[Restore],
    verdict: Verdict,
) -> None:
    for status, times in ask.broken.items():
        verdict.broken += times
        verdict.complain(f"{_name(ask)}: {times} times the answer was {status}")
    if not ask.is_accepted:
        return
    found = []
    for ticket in ask.tickets:
        row = _row_of(ask, ticket, book, moved)
        if row is not None:
            found.append(row)
        elif any(restore.may_forget(ask) for restore in restores):
            verdict.forgotten += 1
        else:
            verdict.lost += 1
            verdict.complain(f"{_name(ask)}: accepted as ticket {ticket} and has no outcome")
    if found:
        _judge_outcome(_without_what_was_told_of_another(ask, book) if restores else ask, found[-1], verdict)


def _without_what_was_told_of_another(ask: Ask, book: Mapping[tuple[int, int], Row]) -> Ask:
    """A Redis from the past can give a ticket that was settled long ago, to a buyer who had it before. Whoever asks for
    that ticket is then told of the first of the two requests (docs/decisions/0007-strays.md)."""

    def is_of_another(told: Told) -> bool:
        row = book.get((ask.sale_id, told.ticket))
        return row is not None and row.user_id == ask.user_id and not _is_of(ask, row) and told.by != "answer"

    return replace(ask, told=[told for told in ask.told if not is_of_another(told)])


def _judge_outcome(ask: Ask, row: Row, verdict: Verdict) -> None:
    """One outcome, the same whoever told it, for what was asked for."""
    wrong = ask.contradictions() + [
        f"told {told.status} by {told.by}, and PostgreSQL says {row.status}"
        for told in ask.told
        if told.status != QUEUED and not follows(told.status, row.status)
    ]
    verdict.doubled += bool(wrong)
    for what in wrong:
        verdict.complain(f"{_name(ask)}: {what}")
    if row.reason != "MALFORMED" and (row.quantity, row.kind) != (ask.quantity, ask.kind):
        verdict.wrong_units += 1
        verdict.complain(f"{_name(ask)}: asked for {ask.quantity} ({ask.kind}), got {row.quantity} ({row.kind})")


def _row_of(
    ask: Ask,
    ticket: int,
    book: Mapping[tuple[int, int], Row],
    moved: Mapping[tuple[int, int | None, int], Row],
) -> Row | None:
    """The row that answers this ticket: its own, or the one that its request lined up anew with, or its first's."""
    row = book.get((ask.sale_id, ticket))
    if row is None or not _is_of(ask, row):
        row = moved.get((ask.sale_id, ticket, ask.user_id))
    if row is not None and row.duplicate_of is not None:
        return book.get((ask.sale_id, row.duplicate_of))
    return row


def _is_of(ask: Ask, row: Row) -> bool:
    """Whether the row is this request's: a duplicate leaves its key with the first."""
    return row.user_id == ask.user_id and (row.key == ask.key or row.duplicate_of is not None)


def _judge_doubles(ledger: Ledger, rows: Sequence[Row], verdict: Verdict) -> None:
    """No request may have two outcomes: a buyer has at most as many as requests, and a key has at most one."""
    most: Counter[tuple[int, int]] = Counter()
    for ask in ledger.asks:
        most[ask.sale_id, ask.user_id] += 1 if ask.key else ask.tries
    had = Counter((row.sale_id, row.user_id) for row in rows if row.reason != "DUPLICATE")
    for who, outcomes in had.items():
        if outcomes > most[who]:
            verdict.doubled += outcomes - most[who]
            verdict.complain(f"sale {who[0]}: user {who[1]} made {most[who]} requests and has {outcomes} outcomes")
    keys = Counter((row.sale_id, row.user_id, row.key) for row in rows if row.key)
    for (sale_id, user_id, key), times in keys.items():
        if times > 1:
            verdict.doubled += times - 1
            verdict.complain(f"sale {sale_id}: key {key} of user {user_id} has {times} outcomes")


def _judge_units(sale: SaleRow, rows: Sequence[Row], ledger: Ledger, verdict: Verdict) -> None:
    units: Counter[str] = Counter()
    for row in rows:
        units[row.status] += row.quantity
    left = sale.total_stock - sale.sold - sale.reserved
    wrong = []
    if left < 0 or min(sale.sold, sale.reserved) < 0:
        wrong.append(f"{sale.sold} sold and {sale.reserved} held of {sale.total_stock}")
    if (units["confirmed"], units["reserved"]) != (sale.sold, sale.reserved):
        wrong.append(
            f"the row says {sale.sold} sold and {sale.reserved} held, the purchases say "
            f"{units['confirmed']} and {units['reserved']}"
        )
    if sale.audit_agrees is not True:
        wrong.append("the audit disagrees" if sale.audit_agrees is False else "the audit could not be had")
    turned_away = [row for row in rows if row.reason in STOCK_REFUSALS and row.quantity <= left]
    turned_away_at_the_gate = [
        ask
        for ask in ledger.asks
        if ask.sale_id == sale.sale_id and ask.refusal in STOCK_REFUSALS and ask.quantity <= left
    ]
    if not sale.moved and (turned_away or turned_away_at_the_gate):
        wrong.append(f"{left} units are left, and buyers of so many were told that there were none")
    for what in wrong:
        verdict.wrong_units += 1
        verdict.complain(f"sale {sale.sale_id}: {what}")


def _judge_line(sale: SaleRow, rows: Sequence[Row], verdict: Verdict) -> None:
    """Tickets without a gap, settled in their order."""
    wrong = []
    tickets = [row.ticket for row in rows]
    if tickets and tickets != list(range(tickets[0], tickets[0] + len(tickets))):
        wrong.append("there are gaps between the tickets")
    if (tickets[-1] if tickets else 0) != sale.settled_through:
        wrong.append(f"settled through {sale.settled_through}, and the last ticket is {tickets[-1] if tickets else 0}")
    settled = [row.settled_at for row in rows if row.settled_at is not None]
    if settled != sorted(settled):
        wrong.append("a ticket was settled before an earlier one")
    for what in wrong:
        verdict.out_of_order += 1
        verdict.complain(f"sale {sale.sale_id}: {what}")


def _judge_order(sale_id: int, ledger: Ledger, verdict: Verdict) -> None:
    """Whoever had a ticket in hand before somebody else first asked stands in front of them."""
    in_hand: list[tuple[float, int]] = []
    sent: defaultdict[int, float] = defaultdict(float)
    for ask in ledger.asks:
        if ask.sale_id == sale_id and ask.accepted_at is not None and ask.sent_at is not None:
            in_hand.append((ask.accepted_at, ask.tickets[0]))
            sent[ask.tickets[0]] = ask.sent_at
    in_hand.sort()
    best, position = 0, 0
    for ticket, sent_at in sorted(sent.items(), key=lambda pair: pair[1]):
        while position < len(in_hand) and in_hand[position][0] < sent_at:
            best = max(best, in_hand[position][1])
            position += 1
        if ticket < best:
            verdict.out_of_order += 1
            verdict.complain(f"sale {sale_id}: ticket {ticket} was asked for after ticket {best} was given out")


def _name(ask: Ask) -> str:
    return f"sale {ask.sale_id}, user {ask.user_id}"
