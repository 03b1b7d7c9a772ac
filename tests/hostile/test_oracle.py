"""The controls of the noise: what is wrong is noticed, or every course would end well."""

import signal
import subprocess
import sys
import time

import pytest

from tests.hostile.oracle import MIB, Answer, Growth, Noted, Watch, judge

ENVELOPE = b'{"success": false, "message": "No", "error": "No", "code": "NO", "errors": [], "statusCode": %d}'
OURS = {"x-request-id": "abcdefgh"}


def wrong(status, body, headers=OURS, method="GET", target="/api/products"):
    return judge(method, target, Answer(status, headers, body))


@pytest.mark.parametrize(
    "answer",
    [
        (500, ENVELOPE % 500),
        (502, ENVELOPE % 502),
        (503, ENVELOPE % 503),
        (404, b"<h1>Not Found</h1>"),
        (404, b""),
        (404, b"[]"),
        (404, ENVELOPE % 400),
        (404, b'{"success": true, "message": "No", "code": "NO", "statusCode": 404}'),
        (404, b'{"success": false, "message": "No", "statusCode": 404}'),
        (400, (ENVELOPE % 400).replace(b"NO", b"psycopg.errors.UndefinedTable")),
        (200, b"Traceback (most recent call last):"),
        (500, b"", {}),
        (200, b"", {}),
    ],
)
def test_an_answer_that_may_not_be_is_noticed(answer):
    assert wrong(*answer)


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"[]"),
        (404, ENVELOPE % 404),
        (503, ENVELOPE % 503, OURS | {"retry-after": "1"}),
        (404, b"", OURS, "HEAD"),
        (404, b"<h1>Not found</h1>", OURS, "GET", "/nowhere"),
        (400, b"", {}),
        (431, b"", {}),
    ],
)
def test_an_answer_that_may_be_is_not(answer):
    assert not wrong(*answer)


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait(60)


def test_a_process_that_died_is_noticed(sleeper):
    watch = Watch({"sleeper": sleeper.pid})
    assert not watch.died()

    sleeper.send_signal(signal.SIGKILL)
    sleeper.wait(60)

    assert watch.died() == [f"sleeper (pid {sleeper.pid}) died"]


def test_a_child_that_died_and_was_replaced_is_noticed_twice():
    child = "[sys.executable, '-c', 'import time; time.sleep(600)']"
    code = f"import subprocess, sys\nwhile True: subprocess.run({child})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + 30
        watch = Watch({"parent": parent.pid})
        while len(watch._seen) < 2 and time.monotonic() < end:
            watch = Watch({"parent": parent.pid})
        child = next(process for name, process in watch._seen.values() if name != "parent")

        child.kill()
        while len(watch.died()) < 2 and time.monotonic() < end:
            time.sleep(0.1)

        assert [each.rpartition(" ")[2] for each in watch.died()] == ["died", "new"]
    finally:
        for _, process in Watch({"parent": parent.pid})._seen.values():
            process.kill()
        parent.wait(60)


def test_growth_is_noticed_and_a_cache_that_fills_is_not():
    assert Growth("web", 100 * MIB, 185 * MIB).is_flat
    assert not Growth("web", 100 * MIB, 195 * MIB).is_flat


def test_a_complaint_names_its_case_and_is_counted():
    noted = Noted()
    noted.count("http", "500")

    noted.complain("http", "GET /x", ["500"])

    assert (noted.total, noted.complaints) == (1, ["http: 500; after 'GET /x'"])
