"""The report as CSV (RFC 4180): one number a line, with what it is and its unit."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from models.clock import to_iso
from models.report import Report

HEAD = ("section", "name", "value", "unit")
# What a spreadsheet would take for a formula (OWASP, "CSV Injection"): at the start of a cell, behind blanks too.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - full width is read too
QUOTE = "'"

Row = tuple[str, str, Any, str]


def report_csv(report: Report) -> str:
    """With a line of names above, lines ended as the RFC wants them."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEAD)
    for row in _rows(report):
        writer.writerow([safe(cell) for cell in row])
    return out.getvalue()


def safe(cell: Any) -> Any:
    """Text that is text in every spreadsheet. Numbers of ours are numbers, a negative one too."""
    if not isinstance(cell, str):
        return cell
    return QUOTE + cell if cell.lstrip(" ").startswith(FORMULA_STARTS) else cell


def _rows(report: Report) -> Iterator[Row]:
    yield from _about(report)
    for each in report.outcomes:
        name = f"{each.status} {each.reason}" if each.reason else each.status
        yield "outcomes", name, each.requests, "requests"
        yield "outcomes", name, each.units, "units"
    for code, count in report.refusals.items():
        yield "refusals before the line", code, count, "requests"
    for bar in report.latencies.bars:
        name = f"under {bar.up_to_ms} ms" if bar.up_to_ms else "longer"
        yield "time to outcome", name, bar.requests, "requests"
    for name in ("p50", "p95", "p99", "max"):
        yield "time to outcome", name, getattr(report.latencies, f"{name}_ms"), "ms"
    for point in report.curve:
        yield "sold until", to_iso(point.at), point.sold, "units"


def _about(report: Report) -> Iterator[Row]:
    sale = report.sale
    yield "sale", "id", sale.id, ""
    yield "sale", "title", sale.title, ""
    yield "sale", "product", report.product.name, ""
    yield "sale", "state", sale.state, ""
    yield "sale", "end reason", sale.end_reason or "", ""
    yield "sale", "starts", to_iso(sale.starts_at), "UTC"
    yield "sale", "ends", to_iso(sale.ends_at) if sale.ends_at else "", "UTC"
    yield "totals", "stock", sale.total_stock, "units"
    yield "totals", "sold", sale.sold, "units"
    yield "totals", "held", sale.reserved, "units"
    yield "totals", "left", sale.remaining, "units"
    yield "totals", "sell-through", round(report.sell_through, 1), "%"
    yield "totals", "revenue", report.revenue, sale.currency
    yield "totals", "requests in line", report.requests, "requests"
    yield "totals", "refused before the line", report.refused, "requests"
    yield "totals", "people in line", report.people, "people"
    yield "totals", "buyers", report.buyers, "people"
