"""Fraud records: written beside the requests, listed, filtered and forgotten."""

from datetime import timedelta
from itertools import pairwise

import pytest
import structlog
from sqlalchemy import event, text

from models import tasks
from models.clock import now
from models.database import engine, transaction
from models.fraud import FraudRecord, Signal, Verdict, prune_fraud_records, write_records
from tests.abuse.conftest import OFFICE, eventually, record_of, users_without_accounts
from web.cursors import encode_cursor
from web.recorder import Recorder
from worker.chores import prune_abuse


def test_a_record_says_who_what_and_how_much(listed):
    write_records([record_of(user_id=7, sale_id=9, score=250)])

    (shown,) = listed()["data"]

    assert shown == {
        "id": "1",
        "at": shown["at"],
        "userId": "7",
        "address": OFFICE,
        "saleId": "9",
        "signal": "many_accounts",
        "subject": OFFICE,
        "score": 250,
        "action": "flag",
        "details": {"count": 20},
        "overruledBy": None,
        "overruledAt": None,
        "note": None,
    }
    assert shown["at"].endswith("Z")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["4", "3", "2", "1"]),
        ("signal=many_sales", ["3", "2"]),
        ("action=refuse", ["4", "3"]),
        ("userId=1", ["2", "1"]),
        ("saleId=2", ["4", "3"]),
        ("signal=many_sales&action=refuse&userId=2&saleId=2", ["3"]),
        ("signal=shared_group&action=flag", []),
    ],
)
def test_records_are_found_by_signal_action_buyer_and_sale(listed, query, found):
    write_records(
        [
            record_of(1, 1),
            record_of(1, 1, Signal.MANY_SALES),
            record_of(2, 2, Signal.MANY_SALES, Verdict.REFUSE),
            record_of(2, 2, Signal.SHARED_GROUP, Verdict.REFUSE),
        ]
    )

    assert [record["id"] for record in listed(query)["data"]] == found


def test_pages_go_on_where_the_last_one_ended_whatever_comes_in_meanwhile(listed):
    write_records([record_of(user_id=number) for number in range(1, 6)])

    first = listed("limit=2")
    write_records([record_of(user_id=6)])
    second = listed(f"limit=2&cursor={first['meta']['nextCursor']}")
    last = listed(f"limit=2&cursor={second['meta']['nextCursor']}")

    assert [[record["userId"] for record in page["data"]] for page in (first, second, last)] == [
        ["5", "4"],
        ["3", "2"],
        ["1"],
    ]
    assert last["meta"] == {"limit": 2, "nextCursor": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("signal=odd", "signal"),
        ("action=allow", "action"),
        ("userId=0", "userId"),
        ("userId=me", "userId"),
        ("saleId=1.5", "saleId"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("page=2", "page"),
        ("cursor=nonsense", "cursor"),
        (f"cursor={encode_cursor('purchases', 1, 2, 3)}", "cursor"),
        (f"cursor={encode_cursor('fraud-records', 'x')}", "cursor"),
    ],
)
def test_a_wrong_question_is_refused(client, admin, query, field):
    answer = client.get(f"/api/fraud-records?{query}", headers=admin)

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json["errors"]] == [field]


def test_a_cursor_beyond_every_number_finds_nothing_and_breaks_nothing(client, admin):
    for number in (-1, 2**63 - 1, 2**63, 2**64 - 1):
        answer = client.get(f"/api/fraud-records?cursor={encode_cursor('fraud-records', number)}", headers=admin)
        assert answer.status_code in {200, 400}, number


@pytest.mark.parametrize("route", ["GET ", "POST /1/overrule", "DELETE /1/overrule"])
def test_records_are_for_admins(client, make_user, auth, route):
    method, path = route.split(" ")

    assert client.open(f"/api/fraud-records{path}", method=method).status_code == 401
    assert client.open(f"/api/fraud-records{path}", method=method, headers=auth(make_user())).status_code == 403


class TestTheRecorder:
    def test_it_waits_for_a_database_that_is_away_and_keeps_no_buyer_waiting(
        self, buy, make_sale, records, store, change_settings
    ):
        change_settings(VELOCITY_SALES_FLAG="1")
        sale = make_sale()
        buy(sale)
        records(1)

        store.postgres.kill()
        try:
            statuses = [buy(sale.id, user=user).status_code for user in users_without_accounts(3)]
        finally:
            store.postgres.start()
            engine().dispose()

        assert statuses == [202] * 3
        assert len(records(4)) == 4

    def test_what_does_not_fit_is_dropped_and_counted(self, store):
        with engine().connect() as connection:
            # Nothing can be written while this is held.
            connection.execute(text("LOCK TABLE fraud_records IN ACCESS EXCLUSIVE MODE"))
            recorder = Recorder(waiting_max=5)
            with structlog.testing.capture_logs() as logs:
                for number in range(1, 50):
                    recorder.keep(record_of(user_id=number))
            assert recorder.dropped >= 49 - 5 - 5
            assert {entry["event"] for entry in logs} == {"fraud.dropped"}
            assert logs[-1]["dropped"] == recorder.dropped
            connection.rollback()
        eventually(lambda: recorder.is_idle, "the rest is written")
        with transaction() as session:
            assert session.query(FraudRecord).count() == 49 - recorder.dropped

    def test_many_are_written_in_few_transactions(self, store):
        commits = []
        note = commits.append
        event.listen(engine(), "commit", note)
        recorder = Recorder()
        for number in range(1, 501):
            recorder.keep(record_of(user_id=number))
        eventually(lambda: recorder.is_idle, "all is written")
        event.remove(engine(), "commit", note)

        with transaction() as session:
            assert session.query(FraudRecord).count() == 500
        assert len(commits) < 100

    def test_what_cannot_be_written_does_not_stop_what_can(self, store):
        recorder = Recorder()
        recorder.keep(record_of(score=-1))
        eventually(lambda: recorder.is_idle, "it is given up")
        recorder.keep(record_of(user_id=2))
        eventually(lambda: recorder.is_idle, "the next is written")

        with transaction() as session:
            assert [record.user_id for record in session.query(FraudRecord)] == [2]
        assert recorder.dropped == 1


def test_old_records_are_forgotten_but_for_those_that_were_overruled(overrule, listed, change_settings):
    change_settings(FRAUD_RECORD_DAYS="30")
    write_records([record_of(at=now() - timedelta(days=days)) for days in (29, 31, 32)])
    overrule(3)

    assert prune_fraud_records() == 1

    assert [record["id"] for record in listed()["data"]] == ["3", "1"]


@pytest.mark.parametrize(
    "where", ["user_id = 7", "sale_id = 7", "signal = 'shared_group'", "action = 'refuse'", "true"]
)
def test_a_page_of_records_is_read_from_an_index(store, where):
    write_records([record_of(user_id=number, sale_id=number) for number in range(1, 1_001)])
    query = f"SELECT * FROM fraud_records WHERE {where} AND id < 900 ORDER BY id DESC LIMIT 21"  # noqa: S608
    with transaction() as session:
        session.execute(text("ANALYZE fraud_records"))
        plan = "\n".join(session.execute(text(f"EXPLAIN {query}")).scalars())

    assert "Seq Scan" not in plan
    assert "Sort" not in plan


def test_ids_fall_within_a_page(listed):
    write_records([record_of() for _ in range(10)])

    ids = [int(record["id"]) for record in listed()["data"]]

    assert all(earlier > later for earlier, later in pairwise(ids))


def test_the_hourly_chore_forgets_records_and_rules(store):
    write_records([record_of(at=now() - timedelta(days=91)), record_of()])

    assert prune_abuse() == 1
    assert tasks.EVERY[tasks.PRUNE_ABUSE] == timedelta(hours=1)
