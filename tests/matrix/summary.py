"""`python -m tests.matrix.summary`: write the matrix's part of docs/reliability.md anew, from its two tables.

A test holds the page to what this makes.
"""

from collections import Counter
from pathlib import Path

from tests.matrix import table
from tests.matrix.callers import CALLERS, FORGERIES

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix:begin -->", "<!-- matrix:end -->"
Row = dict[str, str]


def is_let_in(cell: str) -> bool:
    return cell[0] in "23" and cell not in ("303 /login", "303 /session/resume")


def who_may(row: Row) -> str:
    """Whom a route is for, as its row says it."""
    if len(set(row.values())) == 1 or (is_let_in(row["nobody"]) and is_let_in(row["forged"])):
        return "anybody"
    if not is_let_in(row["customer"]):
        return "admins"
    if is_let_in(row["another"]):
        return "whoever is logged in"
    return "the owner, and admins" if is_let_in(row["admin"]) else "the owner"


def summary() -> str:
    routes, events = table.read(table.ROUTES), table.read(table.EVENTS)
    ways = sum(len(kinds) for kinds in CALLERS.values())
    groups = Counter(who_may(row) for row in routes.values())
    rows = ["| a route is for | routes | " + " | ".join(f"let in: {name}" for name in CALLERS) + " |"]
    rows.append("| --- " * (len(CALLERS) + 2) + "|")
    for group, count in groups.most_common():
        members = [row for row in routes.values() if who_may(row) == group]
        let_in = (sum(is_let_in(row[name]) for row in members) for name in CALLERS)
        rows.append(f"| {group} | {count} | " + " | ".join(str(number) for number in let_in) + " |")
    said = (
        f"{len(routes)} routes and {len(events)} events of the WebSocket, asked by {len(CALLERS)} kinds of callers in\n"
        f"{ways} ways ({len(FORGERIES)} of them forged tokens): {(len(routes) + len(events)) * ways:,} questions, each "
        "with the answer that its\ntable says. Whoever is refused has changed nothing. A route without a row fails the "
        "test."
    )
    pages = "The tables: [routes](../tests/matrix/routes.md), [events](../tests/matrix/events.md)."
    tests = (
        "Shown by `tests/matrix/test_routes.py::test_everybody_is_answered_as_the_table_says` and\n"
        "`tests/matrix/test_events.py::test_everybody_hears_what_the_table_says`."
    )
    return "\n\n".join([said, "\n".join(rows), pages, tests])


def renewed(page: str) -> str:
    """The page with the part between the marks made anew. Raises ValueError where a mark is lost."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has lost {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{summary()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
