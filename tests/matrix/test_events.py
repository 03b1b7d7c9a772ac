"""Who hears what: every event that a client may send, by everybody, answered as tests/matrix/events.md says.

Asked of a real live process over real sockets.
"""

import json
import re
from pathlib import Path

import pytest
import websocket

from models.gate import admit
from models.purchase import Kind
from models.settle import settle_turn
from tests.live.conftest import HEAR_SECONDS, Client, Live
from tests.matrix import table
from tests.matrix.callers import CALLERS
from tests.matrix.world import CUSTOMER
from web import cookies

ROOT = Path(__file__).parents[2]
EXPECTED = table.read(table.EVENTS)
MARK = "isThatAll"
NOTHING = "nothing"
# Heard by whoever watches a sale, whoever they are.
PUBLIC_NEWS = ("stockUpdate", "lineMoved")
SALE = {"flashSaleId": "1"}


@pytest.fixture(scope="module")
def live(servers, tmp_path_factory):
    process = Live(tmp_path_factory.mktemp("live") / "live.log")
    try:
        process.start()
        yield process
    finally:
        process.stop()


class Visitor:
    """Somebody's conversation, begun with what they have."""

    def __init__(self, live, path, caller, *, ticket=None, shows_token=True):
        headers = []
        if caller.from_another_site:
            headers = [f"Cookie: {cookies.ACCESS}={caller.access}", "Origin: https://evil.test"]
        elif caller.access and shows_token:
            headers = [f"Authorization: Bearer {caller.access}"]
        url = f"ws://127.0.0.1:{live.port}{path}" + (f"?ticket={ticket}" if ticket else "")
        self.client = Client(websocket.create_connection(url, timeout=HEAR_SECONDS, header=headers))

    def hears(self, event=None, **data):
        """What is heard after this event, up to the answer to a mark: errors by their codes."""
        heard = []
        try:
            if event:
                self.client.send(event, **data)
            self.client.send(MARK)
            while True:
                name, said = self.client.hear()
                if name == "error" and said["code"] == "UNKNOWN_EVENT":
                    return heard
                heard.append(said["code"] if name == "error" else name)
        except (websocket.WebSocketException, json.JSONDecodeError, OSError):
            return [*heard, "closed"]


def heard_by(app, live, row, caller):
    """What somebody hears, in the words of the table."""
    event, _, path = row.rpartition(" at ")
    with_ticket = event == "a ticket in the handshake"
    ticket = ticket_for(app, caller) if with_ticket else None
    visitor = Visitor(live, path, caller, ticket=ticket, shows_token=event != "authenticate" and not with_ticket)
    try:
        heard = answers_to(live, visitor, event, caller)
    finally:
        visitor.client.close()
    return ", ".join(heard) or NOTHING


def answers_to(live, visitor, event, caller):
    first = visitor.hears()
    if event.endswith("in the handshake"):
        return first
    if event == "authenticate":
        # Another site's page has the browser's cookie and cannot read it.
        token = None if caller.from_another_site else caller.access
        return visitor.hears(event, **({"token": token} if token else {}))
    if event == "purchaseSettled":
        settle_one(live)
        return [name for name in visitor.hears() if name not in PUBLIC_NEWS]
    return visitor.hears(event, **SALE)


def settle_one(live):
    """A request of the customer's is settled, and whoever is to hear of it has been told when this returns."""
    owner = Visitor(live, "/ws", CALLERS["customer"][""]())
    try:
        owner.hears()
        ticket = admit(1, CUSTOMER, Kind.PURCHASE, 1).ticket
        settle_turn(1)
        owner.client.hear_until("purchaseSettled", 20, purchaseId=f"1-{ticket}")
    finally:
        owner.client.close()


def ticket_for(app, caller):
    """The ticket that somebody gets for what they have, or else what they have itself."""
    headers = {"Authorization": f"Bearer {caller.access}"} if caller.access and not caller.from_another_site else {}
    answer = app.test_client().post("/api/ws-tickets", headers=headers)
    return answer.json["data"]["ticket"] if answer.status_code == 201 else "a-ticket-of-ones-own"


@pytest.mark.parametrize("row", list(EXPECTED))
def test_everybody_hears_what_the_table_says(app, world, live, row):
    wrong = []
    for column, kinds in CALLERS.items():
        for kind, make in kinds.items():
            heard = heard_by(app, live, row, make())
            if heard != EXPECTED[row][column]:
                wrong.append(f"{column} {kind}: {heard}, not {EXPECTED[row][column]}")

    assert wrong == []


def test_every_event_that_there_is_has_its_rows_at_both_doors(app):
    events = set(re.findall(r'name == "(\w+)"', (ROOT / "web" / "sockets.py").read_text()))
    doors = {rule.rule for rule in app.url_map.iter_rules() if rule.websocket}

    assert events == {"authenticate", "joinFlashSale", "leaveFlashSale"}
    asked = events | {"a token in the handshake", "a ticket in the handshake", "purchaseSettled"}
    assert set(EXPECTED) == {f"{event} at {door}" for event in asked for door in doors}
    assert all(list(row) == list(CALLERS) and all(row.values()) for row in EXPECTED.values())
