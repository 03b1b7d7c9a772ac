"""The report's charts, as numbers for its template's SVG: plain attributes, since the pages allow no inline style."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.report import CurvePoint, Report

WIDTH = 600
HEIGHT = 180


@dataclass(frozen=True, slots=True)
class Column:
    """A bar of the histogram: where it stands, what stands under it, and what it says in full."""

    x: float
    y: float
    width: float
    height: float
    mark: str
    label: str
    requests: int


def curve_of(points: Sequence[CurvePoint], total_stock: int) -> str:
    """The `points` of an SVG polyline: time to the right, sold units upwards, in steps. Empty for none."""
    if not points:
        return ""
    first, seconds = points[0].at, (points[-1].at - points[0].at).total_seconds() or 1.0
    top = max(total_stock, 1)
    corners: list[tuple[float, float]] = []
    for point in points:
        x = (point.at - first).total_seconds() / seconds * WIDTH
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, HEIGHT - point.sold / top * HEIGHT))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def bars_of(report: Report) -> list[Column]:
    """The bars of the latency histogram, as wide as each other."""
    bars = report.latencies.bars
    most = max((bar.requests for bar in bars), default=0) or 1
    width = WIDTH / len(bars)
    return [
        Column(
            x=round(position * width, 1),
            y=round(HEIGHT - bar.requests / most * HEIGHT, 1),
            width=round(width - 4, 1),
            height=round(bar.requests / most * HEIGHT, 1),
            mark=span_of(bar.up_to_ms) if bar.up_to_ms else "more",
            label=f"less than {span_of(bar.up_to_ms)}" if bar.up_to_ms else "more",
            requests=bar.requests,
        )
        for position, bar in enumerate(bars)
    ]


def span_of(milliseconds: float) -> str:
    """`20 ms`, `2 s`."""
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds:g} ms"  # noqa: PLR2004 - a second
