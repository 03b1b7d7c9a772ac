"""The one task of the line: settle what waits in a sale's mailbox."""

import structlog

from models import mailbox, tasks
from models.archives import HistoryArchivedError
from models.sale_rules import SaleNotFoundError
from models.settle import SettleReport, settle_turn
from models.staying import settle_while_they_come
from worker.app import app

log = structlog.get_logger()


# The sale of this process's last turn. One that comes twice in a row has the worker for itself.
_last: list[int] = []


@app.task(name=tasks.SETTLE)
def settle(sale_id: int) -> str:
    """One turn at a sale's line. A hot sale then queues up again behind the others. Returns what Flower shows of it."""
    sale_id = int(sale_id)
    is_alone = _last == [sale_id]
    _last[:] = [sale_id]
    try:
        report = settle_while_they_come(sale_id) if is_alone else settle_turn(sale_id)
    except (SaleNotFoundError, HistoryArchivedError) as error:
        # Of an archived sale, whatever still waits comes from a Redis of the past: `flask restored` takes it out.
        log.warning("settle.unknown_sale", sale=sale_id, code=error.code)
        return str(SettleReport(sale=sale_id))
    if report.settled:
        log.info("settle.turn", **report.as_dict())
    if report.more:
        wake(report.sale, dedicated=report.dedicated)
    return str(report)


def wake(sale_id: int, *, dedicated: bool = False) -> bool:
    """Send a wake-up for a sale unless one is on its way; raises kombu's OperationalError if the broker is away."""
    if not mailbox.mark_awake(sale_id):
        return False
    settle.apply_async((sale_id,), queue=tasks.settle_queue(sale_id, dedicated=dedicated))
    return True
