"""Buyers, and listeners on sockets, who live through the restart of everything that they talk to."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import websocket

from tests.stopping.conftest import Kept

UNTIL_SECONDS_MAX = 150
ACCEPTED = frozenset({200, 201, 202})
SERVICE_RESTART = 1012


class Buyers:
    """Buyers on kept connections. Whoever got no answer, or was sent away, asks for the same again."""

    def __init__(self, port: int, sale_id: int, tokens: list[str], *, prefer: str = "") -> None:
        self.accepted: set[int] = set()
        self.statuses: Counter[int] = Counter()
        # Ticket of what was asked again; when it was asked, when that ended without a byte of an answer, and how.
        self.broken: list[tuple[int, datetime, datetime, str]] = []
        self.wrong: list[object] = []
        self._port = port
        self._path = f"/api/flash-sales/{sale_id}/purchases"
        self._prefer = {"Prefer": prefer} if prefer else {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._buy, args=(token,)) for token in tokens]
        for thread in self._threads:
            thread.start()

    def wait_for(self, more: int) -> None:
        """Until so many more were let in."""
        before = len(self.accepted)
        until(lambda: len(self.accepted) >= before + more)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(UNTIL_SECONDS_MAX)
            assert not thread.is_alive()

    def _buy(self, token: str) -> None:
        kept, number = None, 0
        while not self._over.is_set():
            number += 1
            kept = self._insist(kept, token, number)
        if kept is not None:
            kept.connection.close()

    def _insist(self, kept: Kept | None, token: str, number: int) -> Kept | None:
        """Ask under one key until the shop says what became of it; returns the connection if it can be used again."""
        broken: list[tuple[datetime, datetime, str]] = []
        end = time.monotonic() + UNTIL_SECONDS_MAX
        while time.monotonic() < end:
            try:
                if kept is None:
                    kept = Kept(self._port)
                    kept.connection.connect()
            except OSError:
                # Nobody listens: the process is between two lives, and a proxy would ask another.
                kept = None
                time.sleep(0.05)
                continue
            asked_at = datetime.now(UTC)
            try:
                answer = kept.ask(
                    "POST",
                    self._path,
                    {"quantity": 1},
                    Authorization=f"Bearer {token}",
                    Idempotency_Key=f"n{number}",
                    **self._prefer,
                )
            except (OSError, http.client.HTTPException) as why:
                kept.connection.close()
                kept = None
                broken.append((asked_at, datetime.now(UTC), repr(why)))
                continue
            if answer.headers.get("connection") == "close":
                kept.connection.close()
                kept = None
            with self._lock:
                self.statuses[answer.status] += 1
                if answer.status in ACCEPTED:
                    ticket = answer.body["data"]["ticket"]
                    self.accepted.add(ticket)
                    self.broken += [(ticket, *each) for each in broken]
                    return kept
                if not (answer.status == 503 and "retry-after" in answer.headers):
                    self.wrong.append(answer)
                    return kept
            self._over.wait(int(answer.headers["retry-after"]))
            if self._over.is_set():
                return kept
        with self._lock:
            self.wrong.append(f"n{number} was never answered")
        return kept


class Listener:
    """A socket that has joined a sale, and comes back with `since` whenever it is closed."""

    def __init__(self, port: int, sale_id: int) -> None:
        self.available_units: int | None = None
        self.closed_with: Counter[int | None] = Counter()
        self.missed = 0
        self.errors: Counter[str] = Counter()
        self._url = f"ws://127.0.0.1:{port}/ws"
        self._join = {"flashSaleId": str(sale_id)}
        self._seq: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(UNTIL_SECONDS_MAX)
        assert not self._thread.is_alive()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                connection = websocket.create_connection(self._url, timeout=30)
            except (OSError, websocket.WebSocketException):
                self._over.wait(0.1)
                continue
            since = {} if self._seq is None else {"since": self._seq}
            try:
                connection.send(json.dumps({"event": "joinFlashSale", "data": self._join | since}))
                connection.settimeout(1)
                self._hear(connection)
            except (OSError, websocket.WebSocketException):
                self.closed_with[None] += 1
            finally:
                connection.close()
                self._over.wait(0.2)

    def _hear(self, connection: websocket.WebSocket) -> None:
        while not self._over.is_set():
            try:
                opcode, payload = connection.recv_data()
            except websocket.WebSocketTimeoutException:
                continue
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                self.closed_with[int.from_bytes(payload[:2]) if payload else None] += 1
                return
            told = json.loads(payload)
            data = told.get("data") or {}
            self._seq = max(self._seq or 0, data.get("seq") or 0) or self._seq
            self.missed += told["event"] == "eventsMissed"
            if told["event"] == "stockUpdate":
                self.available_units = data["availableUnits"]
            elif told["event"] == "error" and data["code"] != "RESTARTING":
                # It may not be joined; what is behind it may be away. Whoever is restarting closes by itself.
                self.errors[data["code"]] += 1
                return


def until(condition: Callable[[], object], instead: Callable[[], object] = lambda: None) -> None:
    """Wait for a condition; a failure shows what there was `instead`."""
    end = time.monotonic() + UNTIL_SECONDS_MAX
    while not condition():
        assert time.monotonic() < end, instead()
        time.sleep(0.1)
