"""What the tests of series do and look at, and how they say when."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

from models.database import transaction
from models.errors import DomainError
from models.gate import admit
from models.purchase import Kind, Purchase
from models.sale import FlashSale
from models.series import SeriesRun
from models.settle import settle_turn

# Where the moved clock stands when a test begins.
NOON = datetime(2027, 1, 10, 12, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def local(*parts: int) -> datetime:
    """A time on some wall clock."""
    return datetime(*parts)  # noqa: DTZ001 - a wall clock's time


def together(count: int, action: Callable[[int], Any]) -> list[Any]:
    """Run the action so many times at once; a refusal counts as its code."""
    barrier = Barrier(count)

    def one(number: int) -> Any:
        barrier.wait(60)
        try:
            return action(number)
        except DomainError as error:
            return error.code

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def buy(sale_id: int, user_id: int, quantity: int = 1, kind: Kind = Kind.PURCHASE) -> str:
    """A buyer's outcome: its status, or why not."""
    ticket = admit(sale_id, user_id, kind, quantity).ticket
    settle_turn(sale_id)
    with transaction() as session:
        row = session.get_one(Purchase, (sale_id, ticket))
    return row.reason or row.status


def sales_of(series_id: int) -> list[FlashSale]:
    """A series' sales that were not taken back, by their start."""
    with transaction() as session:
        found = session.query(FlashSale).filter_by(series_id=series_id, archived_at=None)
        return list(found.order_by(FlashSale.starts_at))


def runs_of(series_id: int) -> dict[str, tuple[str, str | None]]:
    """What became of each occurrence: its start in UTC -> (outcome, reason)."""
    with transaction() as session:
        found = session.query(SeriesRun).filter_by(series_id=series_id).order_by(SeriesRun.run_at)
        return {f"{run.run_at:%Y-%m-%d %H:%M}": (run.outcome, run.reason) for run in found}
