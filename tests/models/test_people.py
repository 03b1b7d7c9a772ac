"""What admins do with accounts, and which tokens are refused for it, whatever Redis remembers."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text

from models import accounts, generations, rediskeys
from models.clock import now
from models.database import transaction
from models.errors import DomainError, ForbiddenError
from models.generations import tell_again
from models.redisclient import redis_client
from models.revocations import ASKED_AT_ONCE, Spent, is_revoked, revoke, revoked_among, spend, tell_generation
from models.tokens import Claims
from models.user import Role, User


@pytest.fixture
def admins(make_user):
    """admins(3) -> so many admins"""
    return lambda count: [make_user(role="admin") for _ in range(count)]


def unblocked_admins():
    with transaction() as session:
        return session.scalar(text("SELECT count(*) FROM users WHERE role = 'admin' AND blocked_at IS NULL"))


def is_refused(user, generation=0):
    return is_revoked("a", user.id, generation)


def test_whoever_is_blocked_is_refused_with_all_they_had_and_twice_is_once(admins, make_user):
    [admin], ann, kim = admins(1), make_user(), make_user()

    first = accounts.block(ann.id, admin.id)
    second = accounts.block(ann.id, admin.id)

    assert (first.user.token_generation, first.is_told) == (1, True)
    assert (second.user.blocked_at, second.user.token_generation) == (first.user.blocked_at, 1)
    assert is_refused(ann)
    assert not is_refused(kim)
    with pytest.raises(accounts.AccountBlockedError):
        accounts.active_user(ann.id)


def test_whoever_is_let_in_again_logs_in_anew(admins, make_user):
    [admin], ann = admins(1), make_user()
    accounts.block(ann.id, admin.id)

    for _ in range(2):
        accounts.unblock(ann.id, admin.id)

    assert accounts.active_user(ann.id).token_generation == 1
    assert is_refused(ann, 0)
    assert not is_refused(ann, 1)


def test_another_role_ends_the_tokens_that_name_the_old_one_and_another_name_does_not(admins, make_user):
    [admin], ann = admins(1), make_user()

    renamed = accounts.change_account(ann.id, admin.id, name="Anna", role=Role.CUSTOMER)
    assert (renamed.user.name, renamed.user.token_generation, is_refused(ann)) == ("Anna", 0, False)
    promoted = accounts.change_account(ann.id, admin.id, role=Role.ADMIN)

    assert (promoted.user.name, promoted.user.role, promoted.user.token_generation) == ("Anna", "admin", 1)
    assert is_refused(ann)


def test_nobody_blocks_or_demotes_themselves_so_the_last_admin_stays_one(admins):
    [admin] = admins(1)

    for deed in (
        lambda: accounts.block(admin.id, admin.id),
        lambda: accounts.change_account(admin.id, admin.id, role=Role.CUSTOMER),
    ):
        with pytest.raises(accounts.OwnAccountError):
            deed()

    assert unblocked_admins() == 1
    assert accounts.change_account(admin.id, admin.id, name="Olga", role=Role.ADMIN).user.name == "Olga"


def test_whoever_was_blocked_or_demoted_a_moment_ago_changes_nobody(admins, make_user):
    blocked, demoted, admin = admins(3)
    ann = make_user()
    accounts.block(blocked.id, admin.id)
    accounts.change_account(demoted.id, admin.id, role=Role.CUSTOMER)

    for by in (blocked, demoted, ann):
        with pytest.raises(ForbiddenError):
            accounts.block(admin.id, by.id)

    assert accounts.active_user(admin.id).is_admin


def test_an_account_that_is_not_there_is_not_found(admins):
    [admin] = admins(1)

    for deed in (accounts.block, accounts.unblock, accounts.change_account):
        with pytest.raises(accounts.UserNotFoundError):
            deed(99, admin.id)


def together(*actions):
    """Run the actions at once, and return what each made of it."""
    barrier = Barrier(len(actions))

    def one(action):
        barrier.wait(60)
        try:
            return action()
        except DomainError as error:
            return error.code

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(one, actions))


@pytest.mark.parametrize("round_number", range(5))
def test_two_admins_who_take_each_others_place_at_once_leave_one(admins, round_number):
    one, other = admins(2)

    ends = together(
        lambda: accounts.change_account(one.id, other.id, role=Role.CUSTOMER),
        lambda: accounts.block(other.id, one.id),
    )

    assert unblocked_admins() == 1
    assert ends.count("FORBIDDEN") == 1


def test_control_two_admins_who_lock_only_the_row_they_change_leave_nobody(admins):
    """Look whether there is another admin, then act, under the lock of the one account that is changed."""
    one, other = admins(2)
    both_have_looked = Barrier(2)

    def demote(user):
        with transaction() as session:
            row = session.get(User, user.id, with_for_update=True)
            left = session.scalar(text("SELECT count(*) FROM users WHERE role = 'admin' AND blocked_at IS NULL"))
            both_have_looked.wait(5)
            if left > 1:
                row.role = Role.CUSTOMER

    together(lambda: demote(one), lambda: demote(other))

    assert unblocked_admins() == 0


def test_a_block_stands_though_redis_is_away_and_redis_is_told_when_it_is_back(admins, make_user, store):
    [admin], ann = admins(1), make_user()
    store.valkey.kill()
    try:
        changed = accounts.block(ann.id, admin.id)
        with pytest.raises(RedisConnectionError):
            tell_again()
    finally:
        store.valkey.start()
    redis_client().connection_pool.disconnect()

    assert (changed.is_told, accounts.find_user(ann.id).blocked_at is not None) == (False, True)
    assert not is_refused(ann), "nobody has told Redis: what follows would show nothing"
    tell_again()
    assert is_refused(ann)


def test_a_redis_that_forgot_everything_is_told_of_all_that_a_living_token_could_be_refused_by(
    admins, make_user, monkeypatch
):
    monkeypatch.setattr(generations, "TOLD_AT_ONCE", 2)
    [admin], users = admins(1), [make_user() for _ in range(5)]
    for user in users:
        accounts.block(user.id, admin.id)
    long_ago = make_user()
    accounts.block(long_ago.id, admin.id)
    with transaction() as session:
        session.get_one(User, long_ago.id).tokens_refused_at = now() - timedelta(days=32)
    redis_client().flushall()

    assert tell_again() == 5

    assert all(is_refused(user) for user in users)
    assert not is_refused(long_ago), "its tokens are over by themselves"


def test_on_a_good_day_only_the_last_minutes_refusals_are_told_again(admins, make_user):
    [admin], ann, kim = admins(1), make_user(), make_user()
    for user in (ann, kim):
        accounts.block(user.id, admin.id)
    with transaction() as session:
        session.get_one(User, ann.id).tokens_refused_at = now() - timedelta(minutes=5)

    assert [tell_again(), tell_again()] == [2, 1]


def test_how_far_redis_was_told_is_no_reason_to_fail_where_it_cannot_be_read(admins, make_user):
    [admin], ann = admins(1), make_user()
    accounts.block(ann.id, admin.id)
    redis_client().flushall()
    redis_client().set(rediskeys.GENERATIONS_TOLD, "yesterday")

    assert tell_again() == 1
    assert is_refused(ann)


def test_a_late_word_of_an_earlier_generation_lets_nobody_in_again(make_user):
    ann = make_user()

    for generation in (2, 1):
        tell_generation(ann.id, generation)

    assert is_refused(ann, 1)


def test_a_refresh_token_is_used_once_tried_again_for_a_moment_and_stolen_later(store):
    over_at = now() + timedelta(days=1)

    assert [spend(1, "a", over_at) for _ in range(3)] == [Spent.NOW, Spent.AGAIN, Spent.AGAIN]
    key = rediskeys.revoked(1, "a")
    _, used_ms, nonce = redis_client().get(key).split(":")
    redis_client().set(key, f"used:{int(used_ms) - 60_000}:{nonce}", keepttl=True)

    assert spend(1, "a", over_at) is Spent.STOLEN
    assert 86_000 < redis_client().ttl(key) <= 86_400 + 6


def test_one_use_that_redis_is_asked_for_twice_since_its_answer_was_lost_is_one_use(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("models.revocations.secrets.token_urlsafe", lambda _bytes: "one request")
        over_at = now() + timedelta(days=1)
        assert [spend(1, "a", over_at), spend(1, "a", over_at)] == [Spent.NOW, Spent.NOW]

    assert spend(1, "a", over_at) is Spent.AGAIN


def test_of_many_who_use_one_refresh_token_at_once_one_gets_something(store):
    ends = together(*[lambda: spend(1, "a", now() + timedelta(days=1))] * 8)

    assert sorted(ends) == [Spent.AGAIN] * 7 + [Spent.NOW]


def test_a_token_that_was_given_back_is_not_a_stolen_one(store):
    over_at = now() + timedelta(days=1)
    revoke(1, "a", over_at)

    assert spend(1, "a", over_at) is Spent.REVOKED


def test_those_of_many_tokens_that_were_given_back_are_found_in_a_few_trips(store):
    tokens = [Claims(number, "customer", f"j{number}", 1, now()) for number in range(ASKED_AT_ONCE * 2 + 1)]
    last = tokens[-1]
    tell_generation(3, 1)
    tell_generation(5, 2)
    revoke(7, "j7", now() + timedelta(minutes=1))
    revoke(last.user_id, last.jti, now() + timedelta(minutes=1))
    before = redis_client().info("commandstats")["cmdstat_mget"]["calls"] if redis_client().mget("x") else 0

    found = revoked_among(tokens)

    assert [each.user_id for each in found] == [5, 7, last.user_id]
    assert redis_client().info("commandstats")["cmdstat_mget"]["calls"] - before == 3
    assert revoked_among([]) == []
