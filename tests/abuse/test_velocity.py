"""Velocity: what is behind a purchase is counted before it gets a ticket."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from models import rediskeys
from models.fraud import Signal, Verdict
from models.gate import Checks, ask
from models.purchase import Kind
from models.redisclient import redis_client
from models.velocity import KEPT_MAX, Attempt, questions_about
from tests.abuse.conftest import CARD, OFFICE

ELSEWHERE = "198.51.100.8"


def judge(attempt):
    """What the gate finds of an attempt, on whatever sale it is."""
    checks = Checks("a token", 0, questions=questions_about(attempt))
    return ask(attempt.sale_id, attempt.user_id, Kind.PURCHASE, 1, checks=checks).findings


def verdicts(findings):
    return [(finding.signal, finding.verdict, finding.count) for finding in findings]


class TestManyAccountsFromOneAddress:
    @pytest.fixture(autouse=True)
    def _thresholds(self, change_settings):
        change_settings(VELOCITY_ACCOUNTS_FLAG="3", VELOCITY_ACCOUNTS_REFUSE="5", VELOCITY_SALES_REFUSE="0")

    def test_the_third_account_is_noted_and_the_fifth_refused(self, buy, make_sale, records, waiting):
        sale = make_sale()

        statuses = [buy(sale).status_code for _ in range(6)]

        assert statuses == [202, 202, 202, 202, 403, 403]
        assert waiting(sale.id) == 4
        kept = [(record.action, record.score, record.details["count"]) for record in records(4)]
        assert kept == [("flag", 100, 3), ("flag", 133, 4), ("refuse", 100, 5), ("refuse", 100, 5)]
        assert {record.signal for record in records(4)} == {"many_accounts"}
        assert {(str(record.address), record.subject) for record in records(4)} == {(OFFICE, OFFICE)}

    def test_who_is_refused_is_not_told_why(self, buy, make_sale):
        sale = make_sale()
        answers = [buy(sale) for _ in range(5)]

        refusal = answers[-1].json
        assert refusal["code"] == "VELOCITY_REFUSED"
        assert "data" not in refusal
        assert "address" not in refusal["message"]

    def test_one_account_that_asks_again_and_again_is_one_account(self, buy, make_sale, make_user, waiting):
        sale, ann = make_sale(), make_user()

        assert [buy(sale, ann).status_code for _ in range(7)] == [202] * 7
        assert waiting(sale.id) == 7

    def test_those_who_were_let_in_first_are_not_put_out_by_those_who_come_later(self, buy, make_sale, make_user):
        sale, ann = make_sale(), make_user()
        first = buy(sale, ann, key="once")
        assert [buy(sale).status_code for _ in range(5)][-1] == 403

        again = buy(sale, ann, key="once")

        assert (again.status_code, again.json["data"]["ticket"]) == (202, first.json["data"]["ticket"])

    def test_each_address_is_counted_by_itself_and_an_ipv6_customer_by_their_64(self, buy, make_sale):
        sale = make_sale()
        for _ in range(4):
            buy(sale)

        assert buy(sale, address=ELSEWHERE).status_code == 202
        statuses = [buy(sale, address=f"2001:db8:0:1::{number}").status_code for number in range(1, 6)]
        assert statuses == [202, 202, 202, 202, 403]
        assert buy(sale, address="2001:db8:0:2::1").status_code == 202
        assert buy(sale, address=f"::ffff:{OFFICE}").status_code == 403

    def test_a_forwarded_address_that_no_proxy_of_ours_wrote_counts_for_nothing(
        self, client, make_sale, auth, make_user
    ):
        sale = make_sale()

        def spoof(number):
            headers = auth(make_user()) | {"X-Forwarded-For": f"192.0.2.{number}"}
            return client.post(
                f"/api/flash-sales/{sale.id}/purchases",
                json={},
                headers=headers,
                environ_overrides={"REMOTE_ADDR": OFFICE},
            ).status_code

        assert [spoof(number) for number in range(5)] == [202, 202, 202, 202, 403]

    @pytest.mark.parametrize("exempt", ["198.51.100.0/24", "198.51.100.7/32"])
    def test_ranges_that_the_settings_exempt_are_not_counted(self, buy, make_sale, change_settings, exempt):
        change_settings(RATE_LIMIT_EXEMPT=exempt)
        sale = make_sale()

        assert [buy(sale).status_code for _ in range(6)] == [202] * 6
        assert redis_client().keys("{velocity}:*") == []

    def test_addresses_that_a_rule_allows_are_not_counted(self, buy, make_sale, make_rule):
        make_rule("198.51.100.0/24", action="allow")
        sale = make_sale()

        assert [buy(sale).status_code for _ in range(6)] == [202] * 6
        assert redis_client().keys("{velocity}:*") == []


def test_what_lies_behind_the_window_no_longer_counts(make_sale, change_settings):
    sale = make_sale()
    change_settings(VELOCITY_ACCOUNTS_FLAG="2", VELOCITY_ACCOUNTS_WINDOW_SECONDS="60")
    judge(Attempt(1, sale.id, OFFICE))
    seen = rediskeys.velocity_address(OFFICE)
    seconds, microseconds = redis_client().time()
    now_ms = seconds * 1000 + microseconds // 1000

    redis_client().zadd(seen, {"1": now_ms - 50_000})
    assert verdicts(judge(Attempt(2, sale.id, OFFICE))) == [(Signal.MANY_ACCOUNTS, Verdict.FLAG, 2)]

    redis_client().zadd(seen, {"1": now_ms - 61_000, "2": now_ms - 61_000})
    assert judge(Attempt(3, sale.id, OFFICE)) == []
    assert redis_client().zrange(seen, 0, -1) == ["3"]


class TestManySalesAttemptedByOneAccount:
    @pytest.fixture(autouse=True)
    def _thresholds(self, change_settings):
        change_settings(VELOCITY_SALES_FLAG="2", VELOCITY_SALES_REFUSE="4")

    def test_the_second_sale_is_noted_and_the_fourth_refused(self, buy, make_sale, make_user, records):
        ann, sales = make_user(), [make_sale() for _ in range(4)]

        statuses = [buy(sale, ann).status_code for sale in sales]

        assert statuses == [202, 202, 202, 403]
        kept = [(record.sale_id, record.action, record.subject) for record in records(3)]
        assert kept == [
            (sales[1].id, "flag", str(ann.id)),
            (sales[2].id, "flag", str(ann.id)),
            (sales[3].id, "refuse", str(ann.id)),
        ]
        assert buy(sales[0], ann).status_code == 202, "a sale that was attempted before is none more"
        assert buy(sales[3]).status_code == 202, "another account is none of this one's business"

    def test_sales_that_do_not_exist_are_attempts_too(self, buy, make_user):
        ann = make_user()

        assert [buy(number, ann).status_code for number in range(991, 996)] == [404, 404, 404, 403, 403]


def test_by_default_a_crowd_behind_one_office_is_noted_and_let_in(buy, make_sale, records, waiting):
    sale = make_sale()

    assert [buy(sale).status_code for _ in range(25)] == [202] * 25

    assert waiting(sale.id) == 25
    assert {record.action for record in records(6)} == {"flag"}
    assert len(records(6)) == 6, "from the twentieth account on"


def test_one_record_a_window_however_often_somebody_asks(buy, make_sale, make_user, records, change_settings):
    change_settings(VELOCITY_SALES_FLAG="1", VELOCITY_SALES_WINDOW_SECONDS="60")
    sale, other, ann = make_sale(), make_sale(), make_user()

    for _ in range(5):
        buy(sale, ann)
    buy(other, ann)

    assert [(record.user_id, record.sale_id) for record in records(2)] == [(ann.id, sale.id), (ann.id, other.id)]
    keys = redis_client().keys("{velocity}:*")
    assert all(0 < redis_client().ttl(key) <= 3_600 for key in keys)


def test_signals_that_the_settings_turn_off_are_not_asked(make_sale, change_settings):
    sale = make_sale()
    change_settings(
        VELOCITY_ACCOUNTS_FLAG="0", VELOCITY_SALES_FLAG="0", VELOCITY_SALES_REFUSE="0", VELOCITY_GROUP_BUYERS_MAX="0"
    )

    assert judge(Attempt(1, sale.id, OFFICE, CARD)) == []
    assert redis_client().keys("{velocity}:*") == []


def test_the_memory_of_one_address_is_bounded(make_sale, change_settings):
    sale = make_sale()
    change_settings(VELOCITY_SALES_FLAG="0", VELOCITY_SALES_REFUSE="0")
    seconds, _ = redis_client().time()
    crowd = {str(user): seconds * 1000 for user in range(1, KEPT_MAX + 1)}
    redis_client().zadd(rediskeys.velocity_address(OFFICE), crowd)

    (finding,) = judge(Attempt(KEPT_MAX + 1, sale.id, OFFICE))

    assert finding.count == KEPT_MAX + 1
    assert redis_client().zcard(rediskeys.velocity_address(OFFICE)) == KEPT_MAX


THREADS = 100


def together(action):
    barrier = Barrier(THREADS)

    def one(number):
        barrier.wait(60)
        return action(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(1, THREADS + 1)))


def test_a_hundred_accounts_at_once_from_one_address_are_counted_exactly(make_sale, change_settings):
    sale = make_sale()
    change_settings(VELOCITY_ACCOUNTS_FLAG="1", VELOCITY_ACCOUNTS_REFUSE="61")

    found = together(lambda user: judge(Attempt(user, sale.id, OFFICE))[0])

    flagged = sorted(finding.count for finding in found if finding.verdict is Verdict.FLAG)
    assert flagged == list(range(1, 61))
    assert [finding.count for finding in found if finding.verdict is Verdict.REFUSE] == [61] * 40


def test_control_a_count_that_is_read_and_then_written_back_loses_accounts(store):
    """What everyone writes first. The script above is one step, so nobody can come in between."""
    redis_client().set("count", 0)

    def count_one(_):
        for _ in range(5):
            seen = int(redis_client().get("count"))
            redis_client().set("count", seen + 1)

    together(count_one)

    assert int(redis_client().get("count")) < THREADS * 5, "the race did not happen: the test above proves nothing"


class TestWithoutRedis:
    @pytest.fixture(autouse=True)
    def _away(self, app, store, make_user, auth):
        # Written in time: accounts stand in PostgreSQL.
        self.header = auth(make_user())
        store.valkey.kill()
        yield
        store.valkey.start()
        redis_client().connection_pool.disconnect()

    def test_a_request_for_units_is_refused_at_once(self, client):
        answer = client.post("/api/flash-sales/1/purchases", json={}, headers=self.header)

        assert (answer.status_code, answer.json["code"]) == (503, "UNAVAILABLE")
        assert answer.headers["Retry-After"] == "1"
