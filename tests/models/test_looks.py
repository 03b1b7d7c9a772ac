"""What Redis says of a look at a purchase: who may look, how often, and what waits in line."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest

from models import looks, rediskeys
from models.clock import now
from models.gate import Checks, GivenBackError, Limit, TooOftenError, admit, ask
from models.looks import Onlooker
from models.purchase import Kind
from models.purchases import PurchaseNotFoundError, as_it_stands, find_purchase
from models.redisclient import redis_client
from models.revocations import revoke, tell_generation
from models.settle import settle_turn
from models.trips import HELD, at_once

TOKEN = "a token"
HERE = "192.0.2.1"
BUYERS = (1, 2, 3)


def look(who, place):
    """The request, if it waits in line."""
    return seen(who, place).waiting


def seen(who, place):
    return at_once(looks.look(HELD, who, place))


def onlooker(user_id=1, *limits, customer=HERE, by_address=(), generation=0):
    return Onlooker(user_id, TOKEN, generation, customer, limits, by_address)


def ticket_of(sale, user_id=1, **named):
    return admit(sale.id, user_id, Kind.PURCHASE, 1, **named).ticket


class TestTheLine:
    def test_a_request_that_waits_is_as_the_mailbox_has_it(self, make_sale):
        sale = make_sale()
        for user_id in BUYERS:
            ticket_of(sale, user_id)
        settle_turn(sale.id, batches=1, batch_max=1)

        waiting = look(onlooker(), (sale.id, 3))

        assert waiting == find_purchase(sale.id, 3, viewer_id=3)
        assert (waiting.user_id, waiting.position, waiting.is_settled) == (3, 1, False)
        assert look(onlooker(), (sale.id, 1)) is None, "it is settled"
        assert look(onlooker(), (sale.id, 4)) is None
        assert look(onlooker(), (sale.id + 1, 1)) is None
        assert look(onlooker(), None) is None

    def test_it_says_how_far_all_were_told_whether_anybody_waits_there_or_not(self, make_sale):
        sale = make_sale()
        for user_id in BUYERS:
            ticket_of(sale, user_id)
        settle_turn(sale.id, batches=1, batch_max=2)

        assert [seen(onlooker(), (sale.id, ticket)).told_through for ticket in (1, 3, 4)] == [2, 2, 2]
        assert seen(onlooker(), (sale.id + 1, 1)).told_through == 0
        assert seen(onlooker(), None).told_through == 0

    def test_what_is_no_request_and_a_view_with_something_else_in_it_stop_nobody(self, make_sale):
        sale = make_sale()
        redis_client().xadd(rediskeys.mailbox(sale.id), {"u": "nobody", "q": b"\xff"}, id="0-7")
        redis_client().hset(rediskeys.view(sale.id), mapping={"settled_through": "many", "pace": "slow"})

        waiting = look(onlooker(), (sale.id, 7))

        assert (waiting.ticket, waiting.user_id, waiting.position) == (7, 0, 6)

    def test_a_request_that_is_settled_between_the_two_questions_is_found(self, make_sale):
        """And a control: asked the other way around, it is in neither place."""
        sale = make_sale()
        first, second = ticket_of(sale), ticket_of(sale)

        waiting = look(onlooker(), (sale.id, first))
        settle_turn(sale.id, batches=1, batch_max=1)
        assert as_it_stands(sale.id, first, waiting, viewer_id=1).status == "confirmed"

        with pytest.raises(PurchaseNotFoundError):
            as_it_stands(sale.id, second, None, viewer_id=1)
        settle_turn(sale.id)
        assert look(onlooker(), (sale.id, second)) is None
        assert as_it_stands(sale.id, second, None, viewer_id=1).status == "confirmed"


class TestWhoMay:
    def test_a_token_that_was_given_back_sees_nothing_and_is_not_counted(self, make_sale):
        sale = make_sale()
        ticket_of(sale)
        assert look(onlooker(1, Limit(5, 60)), (sale.id, 1)) is not None

        tell_generation(1, 1)
        for place in ((sale.id, 1), None):
            with pytest.raises(GivenBackError):
                look(onlooker(1, Limit(5, 60)), place)
        assert look(onlooker(1, Limit(5, 60), generation=1), (sale.id, 1)) is not None
        revoke(1, TOKEN, now() + timedelta(hours=1))
        with pytest.raises(GivenBackError):
            look(onlooker(1, generation=1), (sale.id, 1))

        assert redis_client().get(rediskeys.looks_of_user(1, 60)).endswith(":2")

    def test_a_user_and_an_address_are_counted_together_and_a_refusal_counts_for_neither(self, store):
        tight, wide = Limit(2, 60), Limit(3, 60)

        for _ in range(2):
            look(onlooker(1, tight, by_address=(wide,)), None)
        with pytest.raises(TooOftenError) as by_user:
            look(onlooker(1, tight, by_address=(wide,)), None)
        look(onlooker(2, tight, by_address=(wide,)), None)
        with pytest.raises(TooOftenError) as by_address:
            look(onlooker(3, tight, by_address=(wide,)), None)

        assert (by_user.value.limit, by_address.value.limit) == (tight, wide)
        assert 1 <= by_user.value.wait_ms <= 120_000
        look(onlooker(3, tight, customer="192.0.2.2", by_address=(wide,)), None)

    def test_a_hundred_at_once_are_counted_one_by_one(self, store):
        def one(_):
            try:
                look(onlooker(1, Limit(37, 60)), None)
            except TooOftenError:
                return False
            return True

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(one, range(100))) == 37

    def test_looks_and_requests_for_units_are_counted_apart(self, make_sale):
        sale, limits = make_sale(), (Limit(1, 60),)

        look(onlooker(1, *limits), None)

        assert ask(sale.id, 1, Kind.PURCHASE, 1, checks=Checks(TOKEN, 0, limits)).code == "ADMITTED"

    def test_a_look_writes_nothing_to_the_disk(self, make_sale):
        """A crowd that looks would otherwise wait for the disk, and so would those who buy."""
        sale = make_sale()
        ticket_of(sale)
        written = redis_client().info("persistence")["aof_current_size"]
        for _ in range(20):
            look(onlooker(1, Limit(100, 60), by_address=(Limit(100, 60),)), (sale.id, 1))

        assert redis_client().info("persistence")["aof_current_size"] == written
        ticket_of(sale)
        assert redis_client().info("persistence")["aof_current_size"] > written, "or the figure shows nothing"


def _hear(sale_id, seed):
    """What a course of looks hears, without what depends on the clock."""
    dice, heard = random.Random(seed), []
    redis_client().delete(*redis_client().keys("*:looks:*"), *map(rediskeys.generation, BUYERS))
    for _ in range(200):
        user_id, generation = dice.choice(BUYERS), dice.choice([0, 1, 1])
        if dice.random() < 0.03:
            tell_generation(user_id, 1)
        limits = dice.choice([(), (Limit(30, 3600),), (Limit(30, 3600), Limit(40, 7200))])
        of_address = dice.choice([(), (Limit(90, 3600),)])
        place = dice.choice([None, (sale_id, 1), (sale_id, 2), (sale_id, 3)])
        who = onlooker(user_id, *limits, by_address=of_address, generation=generation)
        try:
            found = look(who, place)
            heard.append(found and (found.ticket, found.user_id, found.position))
        except GivenBackError as refused:
            heard.append(refused.code)
        except TooOftenError as refused:
            heard.append((refused.code, refused.limit))
    return heard


@pytest.mark.parametrize("seed", range(3))
def test_asked_of_one_shard_after_the_other_it_says_the_same(make_sale, monkeypatch, seed):
    sale = make_sale()
    for user_id in BUYERS:
        ticket_of(sale, user_id)
    settle_turn(sale.id, batches=1, batch_max=1)
    at_once = _hear(sale.id, seed)

    monkeypatch.setattr("models.looks.settings", lambda: SimpleNamespace(redis_is_cluster=True))
    in_turn = _hear(sale.id, seed)

    assert in_turn == at_once
    assert {None, (2, 2, 0), (3, 3, 1), "TOKEN_REVOKED", ("RATE_LIMITED", Limit(30, 3600))} <= set(at_once)
