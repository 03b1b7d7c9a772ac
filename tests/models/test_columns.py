"""Rows as columns, of which some are said once, read back by PostgreSQL."""

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.clock import from_ms
from models.columns import keys, numbers, rows_of, texts
from models.decide import Request, decide
from models.gate import LAST_MS
from models.outcomes import Decided, Settlement, Waiting, purchases_of
from models.purchase import Kind, Status
from models.totals import sums_of
from tests.models.test_arrays import TEXTS
from tests.models.test_decide import SALE

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
# Of many lists, some say the same throughout.
ROWS = st.one_of(
    st.lists(st.tuples(NUMBERS, st.none() | TEXTS, TEXTS), min_size=1, max_size=20),
    st.builds(lambda row, times: [row] * times, st.tuples(NUMBERS, st.none() | TEXTS, TEXTS), st.integers(1, 20)),
    st.lists(
        st.tuples(st.sampled_from([None, 1]), st.sampled_from([None, "NULL", ""]), st.just("'\\\"")),
        min_size=1,
        max_size=4,
    ),
)


def read_back(servers, columns):
    rows, values = rows_of(columns)
    with psycopg.connect(servers.postgres.url) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(f"SELECT {', '.join(columns)} FROM {rows} ORDER BY place", values)  # noqa: S608
        return cursor.fetchall()


@QUICK
@given(ROWS)
def test_rows_come_back_whatever_they_have_in_common(servers, rows):
    number, text, other = zip(*rows, strict=True)
    place = range(len(rows))

    columns = {"place": keys(place), "number": numbers(number), "text": texts(text), "other": texts(other)}

    assert read_back(servers, columns) == [(n, *row) for n, row in zip(place, rows, strict=True)]


def test_what_is_the_same_in_all_rows_is_said_once(servers):
    columns = {"place": keys([5, 6, 7]), "status": texts([Status.CONFIRMED] * 3), "reason": texts([None] * 3)}

    rows, values = rows_of(columns)

    assert values == {"place": "{5,6,7}", "status": "confirmed", "reason": None}
    assert rows.count("unnest") == 1
    assert read_back(servers, columns) == [(5, "confirmed", None), (6, "confirmed", None), (7, "confirmed", None)]


def test_one_row_is_one_row(servers):
    assert read_back(servers, {"place": keys([5]), "units": numbers([2])}) == [(5, 2)]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=12))
def test_a_buyer_who_comes_twice_in_a_batch_is_one_row_from_the_first_ticket_on(bought):
    users, units = zip(*bought, strict=True)
    tickets = range(10, 10 + len(bought))
    buyers = sorted(set(users), key=users.index)

    summed = sums_of(users, tickets, units)

    assert summed["user_id"] == keys(buyers)
    assert summed["ticket"] == numbers([10 + users.index(user) for user in buyers])
    assert summed["units"] == numbers([sum(n for who, n in bought if who == user) for user in buyers])


# Of one rush, or from all over the calendar, as only somebody with a hand in Redis could write them.
TIMES = st.one_of(
    st.lists(st.integers(1_800_000_000_000, 1_800_000_600_000), min_size=1, max_size=20),
    st.lists(st.integers(0, LAST_MS), min_size=1, max_size=20),
    st.lists(st.sampled_from([0, 1, 2**53 // 1000 - 1, 2**53 // 1000, 2**53 // 1000 + 1, LAST_MS]), min_size=1),
)


@QUICK
@given(TIMES, st.sampled_from(["UTC", "America/New_York"]))
def test_when_a_request_was_admitted_comes_back_to_the_millisecond(servers, times, zone):
    requests = [Request(n, 1, Kind.PURCHASE, 1, "nonce", ms) for n, ms in enumerate(times, 1)]
    settlement = Settlement(1, None, "EUR", 1, from_ms(0), Waiting(requests), Decided(decide(SALE, {}, requests, 0)))

    insert, values = purchases_of(settlement)
    with psycopg.connect(servers.postgres.url, options=f"-c timezone={zone}") as connection:
        connection.execute("CREATE TEMPORARY TABLE purchases (LIKE purchases INCLUDING DEFAULTS)")
        with psycopg.ClientCursor(connection) as cursor:
            cursor.execute(insert, values)
            cursor.execute("SELECT admitted_at FROM purchases ORDER BY ticket")
            assert [at for (at,) in cursor] == [from_ms(ms) for ms in times]
        connection.rollback()
