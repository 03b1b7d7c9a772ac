"""Rushes in whose middle something is killed. `make faults` has many more seeds, and every kind of fault."""

import pytest

# The first test of a file also starts ten processes.
pytestmark = pytest.mark.timeout(1500)


def test_both_workers_killed_in_a_rush_lose_nothing(survives):
    survives("kill-workers", 1)


def test_a_web_killed_in_a_rush_loses_nothing(survives):
    survives("kill-web", 2)


def test_redis_killed_in_a_rush_loses_nothing(survives):
    survives("kill-redis", 3)


def test_postgres_killed_in_a_rush_loses_nothing(survives):
    survives("kill-postgres", 4)


def test_redis_restored_from_an_older_copy_loses_no_more_than_the_documents_say(survives):
    survives("restore-redis", 5)


def test_clocks_that_are_minutes_apart_turn_nobody_away_and_keep_the_chores_going(survives):
    survives("clocks-apart", 6)
