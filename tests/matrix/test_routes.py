"""Who may do what: every route, asked by everybody, answers as the table says, and whoever is refused changes nothing.

The table, with what its words mean, is tests/matrix/routes.md.
"""

import pytest

from tests.matrix import table
from tests.matrix.callers import CALLERS, FORGERIES, MAY_NOT, WHY_NOT
from tests.matrix.requests import ASKED, ask, is_page, routes

EXPECTED = table.read(table.ROUTES)
# Where a browser is sent that has to say first who it is.
TO_THE_DOOR = ("/login", "/session/resume")


def test_every_route_has_its_row_and_every_row_its_route(app):
    there = set(routes(app))

    assert there - set(EXPECTED) == set(), "routes without a row in tests/matrix/routes.md"
    assert set(EXPECTED) - there == set(), "rows without a route"


def test_every_row_says_what_everybody_is_answered():
    for route, row in EXPECTED.items():
        assert list(row) == list(CALLERS), route
        assert all(row.values()), route


def test_what_is_said_of_how_to_ask_is_said_of_routes_that_there_are(app):
    assert set(ASKED) <= set(routes(app))


def said(answer, expected):
    """The answer in the words of the table: as much of it as the cell speaks of."""
    status, *more = expected.split()
    sends_away = answer.location and answer.location.partition("?")[0] in TO_THE_DOOR
    if not more and not sends_away:
        return str(answer.status_code)
    is_refusal = answer.mimetype == "application/json" and status[0] in "45"
    return f"{answer.status_code} {answer.json['code'] if is_refusal else (answer.location or '').partition('?')[0]}"


def in_full(expected, column, rule):
    """The cell with what goes without saying: why somebody is refused. A page says that to people."""
    if expected not in ("401", "403") or is_page(rule):
        return expected
    return f"{expected} {WHY_NOT[column] if expected == '401' else MAY_NOT.get(column, 'FORBIDDEN')}"


def is_refused(expected):
    return expected[0] in "45" or expected.endswith(TO_THE_DOOR)


@pytest.mark.parametrize("route", list(EXPECTED))
def test_everybody_is_answered_as_the_table_says(app, world, route):
    rule = routes(app)[route]
    wrong = []
    for column, kinds in CALLERS.items():
        expected = in_full(EXPECTED[route][column], column, rule)
        for kind, make in kinds.items():
            answer = ask(app, route, rule, make())
            if (found := said(answer, expected)) != expected:
                wrong.append(f"{column} {kind}: {found}, not {expected}: {answer.text[:200]}")
            if not is_refused(expected) and not world.is_as_made():
                world.make_anew()
        if not world.is_as_made():
            wrong.append(f"{column} was refused and changed something")
            world.make_anew()

    assert wrong == []


def test_the_forgeries_are_all_different_and_none_is_ours(app):
    made = {name: forge("access") for name, forge in FORGERIES.items()}

    assert len(set(made.values())) == len(made) >= 10


@pytest.mark.parametrize(
    "case",
    [
        ("_refuse_customers", "POST /api/categories", "customer"),
        ("_refuse_revoked", "GET /api/users/me/purchases", "revoked"),
        ("check_csrf", "POST /api/categories", "other site"),
    ],
)
def test_without_its_guard_the_door_is_open_and_the_table_would_say_so(app, world, monkeypatch, case):
    guard, route, column = case
    monkeypatch.setattr(f"web.auth.{guard}", lambda *_: None)
    (make,) = CALLERS[column].values()

    answer = ask(app, route, routes(app)[route], make())

    assert answer.status_code < 400
    assert EXPECTED[route][column][0] == "4"
