"""The history of a range of sales: archived when all of it is over and proven, and brought back.

The steps of archiving: close (the sales are marked, with what their audits counted), detach, write, read back, drop.
Each one rests on the one before and may be repeated, so whoever finds an archiving half done does it again. From the
mark on every reader is told that the history was archived, wherever its rows are at that moment.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import history_files, rediskeys
from models.archives import HistoryArchive
from models.audit import Audit, audit_sale, counted_by
from models.clock import now, to_iso
from models.database import transaction
from models.errors import ConflictError, NotFoundError
from models.history_tables import WHOLES, Connection, SaleRange, attach, detach, drop, is_there, working_on_history
from models.redisclient import redis_client
from models.sale_ranges import NEXT_ID

log = structlog.get_logger()

# Lines asked about in one step.
STEP = 1_000
# Sales named in a refusal.
SHOWN_MAX = 10

# The ranges that there are, with what lies in them; those that were archived among them.
RANGES = text("""
    SELECT first_sale_id, end_sale_id, archived_at, manifest IS NOT NULL AS is_written, bytes, sales, purchases,
           oldest_made_at, newest_made_at, newest_end
    FROM (
      SELECT first_sale_id, end_sale_id, NULL::timestamptz AS archived_at, NULL::jsonb AS manifest,
             sum(pg_total_relation_size(part::regclass))::bigint AS bytes
      FROM sale_ranges
      WHERE first_sale_id NOT IN (SELECT first_sale_id FROM history_archives)
      GROUP BY first_sale_id, end_sale_id
      UNION ALL
      SELECT first_sale_id, end_sale_id, archived_at, manifest,
             coalesce(pg_total_relation_size(to_regclass('purchases_r' || first_sale_id)), 0)
             + coalesce(pg_total_relation_size(to_regclass('stock_movements_r' || first_sale_id)), 0)
      FROM history_archives
    ) AS known
    CROSS JOIN LATERAL (
      SELECT count(*) AS sales, coalesce(sum(settled_through), 0)::bigint AS purchases,
             min(created_at) AS oldest_made_at, max(created_at) AS newest_made_at,
             max(coalesce(ends_at, updated_at)) AS newest_end
      FROM flash_sales WHERE id >= first_sale_id AND id < end_sale_id
    ) AS within
    ORDER BY first_sale_id
""")
RANGE = text("""
    SELECT DISTINCT first_sale_id, end_sale_id FROM sale_ranges WHERE first_sale_id = :first
    UNION SELECT first_sale_id, end_sale_id FROM history_archives WHERE first_sale_id = :first
""")
# The sales of a range in the order in which everybody locks them, each with whether it is over: a week is how long the
# chores look after what has changed, and longer than any Idempotency-Key is kept.
SALES = """
    SELECT id, revision,
           state IN ('ended', 'cancelled') AND reserved = 0 AND updated_at < now() - interval '7 days' AS is_over
    FROM flash_sales WHERE id >= :first AND id < :end ORDER BY id
"""
KEEP_BOOKS = text("""
    INSERT INTO archived_books (sale_id, counted, tickets_by_status, units_by_status)
    SELECT sale_id, counted, tickets_by_status, units_by_status FROM json_to_recordset(:books)
      AS book (sale_id bigint, counted jsonb, tickets_by_status jsonb, units_by_status jsonb)
""")
COUNT_MOVEMENTS = text("SELECT count(*) FROM stock_movements WHERE sale_id >= :first AND sale_id < :end")
MARK = text("UPDATE flash_sales SET history_archived_at = now() WHERE id >= :first AND id < :end")
UNMARK = text("UPDATE flash_sales SET history_archived_at = NULL WHERE id >= :first AND id < :end")
UNMARKED = text("SELECT id FROM flash_sales WHERE id >= :first AND id < :end AND history_archived_at IS NULL")
FORGET_BOOKS = text("DELETE FROM archived_books WHERE sale_id >= :first AND sale_id < :end")
TOLD_STATUSES = text("""
    SELECT key, sum(value::bigint)::bigint FROM archived_books, jsonb_each_text(tickets_by_status)
    WHERE sale_id >= :first AND sale_id < :end GROUP BY key
""")


class NoSuchRangeError(NotFoundError):
    code = "RANGE_NOT_FOUND"
    message = "No range of sales begins with this id"


class HistoryInUseError(ConflictError):
    """A sale of the range is not over, or its books do not agree."""

    code = "HISTORY_IN_USE"


@dataclass(frozen=True, slots=True)
class RangeSummary:
    """A range as operators see it. `purchases` are tickets; `bytes` are those in the database, with indexes."""

    first_sale_id: int
    end_sale_id: int
    archived_at: datetime | None
    is_written: bool
    bytes: int
    sales: int
    purchases: int
    oldest_made_at: datetime | None
    newest_made_at: datetime | None
    newest_end: datetime | None


def ranges() -> list[RangeSummary]:
    """Every range that is there or was archived, the oldest first."""
    with transaction() as session:
        return [RangeSummary(**row) for row in session.execute(RANGES).mappings()]


def archive(first_sale_id: int, directory: Path, *, keep: bool = False) -> SaleRange:
    """Archive a range into `directory`; with `keep` its tables stay, beside the ones that sell.

    Raises NoSuchRangeError, HistoryInUseError, SpoiltArchiveError, HistoryBusyError, and what PostgreSQL, Redis and the
    disk raise. Whatever was done by then stands, and the next call goes on from there.
    """
    which = find_range(first_sale_id)
    with working_on_history() as connection:
        close(which)
        detach(connection, which)
        _check_late_sales(connection, which)
        if is_there(connection, which.part_of(WHOLES[0])) and is_there(connection, which.part_of(WHOLES[1])):
            _write(connection, which, directory)
        _check_written(which, directory)
        if not keep:
            drop(connection, which)
    log.info("history.archived", first_sale=which.first_sale_id, end_sale=which.end_sale_id, kept=keep)
    return which


def restore(first_sale_id: int, directory: Path | None) -> SaleRange:
    """Bring a range's history back: its tables, if they are still there, or else what `directory` has.

    Raises NoSuchRangeError, ConflictError (NOT_ARCHIVED), SpoiltArchiveError, HistoryBusyError, and what PostgreSQL
    raises.
    """
    which = find_range(first_sale_id)
    with transaction() as session:
        if session.get(HistoryArchive, first_sale_id) is None:
            raise ConflictError("This range was not archived", code="NOT_ARCHIVED")
    with working_on_history() as connection:
        if not all(is_there(connection, which.part_of(whole)) for whole in WHOLES):
            if directory is None:
                raise history_files.SpoiltArchiveError("The tables were dropped: say where the files are")
            history_files.load(connection, which, directory, _check_written(which, directory))
        attach(connection, which)
        _reopen(which)
    log.info("history.restored", first_sale=which.first_sale_id, end_sale=which.end_sale_id)
    return which


def find_range(first_sale_id: int) -> SaleRange:
    """Raises NoSuchRangeError."""
    with transaction() as session:
        found = session.execute(RANGE, {"first": first_sale_id}).one_or_none()
    if found is None:
        raise NoSuchRangeError
    return SaleRange(found.first_sale_id, found.end_sale_id)


def close(which: SaleRange) -> None:
    """Mark the sales of a range as archived, with what their audits counted; nothing where that is done already.

    The audits are made before the sales are locked, for they take long, and hold for as long as no sale has a later
    revision. Raises HistoryInUseError.
    """
    bounds = {"first": which.first_sale_id, "end": which.end_sale_id}
    with transaction() as session:
        if session.get(HistoryArchive, which.first_sale_id) is not None:
            return
        found = session.execute(text(SALES), bounds).all()
        _check_over(session, which, found)
    audits = [audit_sale(sale.id) for sale in found]
    if wrong := [audit.sale_id for audit in audits if not audit.agrees]:
        raise HistoryInUseError(f"The books of these sales do not agree: {_shown(wrong)}")
    with transaction() as session:
        locked = session.execute(text(f"{SALES} FOR UPDATE"), bounds).all()
        _check_over(session, which, locked)
        if [(sale.id, sale.revision) for sale in locked] != [(audit.sale_id, audit.revision) for audit in audits]:
            raise HistoryInUseError("A sale has changed since it was counted: try again")
        _check_lines([sale.id for sale in locked])
        session.add(
            HistoryArchive(
                first_sale_id=which.first_sale_id,
                end_sale_id=which.end_sale_id,
                sales=len(locked),
                purchases=sum(sum(audit.tickets_by_status.values()) for audit in audits),
                movements=session.execute(COUNT_MOVEMENTS, bounds).scalar_one(),
            )
        )
        session.execute(KEEP_BOOKS, {"books": orjson.dumps([_book(audit) for audit in audits]).decode()})
        session.execute(MARK, bounds)


def _check_over(session: Session, which: SaleRange, sales: Sequence[Any]) -> None:
    if not sales:
        raise HistoryInUseError("There is no sale in this range")
    if session.execute(NEXT_ID).scalar_one() < which.end_sale_id:
        raise HistoryInUseError("Sales are still made in this range: it can go when the next month has begun")
    if lives := [sale.id for sale in sales if not sale.is_over]:
        raise HistoryInUseError(f"These sales are not over, or were changed within a week: {_shown(lives)}")


def _check_late_sales(connection: Connection, which: SaleRange) -> None:
    """A sale whose transaction was under way as the others were marked is seen now: detaching has waited for it."""
    with transaction() as session:
        late = list(session.scalars(UNMARKED, {"first": which.first_sale_id, "end": which.end_sale_id}))
    if late:
        attach(connection, which)
        _reopen(which)
        raise HistoryInUseError(f"These sales were made meanwhile: {_shown(late)}")


def _check_lines(sale_ids: list[int]) -> None:
    """The sales are locked: nobody settles them meanwhile, and an ended sale's line does not grow."""
    for start in range(0, len(sale_ids), STEP):
        page = sale_ids[start : start + STEP]
        pipeline = redis_client().pipeline(transaction=False)
        for sale_id in page:
            pipeline.xlen(rediskeys.mailbox(sale_id))
        if waiting := [sale_id for sale_id, length in zip(page, pipeline.execute(), strict=True) if length]:
            raise HistoryInUseError(f"Requests wait in the lines of these sales: {_shown(waiting)}")


def _book(audit: Audit) -> dict[str, Any]:
    return {
        "sale_id": audit.sale_id,
        "counted": counted_by(audit),
        "tickets_by_status": audit.tickets_by_status,
        "units_by_status": audit.units_by_status,
    }


def _shown(sale_ids: list[int]) -> str:
    more = len(sale_ids) - SHOWN_MAX
    return ", ".join(map(str, sale_ids[:SHOWN_MAX])) + (f" and {more} more" if more > 0 else "")


def _write(connection: Connection, which: SaleRange, directory: Path) -> None:
    with transaction() as session:
        schema = str(session.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    manifest = history_files.write(connection, which, directory, {"schema": schema, "writtenAt": to_iso(now())})
    _prove(which, directory, manifest)
    with transaction() as session:
        session.get_one(HistoryArchive, which.first_sale_id).manifest = manifest


def _check_written(which: SaleRange, directory: Path) -> dict[str, Any]:
    """The manifest, once the files are what was written. Raises SpoiltArchiveError."""
    with transaction() as session:
        kept = session.get_one(HistoryArchive, which.first_sale_id).manifest
    manifest = history_files.read_manifest(directory, which)
    if manifest != kept:
        raise history_files.SpoiltArchiveError("These are not the files that this range was archived into")
    _prove(which, directory, manifest)
    return manifest


def _prove(which: SaleRange, directory: Path, manifest: dict[str, Any]) -> None:
    """Hold the files against what the audits counted. Raises SpoiltArchiveError."""
    found = history_files.verify(directory, which, manifest)
    bounds = {"first": which.first_sale_id, "end": which.end_sale_id}
    with transaction() as session:
        told = Counter({status: int(count) for status, count in session.execute(TOLD_STATUSES, bounds)})
        movements = session.get_one(HistoryArchive, which.first_sale_id).movements
    if (found, manifest["tables"]["stock_movements"]["rows"]) != (told, movements):
        raise history_files.SpoiltArchiveError("The files do not hold what the audits counted")


def _reopen(which: SaleRange) -> None:
    bounds = {"first": which.first_sale_id, "end": which.end_sale_id}
    with transaction() as session:
        session.execute(UNMARK, bounds)
        session.execute(FORGET_BOOKS, bounds)
        session.delete(session.get_one(HistoryArchive, which.first_sale_id))
