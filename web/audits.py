"""Audits on request: anybody may ask for one, so nobody may make the database count all day."""

import threading
import time
from dataclasses import dataclass

from models.audit import Audit, audit_sale

# A count that took a second is good for this many seconds, and any count for at least one.
SHARE_OF_TIME = 20
KEPT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class _Counted:
    audit: Audit
    at: float
    seconds: float

    @property
    def is_good(self) -> bool:
        return time.monotonic() - self.at < max(1.0, self.seconds * SHARE_OF_TIME)


_lock = threading.Lock()
_counted: dict[int, _Counted] = {}


def audit_of(sale_id: int, *, fresh: bool) -> Audit:
    """The recount of a sale: now if `fresh`, else one that may be a second old. Raises SaleNotFoundError.

    Of a sale that was taken out of sight too: its books are kept, and can be held to account.
    """
    known = _counted.get(sale_id)
    if known is not None and known.is_good and not fresh:
        return known.audit
    started = time.monotonic()
    audit = audit_sale(sale_id)
    with _lock:
        if len(_counted) >= KEPT_MAX:
            _counted.clear()
        _counted[sale_id] = _Counted(audit, time.monotonic(), time.monotonic() - started)
    return audit
