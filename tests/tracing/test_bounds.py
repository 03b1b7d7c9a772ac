"""What is off costs nothing, and what is on has its bounds."""

import os
import subprocess
import sys
from pathlib import Path

from models import rediskeys
from models.gate import admit
from models.mailbox import read
from models.purchase import Kind
from models.redisclient import redis_client
from tests.tracing.conftest import new_trace
from web.traces import Allowance

ROOT = Path(__file__).parents[2]

SELL_ONE = """
import sys
if sys.argv[1] == "without": sys.modules["opentelemetry"] = None
from models.redisclient import redis_client
from models.rediskeys import mailbox
from models.settle import settle_turn
from models.tokens import issue_access_token
from web.app import create_app
sale_id = int(sys.argv[2])
app = create_app()
headers = {"Authorization": "Bearer " + issue_access_token(1, "customer"), "traceparent": sys.argv[3]}
answer = app.test_client().post(f"/api/flash-sales/{sale_id}/purchases", json={"quantity": 1}, headers=headers)
assert answer.status_code == 202, answer.text
[(_, entry)] = redis_client().xrange(mailbox(sale_id))
assert settle_turn(sale_id).confirmed == 1
hooks = [hook.__module__ for hook in [*app.before_request_funcs[None], *app.after_request_funcs[None]]]
print(",".join(entry), "web.traces" in hooks)
"""


def sell_one(how: str, sale_id: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """Of a process that does all of it: the fields of the entry in the mailbox, and whether requests met a hook."""
    return subprocess.run(
        [sys.executable, "-c", SELL_ONE, how, str(sale_id), new_trace()[1]],
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_what_is_off_costs_nothing_no_import_no_hook_no_field(store, make_sale):
    off = sell_one("without", make_sale().id)

    assert (off.stdout.split(), off.stderr) == (["u,k,q,n,t", "False"], "")


def test_what_is_on_is_sampled_and_says_what_it_misses(store, make_sale):
    """The control of the above: the same process, with a place to send traces to."""
    nowhere = "http://127.0.0.1:9"

    on = sell_one("with", make_sale().id, OTEL_EXPORTER_OTLP_ENDPOINT=nowhere)
    bare = sell_one("without", make_sale().id, OTEL_EXPORTER_OTLP_ENDPOINT=nowhere)

    assert on.stdout.split() == ["u,k,q,n,t,x", "True"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: needs what requirements/traces.txt installs" in bare.stderr


def test_a_place_in_a_trace_that_is_none_delays_nobody(store, make_sale):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    [(_, entry)] = redis_client().xrange(rediskeys.mailbox(sale.id))
    redis_client().xadd(rediskeys.mailbox(sale.id), entry | {"x": "\x00" * 10_000}, id="0-2")

    assert [request.malformed for request in read(sale.id, 10)] == [False, False]


def test_a_process_begins_only_so_many_traces_a_second():
    allowance = Allowance(per_second=5)

    assert [allowance.take() for _ in range(6)].count(True) in (5, 6)  # the sixth, if a fifth of a second has passed
    assert not all(allowance.take() for _ in range(1_000))
