"""Arrays and times as texts, read back by PostgreSQL."""

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.arrays import array_of, text_array_of
from models.clock import from_ms
from models.gate import LAST_MS
from models.outcomes import TIME

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
# NUL and what is no character cannot be text in PostgreSQL; the mailbox lets neither through.
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)


@QUICK
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_whole_numbers_come_back(servers, numbers):
    with psycopg.connect(servers.postgres.url) as connection:
        assert connection.execute("SELECT %s::bigint[]", [array_of(numbers)]).fetchone() == (numbers,)


@QUICK
@given(st.lists(st.none() | TEXTS | st.sampled_from(["", "NULL", "null", '"', "\\", "{", "}", ",", " ", "'"])))
def test_texts_come_back(servers, texts):
    with psycopg.connect(servers.postgres.url) as connection:
        assert connection.execute("SELECT %s::text[]", [text_array_of(texts)]).fetchone() == (texts,)
        with psycopg.ClientCursor(connection) as cursor:
            assert cursor.execute("SELECT %s::text[]", [text_array_of(texts)]).fetchone() == (texts,)


@QUICK
@given(st.lists(st.integers(0, LAST_MS), min_size=1, max_size=50), st.sampled_from(["UTC", "America/New_York"]))
def test_a_time_in_milliseconds_is_that_time_to_the_millisecond(servers, times, zone):
    moments = TIME.format(ms="ms")
    query = f"SELECT array_agg({moments} ORDER BY at) FROM unnest(%s::bigint[]) WITH ORDINALITY AS t (ms, at)"  # noqa: S608
    with psycopg.connect(servers.postgres.url, options=f"-c timezone={zone}") as connection:
        assert connection.execute(query, [array_of(times)]).fetchone() == ([from_ms(each) for each in times],)
