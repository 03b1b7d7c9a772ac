"""The figures of a rush: rates, percentiles, and when the first and the last unit went."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ops.rush.sales import RushSale
from ops.rush.tally import CONFIRMED, SaleCount, Tally, Visit
from ops.rush.verdict import SaleBooks

PERCENTILES = (50, 95, 99)


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of a sorted, non-empty sequence: always a value that was really measured."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def milliseconds(seconds: Iterable[float]) -> dict[str, float] | None:
    """p50, p95, p99 and the longest, in milliseconds; None of nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    found = {f"p{percent}": round(percentile(ordered, percent) * 1000, 1) for percent in PERCENTILES}
    return found | {"max": round(ordered[-1] * 1000, 1)}


def waits(visits: Sequence[Visit]) -> dict[str, dict[str, float] | None]:
    """How long buyers waited.

    From the press of the button the wait for one of the crowd's connections counts too, as it does for a buyer whose
    browser cannot get through; from the sending of the request on it is the shop's time alone.
    """
    return {
        "pressedTo202": milliseconds(v.accepted_at - v.pressed_at for v in visits if v.accepted_at is not None),
        "sentTo202": milliseconds(v.accepted_at - v.sent_at for v in visits if v.accepted_at is not None),
        "pressedToRefusal": milliseconds(v.refused_at - v.pressed_at for v in visits if v.refused_at is not None),
        "sentToRefusal": milliseconds(v.refused_at - v.sent_at for v in visits if v.refused_at is not None),
        "pressedToOutcome": milliseconds(v.told_at - v.pressed_at for v in visits if v.told_at is not None),
        "sentToOutcome": milliseconds(v.told_at - v.sent_at for v in visits if v.told_at is not None),
    }


def sale_figures(sale: RushSale, count: SaleCount, books: SaleBooks | None, visits: Iterable[Visit]) -> dict[str, Any]:
    """One sale: what its buyers counted, what its books say, and when its units went, in seconds since it opened."""
    sold_at = sorted(
        datetime.fromisoformat(visit.settled_at).timestamp() - sale.opened_for_us_at
        for visit in visits
        if visit.status == CONFIRMED and visit.settled_at
    )
    return {
        "saleId": str(sale.sale_id),
        "buyers": count.buyers,
        "accepted": count.accepted,
        "confirmedUnits": count.confirmed_units,
        "refusedByCode": dict(count.refused),
        "rejectedByReason": dict(count.rejected),
        "withoutOutcome": count.lost,
        "withoutAnswer": count.unanswered,
        "totalStock": books.total_stock if books else sale.total_stock,
        "sold": books.sold if books else None,
        "soldToOthers": books.sold_to_others if books else None,
        "auditAgrees": books.agrees if books else None,
        "firstUnitSeconds": round(sold_at[0], 3) if sold_at else None,
        "lastUnitSeconds": round(sold_at[-1], 3) if sold_at else None,
    }


def crowd_figures(tally: Tally, seconds: float) -> dict[str, Any]:
    """The crowd as a whole; `seconds` from the first press to the last answer."""
    return {
        "buyers": len(tally.visits),
        "accepted": tally.accepted,
        "refused": tally.refused,
        "settled": tally.settled,
        "confirmed": tally.confirmed,
        "requests": tally.requests,
        "seconds": round(seconds, 3),
        "requestsPerSecond": round(tally.requests / seconds, 1) if seconds > 0 else 0.0,
        "askedAgainAfter": dict(tally.troubles),
        "waitsMs": waits(tally.visits),
    }
