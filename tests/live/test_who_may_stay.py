"""Open sockets of those who may not be there any more are closed within seconds, and told why."""

import time
from datetime import timedelta

import pytest
import websocket

from models import accounts, sales
from models.addresses import read_range
from models.clock import now
from models.ip_ranges import Action
from models.ip_rule import NewIpRule, create_ip_rule
from models.redisclient import redis_client
from models.revocations import revoke
from models.user import Role
from web.rounds import WALK_EVERY_SECONDS

# Generous: what is promised is three seconds, on a machine that has time for it.
SECONDS = 90
PROXIED = {"TRUSTED_PROXIES": "127.0.0.0/8"}
DENIED, NEIGHBOUR = "203.0.113.9", "203.0.114.9"


@pytest.fixture
def admin(make_user):
    return make_user(role="admin")


def joined(process, sale, **how):
    client = process.connect(**how).send("joinFlashSale", flashSaleId=sale.id)
    client.hear_until("stockUpdate")
    return client


def last_words(client):
    """The code of the error that a client is told, and how it is closed behind it."""
    code = client.hear_until("error", SECONDS)[-1][1]["code"]
    client.connection.settimeout(SECONDS)
    opcode, data = client.connection.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    return code, int.from_bytes(data[:2], "big"), data[2:].decode()


def still_hears(client, sale):
    """Whether the news of a sale reach this client."""
    sales.pause_sale(sale.id)
    client.hear_until("flashSalePaused")
    sales.resume_sale(sale.id)
    client.hear_until("flashSaleResumed")
    return True


ENDS = {
    "a block": lambda user, admin: accounts.block(user.id, admin.id),
    "another role": lambda user, admin: accounts.change_account(user.id, admin.id, role=Role.ADMIN),
    "a theft": lambda user, _: accounts.refuse_tokens(user.id),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_socket_of_a_user_whose_tokens_are_refused_is_told_so_and_closed(live, make_sale, make_user, token_of, end):
    sale, ann, kim, admin = make_sale(), make_user(), make_user(), make_user(role="admin")
    anns, kims = (joined(live, sale, token=token_of(user.id)) for user in (ann, kim))
    nobodys = joined(live, sale)

    end(ann, admin)

    assert last_words(anns) == ("TOKEN_REVOKED", 1008, "TOKEN_REVOKED")
    assert still_hears(kims, sale)
    assert still_hears(nobodys, sale)
    assert live.connect(token=token_of(ann.id)).hear()[1]["code"] == "UNAUTHORIZED"
    assert still_hears(joined(live, sale, token=token_of(ann.id, generation=1)), sale)


def test_the_socket_of_a_token_that_was_given_back_is_closed_and_the_users_other_one_is_not(
    live, make_sale, token_of, monkeypatch
):
    sale = make_sale()
    with monkeypatch.context() as patch:
        patch.setattr("models.tokens.uuid4", lambda: type("Id", (), {"hex": "given-back"}))
        gone = joined(live, sale, token=token_of(1))
    other = joined(live, sale, token=token_of(1))

    revoke(1, "given-back", now() + timedelta(minutes=15))

    assert last_words(gone)[0] == "TOKEN_REVOKED"
    assert still_hears(other, sale)


def test_a_token_that_runs_out_ends_the_conversation_and_a_new_one_in_time_goes_on(live, make_sale, token_of):
    sale = make_sale()
    over, renewed = (joined(live, sale, token=token_of(user, lifetime=timedelta(seconds=8))) for user in (1, 2))

    renewed.send("authenticate", token=token_of(2)).hear_until("authenticated")

    assert last_words(over) == ("TOKEN_EXPIRED", 1008, "TOKEN_EXPIRED")
    assert still_hears(renewed, sale)


def test_the_sockets_of_an_address_are_closed_when_it_is_denied(other_live, store, make_sale, admin, token_of):
    process, sale = other_live(**PROXIED), make_sale()
    inside = [joined(process, sale, address=DENIED), joined(process, sale, address=DENIED, token=token_of(1))]
    outside = joined(process, sale, address=NEIGHBOUR)

    rule = NewIpRule(read_range("203.0.113.0/24"), Action.DENY, "bots", None)
    create_ip_rule(rule, actor_id=admin.id, from_address="127.0.0.1")

    assert [last_words(client) for client in inside] == [("ADDRESS_DENIED", 1008, "ADDRESS_DENIED")] * 2
    assert still_hears(outside, sale)


def test_a_client_that_does_not_go_is_dropped(live, make_sale, make_user, admin, token_of):
    ann = make_user()
    client = joined(live, make_sale(), token=token_of(ann.id))
    line = client.connection.sock

    accounts.block(ann.id, admin.id)

    # Read, and never answered: the server's last words, and then the end of the line.
    line.settimeout(SECONDS)
    while line.recv(4_096):
        pass


def test_control_without_the_rounds_a_blocked_user_goes_on_listening(other_live, make_sale, make_user, admin, token_of):
    process = other_live("tests.live.without_rounds:app")
    sale, ann = make_sale(), make_user()
    client = joined(process, sale, token=token_of(ann.id))

    accounts.block(ann.id, admin.id)

    time.sleep(3 * WALK_EVERY_SECONDS)
    assert still_hears(client, sale)


def test_while_redis_is_away_nobody_is_closed_but_those_whose_time_is_over(live, make_sale, token_of, servers):
    sale = make_sale()
    stays = joined(live, sale, token=token_of(1))
    over = joined(live, sale, token=token_of(2, lifetime=timedelta(seconds=8)))
    servers.valkey.kill()
    try:
        assert last_words(over)[0] == "TOKEN_EXPIRED"
    finally:
        servers.valkey.start()
        redis_client().connection_pool.disconnect()

    assert still_hears(stays, sale)
