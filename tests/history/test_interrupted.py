"""Archiving that dies, or meets somebody who reads: done again, or given up, and nothing lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from models import history, history_tables
from models.audit import audit_sale
from models.errors import ConflictError
from models.history import archive, restore
from models.history_tables import HistoryBusyError
from models.settings import settings
from tests.cluster.pointed import pointed_at
from tests.history.conftest import FIRST, rows, run_sql, tables
from tests.pipeline.conftest import eventually

ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """As if the process were no more."""


EXECUTE = "import psycopg, sys; psycopg.connect(sys.argv[1], autocommit=True).execute(sys.argv[2])"
STEPS = ("close", "detach", "_check_late_sales", "_write", "_check_written", "drop")


@pytest.mark.parametrize("is_over", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_archiving_that_died_between_any_two_steps_is_done_again(make_month, tmp_path, monkeypatch, step, is_over):
    sales = make_month(FIRST)
    before = rows()

    def die(*arguments, **options) -> None:
        if is_over:
            done(*arguments, **options)
        raise Killed

    done = getattr(history, step)
    with monkeypatch.context() as patch:
        patch.setattr(history, step, die)
        with pytest.raises(Killed):
            archive(FIRST, tmp_path)
    assert all(audit_sale(sale.id).agrees for sale in sales)

    archive(FIRST, tmp_path)

    assert tables() == set()
    restore(FIRST, tmp_path)
    assert rows() == before


@pytest.mark.parametrize("step", ["_check_written", "attach", "_reopen"])
def test_restoring_that_died_is_done_again(make_month, tmp_path, monkeypatch, step):
    make_month(FIRST)
    before = rows()
    archive(FIRST, tmp_path)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(history, step, die)
        with pytest.raises(Killed):
            restore(FIRST, tmp_path)

    restore(FIRST, tmp_path)

    assert rows() == before


def test_a_range_that_died_on_its_way_out_is_taken_out_all_the_way(make_month, tmp_path):
    """Killed for good, by the operating system, while PostgreSQL waits for a reader."""
    make_month(FIRST)
    before = rows()
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "history", "archive", str(FIRST), "--out", str(tmp_path)]
    pending = f"SELECT count(*) FROM pg_inherits WHERE inhrelid = 'purchases_r{FIRST}'::regclass AND inhdetachpending"  # noqa: S608
    with psycopg.connect(settings().psycopg_url) as reader:
        reader.execute("SELECT count(*) FROM purchases")
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE)
        eventually(lambda: bool(run_sql(pending)), "the range is on its way out")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert rows()["purchases"] == [], "nobody sees half of it"

    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=240, check=False)

    assert done.returncode == 0, done.stderr
    assert tables() == set()
    restore(FIRST, tmp_path)
    assert rows() == before


def test_whoever_reads_for_long_makes_archiving_give_up_and_come_again(make_month, tmp_path, monkeypatch):
    make_month(FIRST)
    before = rows()
    with psycopg.connect(settings().psycopg_url) as reader, monkeypatch.context() as patch:
        patch.setattr(history_tables, "TRIES_MAX", 2)
        reader.execute("SELECT count(*) FROM purchases")
        with pytest.raises(HistoryBusyError):
            archive(FIRST, tmp_path)
        # Half-way out is all the way back in again.
        reader.rollback()
        restore(FIRST, None)
        assert rows() == before

    archive(FIRST, tmp_path)

    assert tables() == set()


def test_history_is_not_worked_on_through_a_pooler(make_month, tmp_path):
    make_month(FIRST)
    with pointed_at(DATABASE_POOLED="true"), pytest.raises(ConflictError, match="pooler"):
        archive(FIRST, tmp_path)


@pytest.mark.parametrize("way", ["ours", "control"])
def test_a_range_that_waits_for_a_reader_has_nobody_wait_for_it(make_month, make_sale, way):
    make_month(FIRST)
    sale = make_sale()
    part = f"ALTER TABLE purchases DETACH PARTITION purchases_r{FIRST}"
    url = settings().psycopg_url
    with psycopg.connect(url) as reader, psycopg.connect(url, autocommit=True) as writer:
        reader.execute("SELECT count(*) FROM purchases")
        statement = f"{part} CONCURRENTLY" if way == "ours" else part
        process = subprocess.Popen([sys.executable, "-c", EXECUTE, url, statement])
        eventually(lambda: bool(run_sql("SELECT count(*) FROM pg_locks WHERE NOT granted")), "it waits")
        writer.execute("SET lock_timeout = 500")
        write = "UPDATE purchases SET revision = revision WHERE sale_id = %s"
        if way == "ours":
            for _ in range(10):
                writer.execute(write, (sale.id,))
        else:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                writer.execute(write, (sale.id,))
        reader.rollback()
    assert process.wait(60) == 0
