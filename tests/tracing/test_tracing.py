"""One purchase, followed from the POST through the line to its buyer: real processes, and a real collector."""

import json
import socket
import time
import urllib.request
from collections.abc import Iterator

import pytest
import websocket

from models.settings import settings
from models.tokens import issue_access_token
from ops.throwaway_shop import ThrowawayShop, throwaway_shop
from tests.tracing.conftest import Collector, eventually, new_trace

NS_PER_MS = 1_000_000
WAY = ("accept", "gate", "wait", "settle", "announce", "deliver")


@pytest.fixture(scope="module")
def traced(servers, tmp_path_factory) -> Iterator[tuple[ThrowawayShop, Collector]]:
    """A shop that traces whoever asks for it and nobody else, and its collector."""
    collector = Collector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("TRACES_SHARE", "0")
        patch.setenv("LOG_LEVEL", "INFO")
        patch.setenv("LOG_JSON", "true")
        settings.cache_clear()
        with throwaway_shop(tmp_path_factory.mktemp("shop")) as shop:
            yield shop, collector
    settings.cache_clear()
    collector.close()


@pytest.fixture
def shop(store, traced) -> ThrowawayShop:
    return traced[0]


@pytest.fixture
def collector(traced) -> Collector:
    return traced[1]


def buy(shop: ThrowawayShop, sale_id: int, token: str, **headers: str) -> tuple[int, dict]:
    """One pair for whoever the token is, and what was answered."""
    question = urllib.request.Request(  # noqa: S310 - our own shop
        f"{shop.url}/api/flash-sales/{sale_id}/purchases",
        data=b'{"quantity": 1}',
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"} | headers,
    )
    with urllib.request.urlopen(question, timeout=60) as answer:  # noqa: S310 - our own shop
        return answer.status, json.load(answer)["data"]


def test_one_trace_goes_from_the_post_through_the_line_to_the_socket(shop, collector, make_sale):
    sale, token = make_sale(), issue_access_token(1, "customer")
    listener = websocket.create_connection(
        f"ws://127.0.0.1:{shop.live_port}/ws", timeout=60, header=[f"Authorization: Bearer {token}"]
    )
    listener.send(json.dumps({"event": "joinFlashSale", "data": {"flashSaleId": str(sale.id)}}))
    assert json.loads(listener.recv())["event"] == "stockUpdate"
    trace, header = new_trace()

    status, purchase = buy(shop, sale.id, token, traceparent=header)
    frames = [json.loads(listener.recv())]
    while frames[-1]["event"] != "purchaseSettled":
        frames.append(json.loads(listener.recv()))
    listener.close()

    assert status == 202
    spans = collector.wait_for(trace, *WAY)
    assert {name: span.service.removeprefix("doorbuster-") for name, span in spans.items()} == {
        "accept": "web",
        "gate": "web",
        "wait": "worker",
        "settle": "worker",
        "announce": "worker",
        "deliver": "live",
    }
    parents = {name: next((n for n, s in spans.items() if s.id == span.parent), None) for name, span in spans.items()}
    assert parents == {
        "accept": None,
        "gate": "accept",
        "wait": "gate",
        "settle": "gate",
        "announce": "settle",
        "deliver": "announce",
    }
    assert spans["accept"].parent == header.split("-")[2], "below the client's own span"
    # The gate's time is told in whole milliseconds.
    assert spans["wait"].start_ns + NS_PER_MS >= spans["gate"].start_ns
    later = [spans[name].start_ns for name in ("accept", "gate", "settle", "announce", "deliver")]
    assert later == sorted(later)
    assert spans["wait"].end_ns == spans["settle"].start_ns
    assert spans["settle"].attributes["doorbuster.outcome"] == "confirmed"
    assert spans["deliver"].attributes == {"doorbuster.purchase": purchase["purchaseId"], "doorbuster.way": "socket"}
    assert trace not in json.dumps(frames), "a trace is none of a client's business"
    assert "trace" not in frames[-1]["data"]


def test_a_batch_has_a_span_that_links_to_each_traced_purchase_in_it(shop, collector, make_sale):
    sale = make_sale()
    trace, header = new_trace()

    buy(shop, sale.id, issue_access_token(1, "customer"), traceparent=header)

    settle = collector.wait_for(trace, "settle")["settle"]
    eventually(lambda: any((trace, settle.id) in span.links for span in collector.spans), lambda: "no link")
    batch = next(span for span in collector.spans if (trace, settle.id) in span.links)
    assert batch.name == "settle batch"
    assert batch.trace != trace
    assert batch.attributes == {"doorbuster.sale": str(sale.id), "doorbuster.requests": "1"}


def test_who_waits_over_http_is_delivered_to_in_the_same_trace(shop, collector, make_sale):
    sale = make_sale()
    trace, header = new_trace()

    status, _ = buy(shop, sale.id, issue_access_token(1, "customer"), traceparent=header, Prefer="wait=20")

    assert status == 201
    spans = collector.wait_for(trace, *WAY)
    assert spans["deliver"].service == "doorbuster-web"
    assert spans["deliver"].attributes["doorbuster.way"] == "http"
    assert spans["deliver"].end_ns <= spans["accept"].end_ns
    assert spans["accept"].attributes["http.response.status_code"] == "201"


def test_the_lines_of_a_traced_purchase_name_its_trace(shop, collector, make_sale):
    sale = make_sale()
    trace, header = new_trace()
    buy(shop, sale.id, issue_access_token(1, "customer"), traceparent=header)
    collector.wait_for(trace, "accept", "settle")

    def events(name: str) -> set[str]:
        lines = [line for line in shop.log(name).splitlines() if trace in line]
        return {json.loads(line)["event"] for line in lines}

    eventually(lambda: "request" in events("web"), lambda: shop.log("web")[-2_000:])
    eventually(lambda: "settle.traced" in events("worker"), lambda: shop.log("worker")[-2_000:])


@pytest.mark.parametrize(
    "header", [None, new_trace(sampled=False)[1], "00-nonsense-01"], ids=["without", "not sampled", "nonsense"]
)
def test_who_does_not_ask_to_be_traced_is_not(shop, collector, make_sale, header):
    sale = make_sale()
    began_ns = time.time_ns()
    token = issue_access_token(1, "customer")
    buy(shop, sale.id, token, Prefer="wait=20", **({"traceparent": header} if header else {}))

    # Whoever asks after them is the proof that everything of theirs would have come by now.
    trace, asked = new_trace()
    buy(shop, sale.id, token, Prefer="wait=20", traceparent=asked)
    collector.wait_for(trace, *WAY)

    spans = [span for span in collector.spans if span.start_ns >= began_ns and span.name != "settle batch"]
    assert {span.trace for span in spans} == {trace}


def test_without_a_collector_nothing_is_lost_but_traces(shop, collector, make_sale):
    sale = make_sale()
    collector.close()
    # Somebody who takes connections and never says a word is worse than nobody.
    with socket.create_server(("127.0.0.1", collector.port)):
        answers = [
            buy(shop, sale.id, issue_access_token(n, "customer"), traceparent=new_trace()[1], Prefer="wait=20")
            for n in range(1, 11)
        ]

    assert {(status, purchase["status"]) for status, purchase in answers} == {(201, "confirmed")}
    back = Collector(collector.port)
    try:
        # Batches that nobody took are given up after a while; what comes then is told again.
        def comes_again() -> bool:
            buy(shop, sale.id, issue_access_token(99, "customer"), traceparent=new_trace()[1], Prefer="wait=20")
            return bool(back.spans)

        eventually(comes_again, lambda: "nothing came after the collector was back")
    finally:
        back.close()
