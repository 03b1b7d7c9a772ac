"""Reference 002, its first section: the setup of the server."""

import subprocess
import sys
from pathlib import Path

from tests.reference.conftest import ROOT


def test_there_are_rest_apis_to_manage_the_event_and_to_purchase(shop):
    paths = shop.call("GET", "/api/openapi.json").body["paths"]

    assert {"get", "post"} <= set(paths["/api/flash-sales"])
    assert {"get", "patch", "delete"} <= set(paths["/api/flash-sales/{sale_id}"])
    assert "post" in paths["/api/flash-sales/{sale_id}/purchases"]


def test_it_is_connected_to_its_database_and_says_so(shop):
    checks = shop.call("GET", "/readyz").body["data"]["checks"]

    assert set(checks.values()) == {"up"}


def test_the_structure_keeps_rules_apart_from_transport():
    program = Path(sys.executable).with_name("lint-imports")

    checked = subprocess.run([sys.executable, str(program)], cwd=ROOT, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout
