"""Every process that has a part in buying is asked to stop in the middle of a rush, one after the other."""

import http.client
import threading
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from models import rediskeys
from models.audit import audit_sale
from models.database import transaction
from models.purchase import Purchase
from models.redisclient import redis_client
from models.tokens import issue_access_token
from ops.throwaway_shop import throwaway_shop
from tests.stopping.conftest import Kept

BUYERS = 12
# More than can be bought while this runs: the line must not run dry.
UNITS = 1_000_000
RUSH_SECONDS_MAX = 120
ROLLING = ("worker", "chores", "beat", "web")


class Buyers:
    """Buyers on kept connections: they ask, are let in or refused, and come anew when the connection ends."""

    def __init__(self, port: int, sale_id: int, tokens: list[str]) -> None:
        self.accepted: set[int] = set()
        self.statuses: dict[int, int] = {}
        # A request that was sent, and whose connection then broke before a byte of the answer.
        self.broken: list[str] = []
        self.wrong: list[object] = []
        self._port = port
        self._sale_id = sale_id
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._buy, args=(token,)) for token in tokens]
        for thread in self._threads:
            thread.start()

    def wait_for(self, more: int) -> None:
        """Until so many more were let in."""
        before = len(self.accepted)
        _until(lambda: len(self.accepted) >= before + more)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _buy(self, token: str) -> None:
        kept = None
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                if kept is None:
                    kept = Kept(self._port)
                    kept.connection.connect()
            except OSError:
                # Nobody listens: the process is between two lives, and a proxy would ask another.
                kept = None
                time.sleep(0.05)
                continue
            kept = self._ask(kept, token, number)
        if kept is not None:
            kept.connection.close()

    def _ask(self, kept: Kept, token: str, number: int) -> Kept | None:
        """Ask once; returns the connection if it can be used again."""
        path = f"/api/flash-sales/{self._sale_id}/purchases"
        try:
            answer = kept.ask(
                "POST", path, {"quantity": 1}, Authorization=f"Bearer {token}", Idempotency_Key=f"n{number}"
            )
        except (OSError, http.client.HTTPException) as why:
            kept.connection.close()
            with self._lock:
                self.broken.append(repr(why))
            return None
        with self._lock:
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            if answer.status == 202:
                self.accepted.add(answer.body["data"]["ticket"])
            elif answer.status >= 500 and not (answer.status == 503 and "retry-after" in answer.headers):
                self.wrong.append(answer)
        if answer.headers.get("connection") == "close":
            kept.connection.close()
            return None
        return kept


@pytest.mark.timeout(400)
def test_a_rolling_stop_loses_nothing_and_breaks_no_request_in_hand(make_sale, make_user, tmp_path, monkeypatch):
    for limit in ("RATE_LIMIT_PURCHASE", "RATE_LIMIT_ADDRESS", "RATE_LIMIT_DEFAULT"):
        monkeypatch.setenv(limit, "1000000/minute")
    monkeypatch.setenv("VELOCITY_ACCOUNTS_FLAG", "0")
    monkeypatch.setenv("METRICS_DIR", str(tmp_path / "metrics"))
    sale = make_sale(total_stock=UNITS)
    users = [make_user() for _ in range(BUYERS)]
    tokens = [issue_access_token(user.id, user.role) for user in users]
    with throwaway_shop(tmp_path) as shop:
        buyers = Buyers(shop.port, sale.id, tokens)
        for name in ROLLING:
            buyers.wait_for(20)
            shop.stop_process(name)
            shop.start_process(name)
        buyers.wait_for(20)
        buyers.stop()
        _until(lambda: not redis_client().xlen(rediskeys.mailbox(sale.id)))

        assert buyers.wrong == []
        assert buyers.broken == []
        assert buyers.accepted <= _tickets(sale.id)
        assert audit_sale(sale.id).agrees
        # Both lives of the worker have counted, and web tells for them.
        assert _counted(shop.url, "doorbuster_settled_total") == len(_tickets(sale.id))


def _tickets(sale_id: int) -> set[int]:
    with transaction() as session:
        return {ticket for (ticket,) in session.query(Purchase.ticket).filter_by(sale_id=sale_id)}


def _counted(url: str, name: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310 - our own address
        families = text_string_to_metric_families(answer.read().decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def _until(condition) -> None:
    end = time.monotonic() + RUSH_SECONDS_MAX
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
