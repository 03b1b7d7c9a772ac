"""Trips on an event loop: one connection for all, every wait has an end, and nothing is sent twice."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from models import rediskeys
from models.gate import ask_by
from models.gateline import Copies, NotReplicatedError, NotSentError, gate_lines
from models.looptrips import LoopTrips, _is_plain
from models.purchase import Kind
from models.redisclient import REDIS_AWAY, redis_client
from models.settings import settings
from tests.hanging import hanging

PATIENCE_SECONDS = 15


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def on_loop(threads, do):
    """What `do(trips)` comes to, on a loop of its own."""

    async def run():
        trips = LoopTrips(threads)
        try:
            return await asyncio.wait_for(do(trips), 60)
        finally:
            trips.close()

    return asyncio.run(run())


async def all_of(steps):
    return await asyncio.gather(*steps, return_exceptions=True)


def reads():
    return int(redis_client().info("stats")["total_reads_processed"])


def test_everybody_hears_their_own_answer_and_a_crowd_is_one_message(store, threads):
    async def ask(trips):
        await trips.call(("PING",), key="")
        before = reads()
        heard = await all_of(trips.call(("ECHO", f"buyer {n}"), key="") for n in range(500))
        return heard, reads() - before

    heard, messages = on_loop(threads, ask)

    assert heard == [f"buyer {n}" for n in range(500)]
    assert messages < 20, "or each went by itself"


def test_an_error_is_whose_question_it_answers(store, threads):
    async def ask(trips):
        return await all_of(trips.call(command, key="") for command in (("ECHO", "a"), ("NONSENSE",), ("ECHO", "b")))

    first, wrong, last = on_loop(threads, ask)

    assert (first, last) == ("a", "b")
    assert "unknown command" in str(wrong)


def test_whoever_leaves_does_not_leave_their_answer_to_the_next(store, threads):
    async def ask(trips):
        await trips.call(("PING",), key="")
        asked = [asyncio.create_task(trips.call(("ECHO", str(n)), key="")) for n in range(3)]
        await asyncio.sleep(0)
        asked[1].cancel()
        return await all_of(asked)

    first, left, last = on_loop(threads, ask)

    assert (first, last) == ("0", "2")
    assert isinstance(left, asyncio.CancelledError)


def test_a_crowd_at_the_gate_has_a_ticket_each(make_sale, threads):
    sale = make_sale()

    async def ask(trips):
        return await all_of(ask_by(trips, sale.id, user, Kind.PURCHASE, 1) for user in range(1, 201))

    answers = on_loop(threads, ask)

    assert sorted(answer.ticket for answer in answers) == list(range(1, 201))
    assert redis_client().xlen(rediskeys.mailbox(sale.id)) == 200


def test_a_view_that_is_missing_is_made_anew_beside_the_loop(make_sale, threads):
    sale = make_sale()
    redis_client().delete(rediskeys.view(sale.id))

    answer = on_loop(threads, lambda trips: ask_by(trips, sale.id, 1, Kind.PURCHASE, 1))

    assert answer.code == "ADMITTED"


def test_a_redis_that_hangs_is_waited_for_only_so_long_by_a_whole_crowd_at_once(make_sale, store, threads):
    sale = make_sale()

    async def ask(trips):
        await ask_by(trips, sale.id, 1, Kind.PURCHASE, 1)
        with hanging(store.valkey.pid):
            began = time.monotonic()
            # The first crowd is under way on the connection, the second finds none and cannot get one.
            crowds = [
                await all_of(ask_by(trips, sale.id, user, Kind.PURCHASE, 1) for user in range(10 * n, 10 * n + 10))
                for n in (1, 2)
            ]
            took = time.monotonic() - began
        return crowds, took, (await ask_by(trips, sale.id, 99, Kind.PURCHASE, 1)).ticket

    (under_way, not_sent), took, ticket = on_loop(threads, ask)

    assert all(isinstance(answer, REDIS_AWAY) for answer in under_way + not_sent)
    assert all(isinstance(answer, NotSentError) for answer in not_sent)
    assert took < 2 * settings().redis_timeout_seconds + PATIENCE_SECONDS
    # What was under way may have been let in; what was never sent was not, and nobody was twice.
    assert ticket <= 12
    users = [entry["u"] for _, entry in redis_client().xrange(rediskeys.mailbox(sale.id))]
    assert len(users) == len(set(users)) == ticket
    assert not {str(user) for user in range(20, 30)} & set(users)


def test_a_connection_that_breaks_tells_all_who_are_under_way_and_the_next_has_a_new_one(make_sale, store, threads):
    async def ask(trips):
        await trips.call(("PING",), key="")
        me = await trips.call(("CLIENT", "ID"), key="")
        waiting = asyncio.create_task(all_of(trips.call(("BLPOP", f"nothing:{n}", 30), key="") for n in range(3)))
        await asyncio.sleep(0.1)
        killed = await asyncio.to_thread(redis_client().execute_command, "CLIENT", "KILL", "ID", me)
        return killed, await waiting, await trips.call(("ECHO", "again"), key="")

    killed, heard, again = on_loop(threads, ask)

    assert killed == 1
    assert all(isinstance(answer, REDIS_AWAY) for answer in heard)
    assert again == "again"


def test_where_redis_is_away_a_crowd_waits_for_one_try_and_nothing_was_sent(make_sale, store, threads):
    sale = make_sale()
    store.valkey.kill()
    try:

        async def ask(trips):
            return await all_of(ask_by(trips, sale.id, user, Kind.PURCHASE, 1) for user in range(1, 51))

        heard = on_loop(threads, ask)
    finally:
        store.valkey.start()

    assert all(isinstance(answer, NotSentError) for answer in heard)
    assert redis_client().xlen(rediskeys.mailbox(sale.id)) == 0


def test_what_is_no_answer_ends_the_connection(store, threads, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as odd:
        port = odd.getsockname()[1]

        def speak():
            connection, _ = odd.accept()
            connection.recv(1000)
            connection.sendall(b"!nonsense\r\n")

        speaking = threading.Thread(target=speak)
        speaking.start()
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}/0")
        settings.cache_clear()
        try:
            heard = on_loop(threads, lambda trips: all_of([trips.call(("PING",), key="")]))
        finally:
            monkeypatch.undo()
            settings.cache_clear()
            speaking.join()

    assert isinstance(heard[0], REDIS_AWAY)


@pytest.mark.parametrize(
    ("url", "is_plain"),
    [
        ("redis://:secret@127.0.0.1:6379/2", True),
        ("rediss://:secret@127.0.0.1:6379/0", False),
        ("unix:///tmp/redis.sock", False),
        ("redis+cluster://127.0.0.1:6379,127.0.0.1:6380", False),
    ],
)
def test_what_is_not_one_server_by_plain_tcp_is_asked_in_a_thread(monkeypatch, url, is_plain):
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("BROKER_URL", "redis://127.0.0.1:6379/0")
    settings.cache_clear()
    try:
        assert _is_plain() is is_plain
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_whoever_waits_for_replicas_keeps_nobody_waiting(make_sale, threads, change_settings):
    """Of which there are none here: one waits for them in vain, on a connection of their own."""
    # Redis notices ten times a second that somebody has waited long enough.
    change_settings(REDIS_TIMEOUT_SECONDS="10")

    async def ask(trips):
        copies = Copies(1, 900, frozenset({"P"}))
        waiting = asyncio.create_task(all_of([trips.call(("ECHO", "PROMISED"), key="", copies=copies)]))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await trips.call(("PING",), key="")
        return time.monotonic() - began, await waiting

    took, (unsafe,) = on_loop(threads, ask)

    assert isinstance(unsafe, NotReplicatedError)
    assert took < 0.7
    gate_lines().close()


class TestBells:
    def test_one_that_was_rung_before_anybody_listened_is_heard_at_once_and_only_once(self, store, threads):
        async def listen(trips):
            bell = trips.bell()
            bell.ring()
            began = time.monotonic()
            await bell.heard(30)
            early = time.monotonic() - began
            await bell.heard(0.2)
            return early, time.monotonic() - began

        early, late = on_loop(threads, listen)

        assert early < 10
        assert late >= 0.2

    def test_none_is_lost_however_many_threads_ring(self, store, threads):
        async def listen(trips):
            bells = [trips.bell() for _ in range(2_000)]
            waiting = asyncio.gather(*(bell.heard(30) for bell in bells))
            await asyncio.sleep(0)
            began = time.monotonic()
            for start in range(4):
                threads.submit(lambda start=start: [bell.ring() for bell in bells[start::4]])
            await waiting
            return time.monotonic() - began

        assert on_loop(threads, listen) < 25, "or somebody only heard the end of their patience"

    def test_one_that_is_rung_behind_the_end_of_its_loop_harms_nobody(self, store, threads):
        kept = []

        async def listen(trips):
            kept.append(trips.bell())

        on_loop(threads, listen)

        kept[0].ring()
