"""The doctor's figures are those that were measured, and where nobody measured, a default that says so."""

import json
import re
from pathlib import Path

import pytest

from models.doctor import measured
from models.doctor.measured import BENCHMARKS, answers_per_web_process, sockets_per_live_process


def rows(file: str, unit: str) -> dict[str, float]:
    tables = json.loads((BENCHMARKS / file).read_text())["tables"]
    return {row["name"]: row["median"] for table in tables if table["unit"] == unit for row in table["rows"]}


def test_the_figures_are_those_of_the_benchmarks() -> None:
    answers, sockets = answers_per_web_process(), sockets_per_live_process()

    accepted = rows("accept.json", "requests a second")["POST …/purchases, 2 processes"]
    assert answers.value == accepted / 2
    assert "5,000 sockets: 99 %" in rows("fanout.json", "milliseconds")
    assert sockets.value == 5_000 / 2, "two processes had them between them"
    for figure in (answers, sockets):
        assert figure.origin.startswith("measured 20")
        assert " cores of " in figure.origin


def test_another_machine_has_figures_of_its_own(tmp_path: Path) -> None:
    for name in ("accept", "fanout"):
        told = json.loads((BENCHMARKS / f"{name}.json").read_text())
        for table in told["tables"]:
            for row in table["rows"]:
                if row["name"] == "POST …/purchases, 2 processes" and table["unit"] == "requests a second":
                    row["median"] = 9_000
                row["name"] = re.sub(r"[\d,]+ sockets", "7,500 sockets", row["name"])
        (tmp_path / f"{name}.json").write_text(json.dumps(told))

    assert answers_per_web_process(tmp_path).value == 4_500
    assert sockets_per_live_process(tmp_path).value == 3_750


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"tables": [{"unit": "milliseconds", "rows": [{}]}]}', "null"])
def test_where_nobody_measured_there_is_a_default_that_says_so(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        for name in ("accept.json", "fanout.json"):
            (tmp_path / name).write_text(text)

    assert answers_per_web_process(tmp_path) is measured.ANSWERS_PER_WEB_PROCESS
    assert sockets_per_live_process(tmp_path) is measured.SOCKETS_PER_LIVE_PROCESS
    assert "default" in measured.ANSWERS_PER_WEB_PROCESS.origin
