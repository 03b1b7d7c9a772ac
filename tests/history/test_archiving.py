"""A month of history goes when it is proven, says so to everybody who asks for it, and comes back as it was."""

import gzip

import psycopg
import pytest

from models import history, history_tables, rediskeys
from models.archives import HistoryArchivedError
from models.audit import audit_sale
from models.first_page import first_page
from models.gate import admit
from models.history import HistoryInUseError, archive, ranges, restore
from models.history_files import SpoiltArchiveError
from models.history_tables import HistoryBusyError
from models.holds import refund
from models.purchase import Kind
from models.redisclient import redis_client
from models.restored import reconcile
from models.sale_ranges import RANGE_SALES
from models.sales import patch_sale
from models.schedule import current_sale_ids
from models.settings import settings
from models.settle import settle_turn
from tests.history.conftest import (
    FIRST,
    FOLDER,
    TABLES,
    is_marked,
    is_of,
    make_old,
    next_sale_is,
    rows,
    run_sql,
    tables,
)

BEFORE = {"rejected": 1, "confirmed": 2, "cancelled": 1, "refunded": 1}


def test_a_month_goes_and_comes_back_to_the_byte(make_month, tmp_path):
    sales = make_month(FIRST)
    others = make_month(FIRST + RANGE_SALES)
    before = rows()

    archive(FIRST, tmp_path)

    assert tables() == set()
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == [
        "manifest.json",
        "purchases.csv.gz",
        "stock_movements.csv.gz",
    ]
    assert rows() == {table: [row for row in before[table] if is_of(row, others)] for table in TABLES}
    audits = [audit_sale(sale.id) for sale in sales]
    assert [(audit.agrees, audit.tickets_by_status) for audit in audits] == [(True, BEFORE)] * 2
    assert all(is_marked(sale.id) for sale in sales)
    assert not any(is_marked(sale.id) for sale in others)

    archive(FIRST, tmp_path)
    restore(FIRST, tmp_path)

    assert rows() == before
    assert [audit_sale(sale.id).agrees for sale in sales] == [True] * 2
    assert not any(is_marked(sale.id) for sale in sales)
    assert run_sql("SELECT count(*) FROM archived_books") == 0
    archive(FIRST, tmp_path / "again")
    assert tables() == set()


def test_files_of_the_same_rows_are_the_same_files(make_month, tmp_path):
    make_month(FIRST)
    archive(FIRST, tmp_path / "one", keep=True)
    archive(FIRST, tmp_path / "two", keep=True)

    for table in TABLES:
        one, two = ((tmp_path / name / FOLDER / f"{table}.csv.gz").read_bytes() for name in ("one", "two"))
        assert one == two


def test_what_is_kept_comes_back_without_its_files(make_month, tmp_path):
    make_month(FIRST)
    before = rows()

    archive(FIRST, tmp_path, keep=True)

    assert tables() == {f"{table}_r{FIRST}" for table in TABLES}
    assert rows()["purchases"] == []
    restore(FIRST, None)
    assert rows() == before


def test_a_sale_whose_history_went_changes_no_more(make_month, tmp_path):
    sale, _ = make_month(FIRST)
    archive(FIRST, tmp_path)
    # Of a Redis from the past.
    waits = {"u": "1", "k": "p", "q": "1", "n": "of the past", "t": "1"}
    redis_client().xadd(rediskeys.mailbox(sale.id), waits, "0-999")

    for change in (
        lambda: refund(sale.id, 2, actor_id=1, reason="late"),
        lambda: patch_sale(sale.id, {"total_stock": 100}, actor_id=1),
        lambda: settle_turn(sale.id),
    ):
        with pytest.raises(HistoryArchivedError) as refused:
            change()
        assert refused.value.data["ticketsByStatus"] == BEFORE
    # Kept for a second at most.
    redis_client().delete(rediskeys.leaderboard(sale.id))
    with pytest.raises(HistoryArchivedError):
        first_page(sale.id)

    restore(FIRST, tmp_path)
    refund(sale.id, 2, actor_id=1, reason="late")
    assert audit_sale(sale.id).agrees


def lives(sale) -> None:
    run_sql("UPDATE flash_sales SET state = 'live', end_reason = NULL, ends_at = NULL WHERE id = :id", id=sale.id)


def changed_lately(sale) -> None:
    run_sql("UPDATE flash_sales SET updated_at = now() WHERE id = :id", id=sale.id)


def has_a_line(sale) -> None:
    redis_client().xadd(rediskeys.mailbox(sale.id), {"n": "nonce"})


def holds_units(sale) -> None:
    run_sql("UPDATE flash_sales SET reserved = 1 WHERE id = :id", id=sale.id)


def is_spoilt(sale) -> None:
    run_sql("DELETE FROM purchases WHERE sale_id = :id AND ticket = 2", id=sale.id)


def is_of_this_month(_sale) -> None:
    next_sale_is(FIRST + 2)


@pytest.mark.parametrize("spoil", [lives, changed_lately, has_a_line, holds_units, is_spoilt, is_of_this_month])
def test_a_range_stays_while_one_of_its_sales_is_not_over_and_proven(make_month, tmp_path, spoil):
    sales = make_month(FIRST)
    spoil(sales[1])
    before = rows()

    with pytest.raises(HistoryInUseError):
        archive(FIRST, tmp_path)

    assert rows() == before
    assert not any(is_marked(sale.id) for sale in sales)
    assert list(tmp_path.iterdir()) == []


def test_a_sale_that_changes_after_it_was_counted_is_not_archived(make_month, tmp_path, monkeypatch):
    sales = make_month(FIRST)

    def count_and_change(sale_id: int):
        audit = audit_sale(sale_id)
        if sale_id == sales[1].id:
            refund(sale_id, 2, actor_id=1, reason="meanwhile")
            make_old(FIRST)
        return audit

    monkeypatch.setattr(history, "audit_sale", count_and_change)
    with pytest.raises(HistoryInUseError, match="changed since"):
        archive(FIRST, tmp_path)

    assert not any(is_marked(sale.id) for sale in sales)


def test_a_sale_that_was_being_made_meanwhile_is_found(make_month, make_sale, tmp_path, monkeypatch):
    sales = make_month(FIRST)

    def close_and_make(which) -> None:
        close(which)
        next_sale_is(FIRST + 100)
        make_sale()

    close = history.close
    monkeypatch.setattr(history, "close", close_and_make)
    with pytest.raises(HistoryInUseError, match=str(FIRST + 100)):
        archive(FIRST, tmp_path)

    assert not any(is_marked(sale.id) for sale in sales)
    admit(FIRST + 100, 1, Kind.PURCHASE, 1)
    settle_turn(FIRST + 100)
    assert audit_sale(FIRST + 100).agrees


@pytest.mark.parametrize("table", TABLES)
def test_a_file_that_is_spoilt_is_found_before_anything_rests_on_it(make_month, tmp_path, monkeypatch, table):
    make_month(FIRST)
    before = rows()
    path = tmp_path / FOLDER / f"{table}.csv.gz"

    def write_and_spoil(*arguments: object) -> None:
        write(*arguments)
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"refund", b"refunt")))

    write = history._write
    with monkeypatch.context() as patch:
        patch.setattr(history, "_write", write_and_spoil)
        with pytest.raises(SpoiltArchiveError):
            archive(FIRST, tmp_path)
    assert tables() == {f"{each}_r{FIRST}" for each in TABLES}

    archive(FIRST, tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SpoiltArchiveError):
        restore(FIRST, tmp_path)
    (tmp_path / FOLDER / "manifest.json").unlink()
    with pytest.raises(SpoiltArchiveError):
        restore(FIRST, tmp_path)
    assert rows()["purchases"] == []
    assert before


def test_files_without_a_row_that_was_counted_prove_nothing(make_month, tmp_path, monkeypatch):
    make_month(FIRST)

    def lose_a_row(connection, which) -> None:
        detach(connection, which)
        connection.execute(f"DELETE FROM purchases_r{FIRST} WHERE ticket = 3")  # noqa: S608

    detach = history.detach
    monkeypatch.setattr(history, "detach", lose_a_row)
    with pytest.raises(SpoiltArchiveError, match="what the audits counted"):
        archive(FIRST, tmp_path)

    assert tables() == {f"{each}_r{FIRST}" for each in TABLES}


def test_one_at_a_time_works_on_history(make_month, tmp_path, monkeypatch):
    make_month(FIRST)
    with psycopg.connect(settings().psycopg_url, autocommit=True) as other, monkeypatch.context() as patch:
        patch.setattr(history_tables, "TRIES_MAX", 1)
        other.execute("SELECT pg_advisory_lock(4244)")
        with pytest.raises(HistoryBusyError):
            archive(FIRST, tmp_path)

    archive(FIRST, tmp_path)


def test_a_redis_of_the_past_brings_no_line_of_an_archived_sale_back(make_month, tmp_path):
    sale, other = make_month(FIRST)
    archive(FIRST, tmp_path)
    redis_client().xadd(rediskeys.mailbox(sale.id), {"n": "nonce", "u": "1", "q": "1"})

    done = reconcile()

    assert (done.archived_sales, done.unknown_sales) == (2, 0)
    assert not redis_client().exists(rediskeys.mailbox(sale.id))
    assert sale.id not in current_sale_ids()
    assert other.id not in current_sale_ids()


def test_the_list_says_what_is_where(make_month, tmp_path):
    make_month(FIRST)
    (here,) = (each for each in ranges() if each.first_sale_id == FIRST)
    assert (here.sales, here.purchases, here.archived_at) == (2, 10, None)
    assert here.bytes > 0

    archive(FIRST, tmp_path)

    (gone,) = (each for each in ranges() if each.first_sale_id == FIRST)
    assert (gone.sales, gone.purchases, gone.is_written, gone.bytes) == (2, 10, True, 0)
    assert gone.archived_at is not None
