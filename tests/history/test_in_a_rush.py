"""History goes and comes back in the middle of a rush, and the rush notices nothing."""

import threading

import psycopg

from models.history import archive, restore
from models.sale_ranges import RANGE_SALES, keep_ranges
from models.settings import settings
from tests.history.conftest import rows, run_sql
from tests.pipeline.conftest import Rush, assert_exact, drained, eventually

FIRST = 20_000
BUYERS = 3_000
# Whoever waits for a lock that an archiving or restoring has, or waits for before them.
HELD_UP = """
    SELECT others.query FROM pg_stat_activity AS others JOIN pg_stat_activity AS history
      ON history.pid = ANY(pg_blocking_pids(others.pid)) WHERE history.application_name = 'doorbuster-history'
"""


def test_a_rush_is_exact_while_another_month_goes_and_comes_back(make_month, make_sale, processes, tmp_path):
    make_month(FIRST)
    before = rows()
    sale = make_sale(total_stock=BUYERS)
    assert sale.id == FIRST + RANGE_SALES
    processes.start("worker")
    processes.wait_ready("worker")
    over = threading.Event()
    held_up: list[str] = []
    looks = gone = 0

    def watch() -> None:
        nonlocal looks
        with psycopg.connect(settings().psycopg_url, autocommit=True) as connection:
            while not over.wait(0.01):
                held_up.extend(query for (query,) in connection.execute(HELD_UP))
                looks += 1

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        rush = Rush([sale.id], BUYERS, threads=4).start()
        rush.wait_for(BUYERS // 20)
        while rush._is_running():
            archive(FIRST, tmp_path)
            keep_ranges()
            restore(FIRST, tmp_path)
            gone += 1
        rush.wait()
        eventually(lambda: drained(sale.id), "the line is settled")
    finally:
        over.set()
        watcher.join(60)

    assert gone
    assert rush.refused == []
    assert len(rush.accepted) == BUYERS
    assert_exact(rush, sale.id, BUYERS)
    assert looks
    assert held_up == []
    assert "settle.turn" in processes.log("worker")
    assert "[error" not in processes.log("worker")
    run_sql("DELETE FROM purchases WHERE sale_id = :id", id=sale.id)
    run_sql("DELETE FROM stock_movements WHERE sale_id = :id", id=sale.id)
    assert rows() == before
