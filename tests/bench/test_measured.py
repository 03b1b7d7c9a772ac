"""What is measured is what is meant: lines as the gate writes them, baselines that are exact, and one that is not."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from bench.__main__ import NAMES
from bench.baselines import ways
from bench.baselines.shop import DATABASE, POOL_MARK, REDIS_MARK, URL_MARK, BaselineShop, baseline_shop
from bench.line import Line
from bench.sale import exactness, line_length, new_sale, settle_all
from bench.tills import Tills
from models import mailbox
from models.once import once
from models.settings import settings
from ops.errors import OpsError

THREADS = 8


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_there_under_its_name(name: str) -> None:
    assert import_module(f"bench.{name}").BENCHMARK.name == name


def test_a_line_that_is_put_before_a_sale_is_settled_as_the_gate_wrote_it(store: Any) -> None:
    line = Line(range(1, 31))
    sale_id = new_sale("A copy")

    line.put_before(sale_id)

    waiting = mailbox.read(sale_id, 100)
    assert [(request.ticket, request.user_id) for request in waiting] == [(number, number) for number in range(1, 31)]
    settle_all(sale_id)
    assert exactness(sale_id, at_least=30).startswith("30 requests settled once each, 30 of ")


def test_a_line_that_lines_up_again_goes_on_after_the_last_ticket(store: Any) -> None:
    line = Line(range(1, 11))
    sale_id = new_sale("Again")
    line.put_before(sale_id)
    settle_all(sale_id)

    assert line.line_up_again(sale_id, times=3) == 30

    assert [request.ticket for request in mailbox.read(sale_id, 100)] == list(range(11, 41))
    settle_all(sale_id)
    assert line_length(sale_id) == 0
    assert exactness(sale_id, at_least=40).startswith("40 requests settled once each, 40 of ")


def test_a_line_of_which_somebody_is_rejected_is_no_measure(store: Any) -> None:
    sale_id = new_sale("Too few", stock=5)
    Line(range(1, 11)).put_before(sale_id)
    settle_all(sale_id)

    with pytest.raises(OpsError, match="5 of 10 requests were rejected"):
        exactness(sale_id)


@pytest.fixture
def shop(store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[BaselineShop]:
    for mark in (URL_MARK, REDIS_MARK, POOL_MARK):
        monkeypatch.setenv(mark, "")
    stack = cast(Any, SimpleNamespace(settings=settings()))
    with baseline_shop(stack) as found:
        # Connections of this test's own: every other test has another database.
        monkeypatch.setattr(ways, "pool", once(ways.pool.__wrapped__))  # type: ignore[attr-defined]
        monkeypatch.setattr(ways, "locks", once(ways.locks.__wrapped__))  # type: ignore[attr-defined]
        yield found
        ways.pool().close()
        ways.locks().close()
    with psycopg.connect(settings().psycopg_url, autocommit=True) as database:
        database.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")  # type: ignore[arg-type]


def _rush(way: str, sale_id: int, attempts: int) -> int:
    """How many of the attempts say that they got a unit."""
    with ThreadPoolExecutor(THREADS) as threads:
        users = random.sample(range(1_000_000), attempts)
        return sum(threads.map(lambda user: ways.WAYS[way](sale_id, user, 1), users))


@pytest.mark.parametrize("way", [name for name in ways.WAYS if name != "unguarded"])
def test_a_baseline_sells_every_unit_once_and_none_too_many(way: str, shop: BaselineShop) -> None:
    sale_id = shop.new_sale(20)

    assert _rush(way, sale_id, 60) == 20

    count = shop.count(sale_id)
    assert count.is_exact
    assert (count.stock, count.counted, count.sold) == (20, 20, 20)


def test_the_control_without_a_guard_sells_more_than_it_counts(shop: BaselineShop) -> None:
    for _ in range(20):
        sale_id = shop.new_sale(10_000)
        _rush("unguarded", sale_id, 200)
        count = shop.count(sale_id)
        if not count.is_exact:
            assert count.sold > count.counted
            return
    pytest.fail("twenty unguarded rushes were exact: the others' exactness shows nothing")


@pytest.mark.parametrize(("name", "which"), [("one", "one statement"), ("naive", "naive Celery"), ("ours", "sale ")])
def test_a_sale_that_sold_less_than_its_buyers_say_is_no_measure(name: str, which: str, shop: BaselineShop) -> None:
    tills = Tills(shop)
    before = tills.counted()

    getattr(tills, name).note(1)

    assert len(before) == 3
    with pytest.raises(OpsError, match=f"^{which}.* is not right"):
        tills.counted()
