"""`make check` finds weak spots and known vulnerabilities, and says so when nobody can be asked about the latter."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ops.ports import free_port

ROOT = Path(__file__).parents[2]
WEAK = "flask"


class Service(BaseHTTPRequestHandler):
    """A vulnerability service as api.osv.dev is one. It knows of a flaw in the packages that the server names."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        flaw = {
            "id": "TEST-2026-1",
            "summary": "a hole",
            "affected": [
                {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
                }
            ],
        }
        answer = json.dumps({"vulns": [flaw]} if name in self.server.weak else {}).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def service() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        server.weak = set()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def audit(port: int) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{port}/v1/query"
    command = [sys.executable, "-m", "ops.audit", "--vulnerability-service", "osv", "--osv-url", url]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_a_known_vulnerability_fails_and_is_named_with_the_version_that_mends_it(service: ThreadingHTTPServer) -> None:
    service.weak.add(WEAK)  # type: ignore[attr-defined]

    done = audit(service.server_port)

    assert done.returncode == 1
    assert f"vulnerable: {WEAK} " in done.stderr
    assert "TEST-2026-1, mended in 99" in done.stderr


def test_every_pinned_package_is_asked_about_and_without_a_finding_all_is_well(service: ThreadingHTTPServer) -> None:
    done = audit(service.server_port)

    assert done.returncode == 0
    assert "0 known vulnerabilities" in done.stdout
    assert "NOT AUDITED" not in done.stderr
    pinned = [line for line in (ROOT / "requirements" / "dev.txt").read_text().splitlines() if line[:1].isalnum()]
    assert int(done.stdout.split()[0]) > len(pinned) * 0.9  # some are for another system alone


def test_a_service_that_is_away_is_said_loudly_and_stops_nobody() -> None:
    done = audit(free_port())

    assert done.returncode == 0
    assert "NOT AUDITED" in done.stderr


def bandit(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bandit", "--quiet", "--configfile", "pyproject.toml", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_a_weak_spot_in_the_code_is_found(tmp_path: Path) -> None:
    weak = tmp_path / "weak.py"
    weak.write_text("import subprocess\n\nsubprocess.run('ls ' + input(), shell=True)\n")

    done = bandit(str(weak))

    assert done.returncode == 1
    assert "B602" in done.stdout


def test_every_excuse_says_which_check_it_means_and_why() -> None:
    places = [path for name in ("models", "web", "worker", "ops", "migrations") for path in (ROOT / name).rglob("*.py")]
    excuses = [line for path in places for line in path.read_text().splitlines() if "# nosec" in line]

    assert excuses
    for line in excuses:
        which, _, why = line.partition("# nosec")[2].partition(" # ")
        assert which.strip().startswith("B"), line
        assert len(why) > 5, line
