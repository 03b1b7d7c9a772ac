"""A worker that stalls while it tells PostgreSQL what became of a batch, and lets go of the sale all the same."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress

import psycopg
import pytest
from sqlalchemy import NullPool, func, select, text
from sqlalchemy.orm import Session

from models import batch
from models.audit import audit_sale
from models.connections import new_engine
from models.database import transaction
from models.gate import admit
from models.purchase import Kind, Purchase
from models.sale_rules import lock_sale
from models.settle import settle_turn
from ops.ports import LOOPBACK

BATCH = 300
# Both of PostgreSQL's bounds that could put a sleeper out: not so short that they put out who is merely slow.
BOUND_MS = 3_000
# How long the next one waits for the sale on a busy machine, at most.
LOCK_MS = 60_000
KEPT_MS = 2 * BOUND_MS
PATIENCE_SECONDS = 60


class Relay:
    """Passes on what a client says until so many bytes after a word, and then nothing: as if the client slept."""

    def __init__(self, port: int, word: bytes, more: int) -> None:
        self.is_asleep = threading.Event()
        self._word, self._more = word, more
        self._listener = socket.create_server((LOOPBACK, 0))
        self._sockets = [self._listener]
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, args=(port,), daemon=True)]
        self._threads[0].start()

    def _serve(self, port: int) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            server = socket.create_connection((LOOPBACK, port))
            self._sockets += [client, server]
            self._threads.append(threading.Thread(target=_pass_on, args=(server, client), daemon=True))
            self._threads[-1].start()
            said = b""
            while chunk := client.recv(65_536):
                passed, said = len(said), said + chunk
                end = said.find(self._word) + self._more if self._word in said else len(said)
                server.sendall(said[passed:end])
                if end < len(said):
                    self.is_asleep.set()
                    return

    def close(self) -> None:
        """Both sides hear that the other is gone."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)


def _pass_on(server: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while chunk := server.recv(65_536):
            client.sendall(chunk)


@contextmanager
def asleep(servers, act: Callable[[Session], object], word: bytes, more: int) -> Iterator[None]:
    """Somebody in the middle of a transaction, who said so many bytes after this word and sleeps until the end."""
    relay = Relay(servers.postgres.port, word, more)
    engine = new_engine(
        servers.postgres.url.replace(f":{servers.postgres.port}/", f":{relay.port}/"),
        bounds={"statement_timeout": BOUND_MS, "idle_in_transaction_session_timeout": BOUND_MS},
        connect_seconds=10,
        # Who sleeps keeps no time of their own.
        connection_class=psycopg.Connection,
        poolclass=NullPool,
    )

    def run() -> None:
        with suppress(Exception), Session(engine, expire_on_commit=False) as session, session.begin():
            act(session)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert relay.is_asleep.wait(PATIENCE_SECONDS), "it has said all that it had to say"
        yield
    finally:
        relay.close()
        thread.join(PATIENCE_SECONDS)


def can_be_had(servers, sale_id: int, within_ms: int) -> bool:
    """Whether somebody else gets the sale's lock in so many milliseconds."""
    with psycopg.connect(servers.postgres.url, options=f"-c lock_timeout={within_ms}") as connection:
        try:
            connection.execute("SELECT 1 FROM flash_sales WHERE id = %s FOR UPDATE", (sale_id,))
        except psycopg.errors.LockNotAvailable:
            return False
        return True


@pytest.mark.parametrize("more", [2_000, 15_000])
def test_whoever_stalls_between_two_outcomes_is_put_out_and_the_next_one_settles_them(
    make_sale, servers, monkeypatch, more
):
    sale = make_sale(total_stock=100)
    for buyer in range(1, BATCH + 1):
        admit(sale.id, buyer, Kind.PURCHASE, 1, idempotency_key=f"a key of buyer {buyer}")

    def settle_asleep(session: Session) -> None:
        monkeypatch.setattr(batch, "transaction", lambda: nullcontext(session))
        settle_turn(sale.id, batches=1, batch_max=BATCH)

    with asleep(servers, settle_asleep, b"purchases (sale_id", more):
        monkeypatch.undo()
        assert can_be_had(servers, sale.id, LOCK_MS)
        settle_turn(sale.id, batches=1, batch_max=BATCH)

    with transaction() as session:
        assert session.scalar(select(func.count()).select_from(Purchase)) == BATCH
    assert audit_sale(sale.id).agrees


def test_whoever_stalls_in_a_copy_is_put_out_by_nobody(make_sale, servers):
    """The control, and why outcomes are not copied."""
    sale = make_sale()

    def copy(session: Session) -> None:
        lock_sale(session, sale.id)
        session.execute(text("CREATE TEMPORARY TABLE copied (words text)"))
        connection = session.connection().connection.driver_connection
        with connection.cursor() as cursor, cursor.copy("COPY copied (words) FROM STDIN") as rows:
            for number in range(1_000):
                rows.write_row((f"row {number} " + "x" * 100,))

    with asleep(servers, copy, b"row 0", 8_000):
        assert not can_be_had(servers, sale.id, KEPT_MS)

    assert can_be_had(servers, sale.id, LOCK_MS)
