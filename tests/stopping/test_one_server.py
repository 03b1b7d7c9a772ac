"""A server that is asked to stop answers what it has in hand, and tells whoever still comes to go elsewhere."""

import http.client
import json
import socket
import subprocess
import sys
import time

import pytest
import websocket

from models import rediskeys
from models.heartbeats import beat
from models.redisclient import redis_client
from ops.ports import LOOPBACK
from tests.stopping.conftest import ROOT, StillAnsweringError
from web.leaving import LEAVING_SECONDS
from web.rounds import SERVICE_RESTART

KINDS = ("web", "live")
TRIES = 4
# Takes one connection, once it is told to, and long after the kernel did.
DOORKEEPER = """
import socket
from web.door import let_nobody_new_in
with socket.create_server(("127.0.0.1", 0)) as door:
    print(door.getsockname()[1], flush=True)
    input()
    let_nobody_new_in()
    print("closed", flush=True)
    input()
    connection, _ = door.accept()
    with connection:
        connection.sendall(connection.recv(10))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_request_on_a_kept_connection_is_refused_with_503_and_the_connection_ends(server, kind):
    refused = in_time(server, kind, lambda kept, _alive: kept.ask_until_refused("GET", "/api/flash-sales"))

    assert (refused.status, refused.body["code"]) == (503, "UNAVAILABLE")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["connection"] == "close"


def in_time(server, kind, ask):
    """What `ask` hears on two kept connections of a server that was just asked to stop. Whoever asks only after it has
    left finds it gone: where the machine was busy elsewhere for as long, another server is asked."""
    for _ in range(TRIES):
        process = server(kind)
        kept = process.kept(), process.kept()
        asked_at = process.ask_to_stop()
        try:
            return ask(*kept)
        except (http.client.HTTPException, OSError):
            assert time.monotonic() - asked_at > LEAVING_SECONDS, "it left before its time"
    return pytest.fail("the machine was never quick enough")


def test_without_our_server_around_it_the_connection_just_ends(server):
    """Most often: where it is busy as the signal comes, it may miss it."""
    for _ in range(TRIES):
        process = server("web", plain=True)
        kept = process.kept()
        # http.client would connect anew where the server has closed, and somebody else may listen on its port by then.
        kept.connection.auto_open = 0
        process.ask_to_stop()
        try:
            refused = kept.ask_until_refused("GET", "/api/flash-sales")
        except (http.client.HTTPException, OSError):
            return
        except StillAnsweringError:
            process.end()
        else:
            pytest.fail(f"it says that it stops: {refused}")
    pytest.fail("it never stopped")


@pytest.mark.parametrize("kind", KINDS)
def test_readiness_ends_at_once_so_that_a_proxy_takes_the_process_out_and_the_process_still_lives(server, kind):
    def ready_and_alive(ready, alive):
        all_beat()
        return ready.ask_until_refused("GET", "/readyz"), alive.ask("GET", "/healthz")

    process = server(kind)
    all_beat()
    assert process.kept().ask("GET", "/readyz").status == 200

    ready, alive = in_time(server, kind, ready_and_alive)

    assert (ready.status, ready.body["code"]) == (503, "UNAVAILABLE")
    assert "restarted" in ready.body["message"]
    assert alive.status == 200


def all_beat():
    beat("settle@here", ["settlements"])
    redis_client().set(rediskeys.BEAT_HEARTBEAT, "1")


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_for_an_outcome_is_answered_before_the_process_ends(server, kind, make_sale, buyer):
    sale = make_sale()
    process = server(kind)
    waiting = process.kept()
    waiting.send(
        "POST", f"/api/flash-sales/{sale.id}/purchases", {"quantity": 1}, Prefer="wait=30", Idempotency_Key="k", **buyer
    )
    _until(lambda: redis_client().xlen(rediskeys.mailbox(sale.id)) == 1)

    asked_at = process.ask_to_stop()
    answer = waiting.answer()

    # Nobody settles here, so the place in line is all that there is to tell, and far sooner than in 30 s.
    assert (answer.status, answer.body["data"]["ticket"]) == (202, 1)
    # Without that, who asks again on this connection would find it ended without a word.
    assert answer.headers["connection"] == "close"
    process.process.wait(process.grace_seconds)
    assert time.monotonic() - asked_at < process.grace_seconds
    assert process.process.returncode == 0


def test_a_closed_door_hears_nobody_new_and_whoever_is_in_the_doorway_is_served():
    command = [sys.executable, "-c", DOORKEEPER]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        address = (LOOPBACK, int(keeper.stdout.readline()))
        with socket.create_connection(address, timeout=30) as in_the_doorway:
            in_the_doorway.sendall(b"one")
            keeper.stdin.write("close\n")
            keeper.stdin.flush()
            assert keeper.stdout.readline() == "closed\n"

            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.5)
            keeper.stdin.write("serve\n")
            keeper.stdin.flush()
            assert in_the_doorway.recv(10) == b"one"


def test_open_sockets_are_told_and_closed_with_service_restart(server):
    process = server("live")
    connection = websocket.create_connection(f"ws://127.0.0.1:{process.port}/ws", timeout=10)
    connection.send(json.dumps({"event": "joinFlashSale", "data": {"flashSaleId": "999"}}))
    assert json.loads(connection.recv())["data"]["code"] == "SALE_NOT_FOUND"

    process.ask_to_stop()
    told = json.loads(connection.recv())
    opcode, payload = connection.recv_data(control_frame=True)

    assert (told["event"], told["data"]["code"]) == ("error", "RESTARTING")
    assert (opcode, int.from_bytes(payload[:2])) == (websocket.ABNF.OPCODE_CLOSE, SERVICE_RESTART)
    connection.close()
    process.process.wait(process.grace_seconds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_signal_does_no_harm(server, kind):
    process = server(kind)

    process.ask_to_stop()
    time.sleep(0.1)
    process.ask_to_stop()

    try:
        process.process.wait(process.grace_seconds)
    except subprocess.TimeoutExpired:
        pytest.fail("it did not end within its grace")


def _until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
