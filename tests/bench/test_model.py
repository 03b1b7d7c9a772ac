"""The model of growth: it predicts what was measured, from CPU costs alone, and the page says what of it is assumed."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from bench.calibration import ASSUMED, Costs, calibrate
from bench.findings import (
    BENCHMARKS,
    TOLERANCE,
    Answer,
    Check,
    Findings,
    check_accepting,
    checks,
)
from bench.model import main
from bench.outcome import Outcome
from bench.scaling import page
from bench.shop import Crowd, Shop, one_machine
from bench.simulation import Simulation
from ops.errors import OpsError

PROCESSES = (1, 2)
# What the same benchmark measured when web's CPU a request was three times as much (decision 27).
BEFORE = Path(__file__).with_name("before_the_doorstep")
TICK_MS = 10.0
# What is held to be right.
HELD = (
    "accepted, 1 process",
    "accepted, 2 processes",
    "settled from a line of 100,000, one worker",
    "accepted and settled, everything running",
    "200 units, 2,000 buyers at once: the last unit is sold",
    "200 units, 2,000 buyers at once: the last refusal",
    "200 units, 50,000 buyers at once: the last unit is sold",
    "200 units, 50,000 buyers at once: the last refusal",
)
# What the model is made of beside the rates of accepting, as the benchmarks write it.
WEIGHED = {
    "accept": {"CPU a refusal after the sell-out, 2 processes": {"web": 0.2, "load and the rest of the machine": 0.1}},
    "settle": {
        "CPU a request": {
            "worker": 40.0,
            "of the worker, beside PostgreSQL": 14.0,
            "PostgreSQL, settling": 30.0,
            "Redis": 3.0,
        },
        "CPU a turn at a line of one request": {
            "worker": 6.0,
            "PostgreSQL, settling": 1.5,
            "Redis": 1.0,
            "whoever wakes": 1.2,
        },
    },
    "burst": {"50,000 buyers: CPU a request of the load and the rest of the machine": {"202": 0.1}},
    "answered": {"web's CPU a request": {"202, nobody waits": 0.5, "Prefer: wait": 0.7}},
    "whole": {
        "CPU while nobody buys": dict.fromkeys(("web", "worker", "PostgreSQL", "Redis", "chores and beat"), 10.0),
    },
}


def measured(folder: Path, weighed: dict[str, dict[str, dict[str, float]]]) -> Path:
    """The benchmarks' own rates, with these costs and none of the others that they have."""
    folder.mkdir()
    for name, tables in WEIGHED.items():
        figures = orjson.loads((BENCHMARKS / f"{name}.json").read_bytes())
        kept = [table for table in figures["tables"] if table["title"] not in tables]
        made = [
            {"title": title, "rows": [{"name": row, "median": median} for row, median in rows.items()]}
            for title, rows in weighed.get(name, {}).items()
        ]
        (folder / f"{name}.json").write_bytes(orjson.dumps(figures | {"tables": [*kept, *made]}))
    return folder


@pytest.fixture(scope="module")
def costs() -> Costs:
    return calibrate(BENCHMARKS)[0]


def simulated(shop: Shop, costs: Costs, crowd: Crowd) -> Outcome:
    return Simulation(shop, costs, crowd, tick_ms=TICK_MS).run()


class TestWhatWasMeasured:
    @pytest.mark.parametrize("processes", PROCESSES)
    @pytest.mark.parametrize("folder", [BENCHMARKS, BEFORE], ids=["now", "before the doorstep"])
    def test_the_rate_of_accepting_follows_from_what_a_request_costs(self, folder: Path, processes: int) -> None:
        check = check_accepting(folder, processes)

        assert check.measured
        assert check.predicted == pytest.approx(check.measured, rel=TOLERANCE)

    def test_every_prediction_that_rests_on_measured_costs_alone_is_met(self) -> None:
        found = checks(BENCHMARKS)

        off = {
            check.name: f"{check.off:+.0%}"
            for check in found
            if check.measured and check.held and not check.assumed and abs(check.off) > TOLERANCE
        }
        assert tuple(check.name for check in found if check.held) == HELD
        assert off == {}

    def test_a_prediction_rests_on_nothing_assumed_once_its_costs_are_measured(self, tmp_path: Path) -> None:
        (tmp_path / "promises.md").write_bytes((BENCHMARKS.parent / "promises.md").read_bytes())
        before = {check.name: check.assumed for check in checks(measured(tmp_path / "without", {}))}

        after = {check.name: check.assumed for check in checks(measured(tmp_path / "with", WEIGHED))}

        assert set(after.values()) == {()}
        assert {name for name, assumed in before.items() if not assumed} == {
            "accepted, 1 process",
            "accepted, 2 processes",
        }

    @pytest.mark.parametrize("processes", PROCESSES)
    @pytest.mark.parametrize("factor", [0.5, 2])
    def test_wrong_costs_predict_another_rate(self, tmp_path: Path, processes: int, factor: float) -> None:
        figures = orjson.loads((BENCHMARKS / "accept.json").read_bytes())
        for table in figures["tables"]:
            for row in table["rows"]:
                if "CPU" in table["title"] and "POST …" in row["name"]:
                    row["median"] *= factor
        (tmp_path / "accept.json").write_bytes(orjson.dumps(figures))

        check = check_accepting(tmp_path, processes)

        assert check.measured
        assert abs(check.off) > TOLERANCE

    def test_what_is_not_measured_is_assumed_only_until_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "accept.json").write_bytes((BENCHMARKS / "accept.json").read_bytes())
        before = {figure.name: figure for figure in calibrate(tmp_path)[1]}
        table = {"title": "CPU a request", "rows": [{"name": "worker", "median": 77.0}]}
        (tmp_path / "settle.json").write_bytes(orjson.dumps({"tables": [table]}))

        costs, figures = calibrate(tmp_path)

        after = {figure.name: figure for figure in figures}
        assert before["settle_worker_ms"].missing
        assert before["settle_worker_ms"].value == ASSUMED["settle_worker_ms"][0]
        assert not after["settle_worker_ms"].missing
        assert costs.settle_worker_ms == 0.077
        assert after["settle_postgres_ms"].missing == "`settle` does not have it yet"

    def test_without_the_costs_of_accepting_there_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(OpsError, match="make bench ONLY=accept"):
            calibrate(tmp_path)


def test_the_page_says_what_is_assumed_and_where_the_model_is_wrong(costs: Costs) -> None:
    shop = one_machine()
    answer = Answer("a shop", shop, simulated(shop, costs, Crowd(50_000, 200)))
    made = [
        Check("a rate", "a second", 150.0, 100.0),
        Check("another", "a second", 110.0, 100.0),
        Check("a third", "a second", 110.0, 100.0, ("wake_ms",)),
    ]
    figures = [replace(figure, missing="nobody measured it") for figure in calibrate(BENCHMARKS)[1]]

    text = page(Findings(figures, made, {shop.name: {50_000: answer}}, [answer, answer], [answer], costs))

    assert "| a rate | 150 a second | 100 a second | **+50%** |" in text
    assert "| another | 110 a second | 100 a second | +10% |" in text
    assert "| a third | 110 a second | 100 a second | +10%, resting on 1 assumed |" in text
    assert text.count("**assumed**") == text.count("(nobody measured it)") == len(figures)
    assert f"where the last one knows after {answer.outcome.last_told:.1f} s" in text


def test_one_crowd_can_be_asked_about_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench.model", "--buyers", "3000", "--units", "50", "--machines", "4"])

    main()

    printed = capsys.readouterr().out
    assert "4 machines of 4 cores" in printed
    assert "50 confirmed" in printed
