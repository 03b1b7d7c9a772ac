"""Every process is asked to stop in the middle of a rush and started again, one after the other, the servers too."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from models import rediskeys
from models.audit import audit_sale
from models.database import transaction
from models.purchase import Purchase
from models.redisclient import redis_client
from models.sale import FlashSale
from models.tokens import issue_access_token
from ops.throwaway_shop import throwaway_shop
from tests.stopping.rush import SERVICE_RESTART, Buyers, Listener, until

pytestmark = pytest.mark.long

BUYERS = 10
LONG_POLLERS = 3
LISTENERS = 2
# More than can be bought while this runs: the line must not run dry.
UNITS = 1_000_000
ROLLING = ("worker", "chores", "beat", "flower", "web", "live", "redis", "postgres")
# One who is sent away comes back a second later, as it was told, and a process leaves for a second and a half; the rest
# is for machines that are slow, and for as long as Redis is away.
REFUSALS_MAX = 30


@pytest.mark.timeout(900)
def test_a_rolling_restart_loses_nothing_and_breaks_no_request_in_hand(
    store, make_sale, make_user, tmp_path, monkeypatch
):
    for limit in ("RATE_LIMIT_PURCHASE", "RATE_LIMIT_ADDRESS", "RATE_LIMIT_DEFAULT"):
        monkeypatch.setenv(limit, "1000000/minute")
    monkeypatch.setenv("VELOCITY_ACCOUNTS_FLAG", "0")
    monkeypatch.setenv("METRICS_DIR", str(tmp_path / "metrics"))
    sale = make_sale(total_stock=UNITS)
    users = [make_user() for _ in range(BUYERS + LONG_POLLERS)]
    tokens = [issue_access_token(user.id, user.role) for user in users]
    servers = {"redis": store.valkey, "postgres": store.postgres}
    with throwaway_shop(tmp_path, flower=True) as shop:
        on_web = Buyers(shop.port, sale.id, tokens[:BUYERS])
        on_live = Buyers(shop.live_port, sale.id, tokens[BUYERS:], prefer="wait=10")
        listeners = [Listener(shop.live_port, sale.id) for _ in range(LISTENERS)]
        for name in ROLLING:
            on_web.wait_for(20)
            on_live.wait_for(3)
            if name in servers:
                servers[name].stop()
                servers[name].start()
            else:
                shop.stop_process(name)
                shop.start_process(name)
        on_web.wait_for(20)
        on_live.wait_for(3)
        shop.wait_until_ready()
        for buyers in (on_web, on_live):
            buyers.stop()
        until(lambda: not redis_client().xlen(rediskeys.mailbox(sale.id)))

        settled = _settled(sale.id)
        for buyers in (on_web, on_live):
            assert buyers.wrong == []
            assert buyers.accepted <= settled.keys()
            # A connection may end before anybody read what was sent into it. What was read, and taken, is answered.
            assert [each for each in buyers.broken if each[1] <= settled[each[0]] < each[2]] == []
            assert buyers.statuses[503] <= REFUSALS_MAX * (BUYERS + LONG_POLLERS)
        assert audit_sale(sale.id).agrees
        remaining = _remaining(sale.id)
        until(
            lambda: all(listener.available_units == remaining for listener in listeners),
            lambda: (remaining, [vars(listener) for listener in listeners]),
        )
        for listener in listeners:
            listener.stop()
        assert all(SERVICE_RESTART in listener.closed_with for listener in listeners)
        # Both lives of the worker have counted, and web tells for them.
        assert _counted(shop.url, "doorbuster_settled_total") == len(settled)


def _settled(sale_id: int) -> dict[int, object]:
    """When each ticket was admitted."""
    with transaction() as session:
        rows = session.query(Purchase.ticket, Purchase.admitted_at).filter_by(sale_id=sale_id)
        return {row.ticket: row.admitted_at for row in rows}


def _remaining(sale_id: int) -> int:
    with transaction() as session:
        return session.get_one(FlashSale, sale_id).remaining


def _counted(url: str, name: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310 - our own address
        families = text_string_to_metric_families(answer.read().decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)
