"""A crowd before a sale that is sold out hears it from the process; where few ask, the gate is asked every time."""

import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from models import rediskeys, refusals
from models.gate import GateAnswer, admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.sales import patch_sale
from models.settle import settle_turn
from tests.doorstep.sides import units
from web import crowd as crowds
from web import doorstep


@pytest.fixture
def crowd(monkeypatch):
    """The crowd before this process, of whom nobody was there before."""
    fresh = crowds.Crowd()
    monkeypatch.setattr(doorstep, "crowd", lambda: fresh)
    monkeypatch.setattr(crowds, "crowd", lambda: fresh)
    # Counted when the test says so.
    monkeypatch.setattr(crowds, "_counter", lambda: None)
    return fresh


@pytest.fixture
def asked(monkeypatch):
    """How often the gate was asked, as a list of the answers' codes."""
    codes = []

    async def knock(*args, **options):
        answer = await real(*args, **options)
        codes.append(answer.code)
        return answer

    real = doorstep.knock
    monkeypatch.setattr(doorstep, "knock", knock)
    return codes


@pytest.fixture
def sold_out(make_sale):
    """sold_out(total_stock=1) -> a sale whose units are gone."""

    def make(total_stock=1):
        sale = make_sale(total_stock=total_stock)
        admit(sale.id, 1_000_000, Kind.PURCHASE, total_stock)
        assert settle_turn(sale.id).confirmed == 1
        return sale

    return make


def for_long(monkeypatch):
    """Whoever comes while a test runs is of one crowd, and hears what it was told, however long the test takes."""
    monkeypatch.setattr(crowds, "CROWD_SECONDS", 3_600)
    monkeypatch.setattr(crowds, "REPEATED_SECONDS", 3_600)


def code_of(answer):
    return answer.body.partition(b'"code":"')[2].partition(b'"')[0].decode()


def test_a_crowd_hears_from_the_process_what_the_gate_said_and_nobody_is_forgotten(
    ways, crowd, asked, sold_out, monkeypatch
):
    for_long(monkeypatch)
    sale = sold_out()

    answers = [ways.through(**units(sale))[0] for _ in range(crowds.CROWD + 30)]

    assert {code_of(answer) for answer in answers} == {"SOLD_OUT"}
    assert len(asked) == crowds.CROWD
    first, *others = (answer.alike() for answer in answers)
    assert all(other == first for other in others), "who hears it from the process hears the same"
    assert ways.around(**units(sale)).alike() == first, "and so does who asks Flask"
    crowd.count()
    assert refusals.count_in_redis(sale.id) == {"SOLD_OUT": crowds.CROWD + 31}
    crowd.count()
    assert refusals.count_in_redis(sale.id) == {"SOLD_OUT": crowds.CROWD + 31}, "counted once"


def test_where_few_ask_a_unit_that_comes_back_is_for_sale_at_once(ways, crowd, asked, sold_out):
    sale = sold_out()
    for _ in range(crowds.CROWD - 1):
        assert code_of(ways.through(**units(sale))[0]) == "SOLD_OUT"

    patch_sale(sale.id, {"total_stock": 2}, actor_id=None)

    assert ways.through(**units(sale))[0].status.startswith("202")
    assert len(asked) == crowds.CROWD


def test_a_crowd_is_let_in_again_soon_after_a_unit_comes_back(ways, crowd, asked, sold_out):
    sale = sold_out()
    for _ in range(crowds.CROWD):
        ways.through(**units(sale))

    patch_sale(sale.id, {"total_stock": 2}, actor_id=None)

    end = time.monotonic() + 30
    while not ways.through(**units(sale))[0].status.startswith("202"):
        assert time.monotonic() < end, "nobody is let in any more"
    assert asked[-1] == "ADMITTED"


def test_control_a_process_that_never_asks_again_sells_no_unit_that_comes_back(ways, crowd, sold_out, monkeypatch):
    for_long(monkeypatch)
    sale = sold_out()
    for _ in range(crowds.CROWD):
        ways.through(**units(sale))

    patch_sale(sale.id, {"total_stock": 2}, actor_id=None)

    assert code_of(ways.through(**units(sale))[0]) == "SOLD_OUT"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"HTTP_IDEMPOTENCY_KEY": "a-key"}, id="a key"),
        pytest.param({"body": b'{"quantity":2}'}, id="two units"),
        pytest.param({"body": b'{"quantity":1, "groupKey": "card"}'}, id="a group"),
        pytest.param({"HTTP_X_REQUEST_ID": "abcdefgh12"}, id="not plain"),
    ],
)
def test_whoever_asks_for_anything_else_asks_the_gate(ways, crowd, sold_out, monkeypatch, other):
    for_long(monkeypatch)
    sale = sold_out()
    for _ in range(crowds.CROWD):
        ways.through(**units(sale))
    assert crowd.answer_for(sale.id, 1) is not None
    before = refusals.count_in_redis(sale.id)["SOLD_OUT"]

    answer = ways.through(**units(sale, **other))[0]

    assert code_of(answer) == "SOLD_OUT"
    assert refusals.count_in_redis(sale.id)["SOLD_OUT"] == before + 1, "the gate counts those who ask it"


def test_a_retry_has_its_first_answer_in_the_middle_of_a_crowd(ways, crowd, make_sale, monkeypatch):
    for_long(monkeypatch)
    sale = make_sale(total_stock=1)
    mine = units(sale, HTTP_IDEMPOTENCY_KEY="mine")
    assert ways.through(**mine)[0].status.startswith("202")
    settle_turn(sale.id)
    for _ in range(crowds.CROWD):
        ways.through(**units(sale))

    assert b'"ticket":1' in ways.through(**mine)[0].body


def heard(crowd, code, times=1):
    for _ in range(times):
        crowd.note(1, GateAnswer(7, code, [], [], ()))


@pytest.mark.parametrize("code", ["RATE_LIMITED", "VELOCITY_REFUSED", "REVOKED", "SEEN"])
def test_what_is_said_of_one_buyer_is_not_said_of_the_sale(crowd, code, monkeypatch):
    for_long(monkeypatch)
    heard(crowd, "SOLD_OUT", crowds.CROWD)
    heard(crowd, code)
    assert crowd.answer_for(7, 1).code == "SOLD_OUT"

    heard(crowd, "ADMITTED")
    assert crowd.answer_for(7, 1) is None


@pytest.mark.parametrize("code", ["RATE_LIMITED", "ENDED", "PAUSED", "NOT_STARTED", "INSUFFICIENT_STOCK"])
def test_nothing_else_is_ever_repeated(crowd, code):
    heard(crowd, code, 2 * crowds.CROWD)

    assert crowd.answer_for(7, 1) is None


def test_a_crowd_that_leaves_is_a_crowd_no_more(crowd):
    moment = [1_000.0]
    crowd = crowds.Crowd(lambda: moment[0])
    heard(crowd, "SOLD_OUT", crowds.CROWD)
    assert crowd.answer_for(7, 1) is not None

    # It stays for a while, and hears it from the gate once in each moment …
    for _ in range(20):
        moment[0] += crowds.REPEATED_SECONDS
        assert crowd.answer_for(7, 1) is None
        heard(crowd, "SOLD_OUT")
        assert all(crowd.answer_for(7, 1) for _ in range(crowds.CROWD))

    # … and those who come one by one long after it ask the gate again.
    for _ in range(5):
        moment[0] += crowds.CROWD_SECONDS + 0.1
        heard(crowd, "SOLD_OUT")
        moment[0] += crowds.CROWD_SECONDS + 0.1
    assert crowd.answer_for(7, 1) is None
    heard(crowd, "SOLD_OUT")
    assert crowd.answer_for(7, 1) is None


def test_what_somebody_else_left_in_place_of_a_count_stops_no_other_count(crowd, sold_out, ways, monkeypatch):
    for_long(monkeypatch)
    spoilt, other = sold_out(), sold_out()
    for sale in (spoilt, other):
        for _ in range(crowds.CROWD + 3):
            ways.through(**units(sale))
    redis_client().set(rediskeys.counts(spoilt.id), "somebody else's")

    crowd.count()

    assert refusals.count_in_redis(other.id) == {"SOLD_OUT": crowds.CROWD + 3}


@pytest.mark.parametrize("error", [RedisConnectionError, ResponseError])
def test_what_redis_could_not_be_told_is_told_later(crowd, sold_out, ways, monkeypatch, error):
    for_long(monkeypatch)
    sale = sold_out()
    for _ in range(crowds.CROWD + 7):
        ways.through(**units(sale))

    def away(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(crowds, "count_more", away)
        crowd.count()
    crowd.count()

    assert refusals.count_in_redis(sale.id) == {"SOLD_OUT": crowds.CROWD + 7}


def test_sales_that_are_remembered_are_bounded(crowd, sold_out, ways, asked, monkeypatch):
    monkeypatch.setattr(crowds, "KNOWN_MAX", 2)
    sales = [sold_out() for _ in range(3)]
    for sale in sales:
        ways.through(**units(sale))

    assert len(crowd._known) == 2
