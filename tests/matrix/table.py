"""The tables of the matrix: tests/matrix/routes.md and tests/matrix/events.md, one row a route or an event."""

from pathlib import Path

HERE = Path(__file__).parent
ROUTES = HERE / "routes.md"
EVENTS = HERE / "events.md"
# The first cell of a line of headings.
HEADS = ("route", "event")


def read(page: Path) -> dict[str, dict[str, str]]:
    """The expected answers by row and column."""
    columns: list[str] = []
    rows: dict[str, dict[str, str]] = {}
    for line in page.read_text().splitlines():
        if not line.startswith("|") or line.startswith("| ---"):
            continue
        name, *cells = _cells(line)
        if name in HEADS:
            columns = cells
        elif name in rows:
            raise ValueError(f"{name} stands twice in {page.name}")
        else:
            rows[name] = dict(zip(columns, cells, strict=True))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
