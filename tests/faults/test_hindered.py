"""Rushes in whose middle something is full, locked, slow or out of reach. `make faults` has many more seeds."""

import pytest

# The first test of a file also starts ten processes.
pytestmark = pytest.mark.timeout(1500)


def test_a_redis_that_is_full_refuses_cleanly_and_loses_nothing(survives):
    survives("redis-full", 1)


def test_a_redis_that_can_only_be_read_refuses_cleanly_and_loses_nothing(survives):
    survives("redis-read-only", 2)


def test_a_full_disk_of_postgres_delays_the_outcomes_and_loses_nothing(survives):
    survives("disk-full", 3)


def test_deadlocks_delay_the_outcomes_and_double_none(survives):
    survives("deadlock", 4)


def test_connections_to_redis_that_break_double_nothing(survives):
    survives("cut-redis", 5)
