"""Clicks too many, networks that are cut, pages that are left: a request counts once, and nobody is told off."""

import psutil
from playwright.sync_api import expect

from tests.browser.conftest import OFFLINE, button, purchases_in, sees


def test_a_double_click_buys_once(buyer, make_sale):
    sale = make_sale()
    ann = buyer(f"/sales/{sale.id}")

    button(ann, "Buy").dblclick()
    sees(ann, "Confirmed")
    sees(ann, "199 left")

    assert purchases_in(sale) == 1


# What keeps the clicks of one intent together, and the page without it.
GUARDS = {
    "buying.js": (("if (this.intent) {", "if (false) {"),),
    "sale.js": (
        ("if (isResting(button)) {", "if (false) {"),
        ("event.detail > 1 && ", "false && "),
    ),
}


def test_without_one_intent_for_its_clicks_a_double_click_buys_twice(buyer, make_sale):
    """The control of the two tests around this one: a real double click, on a page without the guards."""
    sale = make_sale()
    ann = buyer("/")

    def unguarded(route):
        script = route.fetch().text()
        for guard, nothing in GUARDS[route.request.url.rpartition("/")[2]]:
            assert script.count(guard) == 1, guard
            script = script.replace(guard, nothing)
        route.fulfill(body=script, content_type="text/javascript")

    for name in GUARDS:
        ann.page.route(f"**/js/{name}", unguarded)
    ann.open(f"/sales/{sale.id}")
    button(ann, "Buy").dblclick()

    sees(ann, "198 left")
    assert purchases_in(sale) == 2


SEND = """async ([path, key]) => {
    const csrf = document.cookie.match(/doorbuster_csrf=([^;]*)/)[1];
    const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf };
    Object.assign(headers, key && { "Idempotency-Key": key });
    const send = () => fetch(path, { method: "POST", headers, body: JSON.stringify({ quantity: 1 }) });
    return (await Promise.all([send(), send()])).map((answer) => answer.status);
}"""


def test_a_request_that_is_sent_twice_counts_once_by_its_key_and_twice_without(buyer, make_sale):
    sale = make_sale()
    ann = buyer(f"/sales/{sale.id}")
    path = f"/api/flash-sales/{sale.id}/purchases"

    assert ann.page.evaluate(SEND, [path, "one-intent-of-anns"]) == [202, 202]
    sees(ann, "199 left")
    assert purchases_in(sale) == 1

    assert ann.page.evaluate(SEND, [path, None]) == [202, 202]
    sees(ann, "197 left")
    assert purchases_in(sale) == 3


def test_clicks_as_fast_as_a_machine_can_make_them_buy_once(buyer, make_sale, worker_is_away):
    sale = make_sale()
    ann = buyer(f"/sales/{sale.id}")

    ann.page.evaluate(
        "() => { const b = document.querySelector('[value=purchase]'); for (let i = 0; i < 20; i++) b.click(); }"
    )
    sees(ann, "In line")
    worker_is_away()
    sees(ann, "Confirmed")

    assert purchases_in(sale) == 1


def test_a_reload_in_the_middle_goes_on_with_the_same_request(buyer, make_sale, worker_is_away):
    sale = make_sale()
    ann = buyer(f"/sales/{sale.id}")
    button(ann, "Buy").click()
    sees(ann, "You are next")

    ann.page.reload()
    sees(ann, "You are next")
    worker_is_away()

    sees(ann, "Confirmed")
    assert purchases_in(sale) == 1
    ann.page.reload()
    sees(ann, "Confirmed")
    assert ann.page.evaluate("sessionStorage.length") == 0
    assert purchases_in(sale) == 1


def test_a_reload_before_the_answer_came_sends_the_same_key_again(buyer, make_sale):
    sale = make_sale()
    ann = buyer(f"/sales/{sale.id}")
    path = "**/api/flash-sales/*/purchases"
    keys = []

    def lose_the_answer(route):
        keys.append(route.request.headers["idempotency-key"])
        route.fetch()
        route.abort()

    ann.page.route(path, lose_the_answer)
    button(ann, "Buy").click()
    sees(ann, "No answer yet")
    ann.page.unroute(path)
    ann.page.on("request", lambda asked: keys.append(asked.headers.get("idempotency-key")))
    ann.page.reload()

    sees(ann, "Confirmed")
    assert len(set(filter(None, keys))) == 1
    assert purchases_in(sale) == 1
    ann.is_allowed("ERR_FAILED")


def test_a_cut_network_is_said_and_what_happened_meanwhile_is_made_up_for(buyer, make_sale, worker_is_away):
    sale = make_sale()
    ann, bo = buyer(f"/sales/{sale.id}"), buyer(f"/sales/{sale.id}")
    button(ann, "Buy").click()
    sees(ann, "You are next")

    ann.context.set_offline(True)
    expect(ann.page.get_by_text("No connection.")).to_be_visible()
    worker_is_away()
    button(bo, "Buy").click()
    sees(bo, "Confirmed")
    sees(ann, "In line")
    ann.context.set_offline(False)

    sees(ann, "Confirmed")
    sees(ann, "198 left")
    expect(ann.page.get_by_text("No connection.")).to_be_hidden()
    ann.is_allowed(OFFLINE)


def test_a_request_that_is_made_without_a_network_is_sent_when_it_is_back(buyer, make_sale):
    sale = make_sale()
    ann = buyer(f"/sales/{sale.id}")
    sees(ann, "200 left")

    ann.context.set_offline(True)
    button(ann, "Buy").click()
    sees(ann, "No answer yet")
    ann.context.set_offline(False)

    sees(ann, "Confirmed")
    assert purchases_in(sale) == 1
    ann.is_allowed(OFFLINE)


def test_a_live_process_that_dies_and_comes_back_is_missed_for_a_moment(buyer, make_sale, shop):
    sale = make_sale()
    ann, bo = buyer(f"/sales/{sale.id}"), buyer(f"/sales/{sale.id}")
    for visitor in (ann, bo):
        sees(visitor, "200 left")
        visitor.page.wait_for_load_state("networkidle")

    shop.stop_process("live")
    expect(ann.page.locator("#connection")).to_be_visible()
    button(bo, "Buy").click()
    sees(bo, "Confirmed")
    sees(ann, "199 left")
    shop.start_process("live")

    expect(ann.page.locator("#connection")).to_be_hidden(timeout=180_000)
    button(ann, "Buy").click()
    sees(bo, "198 left")
    for visitor in (ann, bo):
        visitor.is_allowed(r"WebSocket connection|ERR_CONNECTION_REFUSED")


def test_without_websockets_everything_works_by_asking(buyer, make_sale, worker_is_away):
    sale = make_sale()
    ann, bo = buyer("/"), buyer(f"/sales/{sale.id}")
    ann.context.add_init_script("delete window.WebSocket")
    ann.open(f"/sales/{sale.id}")

    button(ann, "Buy").click()
    sees(ann, "You are next")
    button(bo, "Buy").click()
    sees(bo, "1 ahead of you")
    worker_is_away()

    sees(ann, "Confirmed")
    sees(ann, "198 left")
    button(ann, "Reserve").click()
    sees(ann, "Reserved")
    button(ann, "Check out").click()
    expect(ann.page.get_by_text("Confirmed", exact=True)).to_have_count(2)


def test_whoever_leaves_before_the_socket_is_open_leaves_without_a_complaint(visit, shop, make_sale):
    sale = make_sale()
    ann = visit()
    # The page would give the socket up after eight seconds, and is told off for that with reason.
    ann.page.add_init_script(
        "const later = window.setTimeout; window.setTimeout = (act, ms) => (ms >= 8000 ? 0 : later(act, ms));"
    )
    main = psutil.Process(shop.pid("live"))
    frozen = [main, *main.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        with ann.page.expect_websocket():
            ann.open(f"/sales/{sale.id}")
        ann.page.reload()
    finally:
        for process in frozen:
            process.resume()

    # The console is heard in its order: what the page that was left has said came before this.
    with ann.page.expect_console_message(lambda message: message.text == "the last word"):
        ann.page.evaluate("console.info('the last word')")
    assert ann.wrong == []


# From the click on "Log out" on, the live feed begins anew again and again, as it does when a network comes back; after
# each time the page asks for its health, so that one can tell when it would have been heard.
RESTLESS = """addEventListener("submit", () => setInterval(() => {
    dispatchEvent(new Event("online"));
    setTimeout(() => fetch("/healthz"));
}, 50));
// What is on its way ends with the log-out or not at all.
AbortSignal.timeout = () => new AbortController().signal;
"""


def test_from_the_click_on_log_out_a_page_asks_nothing_more(buyer, make_sale):
    """The answer takes its time; the session is over on the server by then, and each question would be refused."""
    sale = make_sale()
    ann = buyer("/")
    ann.page.add_init_script(RESTLESS)
    ann.page.route("**/api/ws-tickets", lambda _: None)
    answers, asked = [], []
    ann.page.route("**/session/logout", lambda route: answers.append((route, route.fetch(max_redirects=0))))
    with ann.page.expect_request("**/api/ws-tickets"):
        ann.open(f"/sales/{sale.id}")

    with ann.page.expect_event("requestfailed", lambda request: request.url.endswith("/api/ws-tickets")):
        button(ann, "Log out").click(no_wait_after=True)
    ann.page.on("request", lambda request: request.is_navigation_request() or asked.append(request.url))
    with ann.page.expect_event("request", lambda _: answers and len(asked) > 5):
        pass

    assert set(asked) == {f"{ann.shop.url}/healthz"}
    route, answer = answers[0]
    route.fulfill(response=answer)
    expect(ann.page.get_by_role("link", name="Log in")).to_be_visible()


def test_whoever_stops_the_browser_on_the_way_out_is_served_again(buyer, make_sale):
    sale = make_sale()
    ann = buyer("/")
    ann.page.clock.install()
    # To the page it is the same as the visitor's Escape.
    ann.page.route("**/session/logout", lambda route: route.abort("aborted"))
    ann.open(f"/sales/{sale.id}")
    sees(ann, "200 left")

    with ann.page.expect_event("requestfailed", lambda request: request.url.endswith("/session/logout")):
        button(ann, "Log out").click(no_wait_after=True)
    button(ann, "Buy").click()
    sees(ann, "Sending")
    ann.page.clock.fast_forward(20_000)

    sees(ann, "Confirmed")
    assert purchases_in(sale) == 1
