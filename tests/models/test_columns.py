"""Rows as columns, of which some are said once, read back by PostgreSQL."""

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.columns import keys, numbers, rows_of, texts
from models.purchase import Status
from models.totals import sums_of
from tests.models.test_arrays import TEXTS

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
