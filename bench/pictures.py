"""A picture of a benchmark: for each table its rows as bars, with the spread of the rounds as whiskers."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

WIDTH_INCHES = 9.0
ROW_INCHES = 0.32
TABLE_INCHES = 0.95
DOTS_PER_INCH = 100
BASELINE, OTHERS = "#9aa5b1", "#0b6e99"
# Names longer than this would leave no room for the bars.
NAME_LENGTH_MAX = 62


def draw(figures: dict[str, Any], file: Path) -> None:
    """Write a PNG. The first bar of each table, grey, is the baseline."""
    tables = figures["tables"]
    heights = [TABLE_INCHES + ROW_INCHES * len(table["rows"]) for table in tables]
    picture = Figure(figsize=(WIDTH_INCHES, sum(heights)), dpi=DOTS_PER_INCH, layout="constrained")
    all_axes = picture.subplots(len(tables), 1, squeeze=False, height_ratios=heights)
    for axes, table in zip(all_axes[:, 0], tables, strict=True):
        _draw_table(axes, table, table["title"] or figures["title"])
    # Without a date the same figures make the same file.
    picture.savefig(file, metadata={"Software": None})


def _draw_table(axes: Any, table: dict[str, Any], title: str) -> None:
    rows = table["rows"]
    names = [row["name"][:NAME_LENGTH_MAX] for row in rows]
    medians = [row["median"] for row in rows]
    spread = [
        [row["median"] - row["min"] for row in rows],
        [row["max"] - row["median"] for row in rows],
    ]
    places = range(len(rows))
    colours = [BASELINE, *[OTHERS] * (len(rows) - 1)]
    bars = axes.barh(places, medians, xerr=spread, color=colours, ecolor="#33373d", capsize=2, height=0.7)
    axes.bar_label(bars, labels=[f"{median:,.4g}" for median in medians], padding=6, fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.16)
    axes.set_title(f"{title}, {table['unit']}", loc="left", fontsize=10)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
