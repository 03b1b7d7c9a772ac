"""Fraud records: listed, filtered, and overruled by an admin."""

from datetime import timedelta
from itertools import pairwise

import pytest
import structlog
from sqlalchemy import event, text

from models import tasks
from models.addresses import parse_address
from models.clock import now
from models.database import engine, transaction
from models.fraud import FraudRecord, NewFraudRecord, Signal, Verdict, prune_fraud_records, write_records
from models.user import User
from tests.abuse.conftest import eventually
from web.cursors import encode_cursor
from web.recorder import Recorder
from worker.chores import prune_abuse

OFFICE = "198.51.100.7"
CARD = "card 4242"


def record_of(user_id=1, sale_id=1, signal=Signal.MANY_ACCOUNTS, action=Verdict.FLAG, **fields):
    values = {"at": now(), "address": parse_address(OFFICE), "subject": OFFICE, "score": 100, "details": {"count": 20}}
    return NewFraudRecord(
        **values | {"user_id": user_id, "sale_id": sale_id, "signal": signal, "action": action} | fields
    )


@pytest.fixture
def listed(client, admin):
    """listed("signal=many_sales") -> the answer's JSON"""

    def look(query=""):
        answer = client.get(f"/api/fraud-records?{query}", headers=admin)
        assert answer.status_code == 200, answer.json
        return answer.json

    return look


@pytest.fixture
def overrule(client, admin):
    def ask(record_id, **body):
        body = body or {"note": "known to us"}
        return client.post(f"/api/fraud-records/{record_id}/overrule", headers=admin, json=body)

    return ask


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
        ("cursor=", "cursor"),
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


class TestOverruling:
    def test_it_is_noted_who_did_it_when_and_why(self, overrule):
        write_records([record_of()])

        shown = overrule(1, note=" our own office ").json["data"]

        assert shown["note"] == "our own office"
        assert shown["overruledBy"]
        assert shown["overruledAt"].endswith("Z")

    def test_it_is_done_once(self, overrule):
        write_records([record_of()])
        overrule(1)

        again = overrule(1, note="me too")

        assert (again.status_code, again.json["code"]) == (409, "ALREADY_OVERRULED")

    @pytest.mark.parametrize("record_id", ["1", "999999999999999999", "nothing"])
    def test_a_record_that_is_not_there_is_not_found(self, overrule, record_id):
        answer = overrule(record_id)

        assert (answer.status_code, answer.json["code"]) == (404, "FRAUD_RECORD_NOT_FOUND")

    @pytest.mark.parametrize("note", ["", "  ", "x" * 501, "two\nlines", None, 7])
    def test_a_reason_is_asked_for(self, overrule, listed, note):
        write_records([record_of()])

        answer = overrule(1, note=note)

        assert answer.status_code == 400
        assert [error["field"] for error in answer.json["errors"]] == ["note"]
        assert listed()["data"][0]["overruledAt"] is None

    def test_an_address_that_is_overruled_passes_with_everybody_behind_it(
        self, buy, make_sale, records, overrule, change_settings
    ):
        change_settings(VELOCITY_ACCOUNTS_FLAG="0", VELOCITY_ACCOUNTS_REFUSE="2")
        sale = make_sale()
        assert [buy(sale).status_code for _ in range(3)] == [202, 403, 403]

        overrule(records(2)[0].id)

        assert [buy(sale).status_code for _ in range(3)] == [202, 202, 202]
        elsewhere = [buy(sale, address="198.51.100.8").status_code for _ in range(2)]
        assert elsewhere == [202, 403], "another address is still counted"

    def test_an_account_that_is_overruled_passes_that_signal_and_no_other(
        self, buy, make_sale, records, overrule, change_settings
    ):
        change_settings(VELOCITY_SALES_REFUSE="2")
        (ann,), sales = users_without_accounts(1), [make_sale() for _ in range(4)]
        assert [buy(sale, ann).status_code for sale in sales[:2]] == [202, 403]
        overrule(records(1)[0].id)

        assert [buy(sale, ann).status_code for sale in sales] == [202] * 4
        for _ in range(2):
            buy(sales[3], group_key=CARD)
        assert buy(sales[3], ann, group_key=CARD).status_code == 403

    def test_a_card_that_is_overruled_passes_in_every_sale(self, buy, make_sale, records, overrule):
        sale, other = make_sale(), make_sale()
        assert [buy(sale, group_key=CARD).status_code for _ in range(3)] == [202, 202, 403]

        overrule(records(1)[0].id)

        assert [buy(sale, group_key=CARD).status_code for _ in range(3)] == [202] * 3
        assert [buy(other, group_key=CARD).status_code for _ in range(3)] == [202] * 3
        assert buy(sale, group_key="card 1881").status_code == 202


class TestTakingItBack:
    @pytest.fixture
    def withdraw(self, client, admin):
        return lambda record_id: client.delete(f"/api/fraud-records/{record_id}/overrule", headers=admin)

    def test_the_subject_is_counted_again(self, buy, make_sale, records, overrule, withdraw):
        sale = make_sale()
        for _ in range(3):
            buy(sale, group_key=CARD)
        (record,) = records(1)
        overrule(record.id)
        assert buy(sale, group_key=CARD).status_code == 202

        shown = withdraw(record.id).json["data"]

        assert (shown["overruledBy"], shown["overruledAt"], shown["note"]) == (None, None, None)
        assert buy(sale, group_key=CARD).status_code == 403

    def test_what_was_never_overruled_cannot_be_taken_back(self, withdraw):
        write_records([record_of()])

        assert withdraw(1).json["code"] == "NOT_OVERRULED"
        assert withdraw(2).json["code"] == "FRAUD_RECORD_NOT_FOUND"


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


def users_without_accounts(count):
    """Buyers for whom a token is enough: accounts cannot be made while PostgreSQL is away."""
    return [User(id=1_000 + number, role="customer") for number in range(count)]


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
