"""The primary is lost in the middle of a rush, and its standby is promoted: what may be lost, and what may not."""

import threading
from collections.abc import Iterator

import orjson
import pytest
import redis
from sqlalchemy.exc import OperationalError

from models import rediskeys
from models.audit import audit_sale
from models.gate import admit
from models.purchase import Kind
from models.readiness import check_database
from models.record import PurchaseRecord
from models.redisclient import redis_client
from models.restored import reconcile
from models.settings import settings
from models.settle import settle_turn
from ops.postgres import EmbeddedPostgres
from tests.cluster.pointed import pointed_at
from tests.cluster.replicas import (
    ask,
    configure,
    copy_of,
    cut_off,
    either_of,
    eventually,
    has_everything_of,
    is_followed,
)
from tests.pipeline.conftest import Rush, assert_exact, drained, processes, settled  # noqa: F401 - a fixture
from web.wake import waker

pytestmark = pytest.mark.long

UNITS = 300
BUYERS = 900
TOLD_BEFORE_THE_KILL = 50


@pytest.fixture
def pair(store) -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """A primary and the standby that follows it, with this process pointed at whichever takes writes."""
    with copy_of(store.postgres) as primary, copy_of(primary, follows=True) as standby:
        eventually(lambda: is_followed(primary), "the standby follows")
        # The bounds are those of the shop, or a tenth: one test waits for them.
        with pointed_at(DATABASE_URL=either_of(primary, standby), DATABASE_STATEMENT_MS="1000"):
            yield primary, standby


class Ear:
    """Whoever waits for outcomes: hears the news of a sale, and remembers what was told of each ticket."""

    def __init__(self, sale_id: int) -> None:
        self.told: dict[int, str] = {}
        self._over = threading.Event()
        self._client = redis.Redis.from_url(settings().redis_url)
        self._news = self._client.pubsub(ignore_subscribe_messages=True)
        self._news.subscribe(rediskeys.news(sale_id))
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> "Ear":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(20)
        self._news.close()
        self._client.close()

    def _listen(self) -> None:
        while not self._over.is_set():
            message = self._news.get_message(timeout=0.2)
            if message is not None:
                for wire in orjson.loads(message["data"])["outcomes"]:
                    outcome = PurchaseRecord.from_wire(wire)
                    self.told[outcome.ticket] = outcome.status


def follow_synchronously(primary: EmbeddedPostgres) -> None:
    configure(primary, "synchronous_standby_names", "*")
    eventually(lambda: is_followed(primary, synchronously=True), "the standby follows synchronously")


def promote(standby: EmbeddedPostgres) -> None:
    assert ask(standby, "SELECT pg_promote(wait_seconds => 100)") == [(True,)]


def buy(sale_id: int, users: range) -> list[int]:
    return [admit(sale_id, user, Kind.PURCHASE, 1, idempotency_key="once").ticket for user in users]


def test_with_synchronous_commit_nothing_that_was_told_is_lost(pair, processes, make_sale):  # noqa: F811
    primary, standby = pair
    follow_synchronously(primary)
    sale = make_sale(total_stock=UNITS)
    processes.start("worker")
    processes.wait_ready("worker")

    with Ear(sale.id) as ear:
        rush = Rush([sale.id], BUYERS).start()
        eventually(lambda: len(ear.told) >= TOLD_BEFORE_THE_KILL, "outcomes are told")
        primary.kill()
        before = dict(ear.told)
        promote(standby)
        rush.wait()

        def goes_on() -> bool:
            # As the sweeper does every two seconds.
            waker().wake(sale.id, dedicated=False)
            return drained(sale.id)

        eventually(goes_on, "the line goes on, at the promoted server")
    rows = settled(sale.id)
    assert {ticket: rows[ticket].status for ticket in before} == before
    assert {ticket: rows[ticket].status for ticket in ear.told} == ear.told
    assert_exact(rush, sale.id, UNITS)
    assert check_database() == {"database": "up", "migrations": "up"}


def test_with_synchronous_commit_and_no_standby_nobody_is_told_anything(pair, make_sale):
    primary, standby = pair
    sale = make_sale(total_stock=10)
    follow_synchronously(primary)
    cut_off(standby)
    buy(sale.id, range(1, 6))

    with Ear(sale.id) as ear:
        with pytest.raises(OperationalError):
            settle_turn(sale.id)
        assert not drained(sale.id)
        assert ear.told == {}

        # An operator goes on without a standby.
        configure(primary, "synchronous_standby_names", "")
        eventually(
            lambda: not ask(primary, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), "it goes on"
        )
        settle_turn(sale.id)
        eventually(lambda: len(ear.told) == 5, "all are told")
    assert drained(sale.id)
    assert audit_sale(sale.id).agrees


def test_with_asynchronous_commit_what_the_standby_had_not_heard_is_lost_and_the_books_agree_again(pair, make_sale):
    primary, standby = pair
    sale, control = make_sale(total_stock=100), make_sale(total_stock=100)
    both = (sale.id, control.id)
    kept = {sale_id: buy(sale_id, range(1, 11)) for sale_id in both}
    for sale_id in both:
        settle_turn(sale_id)
    eventually(lambda: has_everything_of(standby, primary), "the standby has it all")
    cut_off(standby)
    with Ear(sale.id) as ear:
        lost = {sale_id: buy(sale_id, range(11, 21)) for sale_id in both}
        for sale_id in both:
            settle_turn(sale_id)
        eventually(lambda: set(ear.told) == set(lost[sale.id]), "they were told")
    waiting = {sale_id: buy(sale_id, range(21, 26)) for sale_id in both}
    primary.kill()
    promote(standby)

    assert sorted(settled(sale.id)) == kept[sale.id], "what was told after the standby heard its last is gone"

    # The control: whoever goes on at once settles behind a gap, and every audit says so.
    settle_turn(control.id)
    assert sorted(settled(control.id)) == kept[control.id] + waiting[control.id]
    assert not audit_sale(control.id).agrees

    done = reconcile()
    assert (done.waiting, done.moved, done.keys_forgotten) == (5, 5, 2 * 10)
    settle_turn(sale.id)
    again = buy(sale.id, range(11, 21))
    settle_turn(sale.id)

    rows = settled(sale.id)
    assert sorted(rows) == list(range(1, 26)), "no gap, and no ticket twice"
    assert {row.user_id for row in rows.values()} == set(range(1, 26))
    assert {rows[ticket].user_id for ticket in again} == set(range(11, 21)), "whose outcome was lost can ask again"
    assert audit_sale(sale.id).agrees
    assert redis_client().xlen(rediskeys.mailbox(sale.id)) == 0
