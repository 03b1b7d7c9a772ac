"""The model of growth: it predicts what was measured, from CPU costs alone, and obeys what every queue obeys."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from bench.calibration import ASSUMED, Costs, calibrate
from bench.findings import BENCHMARKS, CONNECTIONS, TOLERANCE, Answer, Check, Findings, check_accepting
from bench.model import main
from bench.outcome import LINE_FULL, REJECTED, SOLD_OUT, Outcome
from bench.scaling import page
from bench.shop import Crowd, Shop, machines, one_machine
from bench.simulation import Simulation
from bench.stations import Station, share_out
from ops.errors import OpsError

PROCESSES = (1, 2)
# What the same benchmark measured when web's CPU a request was three times as much (decision 27).
BEFORE = Path(__file__).with_name("before_the_doorstep")
TICK_MS = 10.0
NOTHING = Costs(*([0.0] * 12))


@pytest.fixture(scope="module")
def costs() -> Costs:
    return calibrate(BENCHMARKS)[0]


def simulated(shop: Shop, costs: Costs, crowd: Crowd) -> Outcome:
    return Simulation(shop, costs, crowd, tick_ms=TICK_MS).run()


def all_waits(outcome: Outcome) -> int:
    """Ticks that everybody together has waited."""
    return sum(ticks * count for waits in outcome.waits.values() for ticks, count in waits.items())


class TestWhatWasMeasured:
    @pytest.mark.parametrize("processes", PROCESSES)
    @pytest.mark.parametrize("folder", [BENCHMARKS, BEFORE], ids=["now", "before the doorstep"])
    def test_the_rate_of_accepting_follows_from_what_a_request_costs(self, folder: Path, processes: int) -> None:
        check = check_accepting(folder, processes)

        assert check.measured
        assert check.predicted == pytest.approx(check.measured, rel=TOLERANCE)

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


class TestEverybodyIsToldOnce:
    @pytest.mark.parametrize(
        ("shop", "crowd"),
        [
            (one_machine(), Crowd(5_000, 200, window_seconds=1)),
            (machines(4, 4), Crowd(20_000, 20_000, window_seconds=2)),
            (machines(8, 4, shards=4, sales=3), Crowd(9_000, 100, window_seconds=1, sales=3)),
            (machines(2, 4, refuses_at_web=True), Crowd(20_000, 10, window_seconds=3)),
            (one_machine(4, line_max=20, web_processes=3), Crowd(5_000, 5_000, window_seconds=1)),
            (one_machine(4, line_max=20, web_processes=3), Crowd(5_000, 5_000, window_seconds=1, tries_max=1)),
            (one_machine(), Crowd(3_000, 500, connections=CONNECTIONS)),
        ],
        ids=["sold out", "enough", "cluster", "web refuses", "line full", "given up", "closed loop"],
    )
    def test_every_request_has_one_outcome_and_what_waits_is_what_little_says(
        self, costs: Costs, shop: Shop, crowd: Crowd
    ) -> None:
        outcome = simulated(shop, costs, crowd)

        assert outcome.sent == outcome.told == crowd.buyers
        assert outcome.counts["confirmed"] == min(crowd.units * crowd.sales, outcome.admitted)
        assert outcome.counts[REJECTED] == outcome.admitted - outcome.counts["confirmed"]
        assert sum(count for waits in outcome.waits.values() for count in waits.values()) == crowd.buyers
        # Little's law: who is there, summed over time, is how long everybody waited; counted in two places.
        assert outcome.in_system_ticks == all_waits(outcome) > 0

    def test_a_line_that_is_full_sends_buyers_back_and_they_come_again(self, costs: Costs) -> None:
        shop = one_machine(4, line_max=20, web_processes=3)
        crowd = Crowd(5_000, 5_000, window_seconds=1)

        patient = simulated(shop, costs, crowd)
        impatient = simulated(shop, costs, replace(crowd, tries_max=1))

        assert patient.counts["confirmed"] == 5_000
        assert max(patient.line_max, impatient.line_max) <= 20
        assert 0 < impatient.counts[LINE_FULL] < 5_000

    def test_a_crowd_that_no_shop_could_answer_is_an_error_and_no_endless_loop(self, costs: Costs) -> None:
        slow = replace(costs, web_accept_ms=1e9)

        with pytest.raises(OpsError, match="take over"):
            Simulation(one_machine(), slow, Crowd(10, 10), tick_ms=1_000).run()


class TestQueuesWithFormulas:
    @pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
    def test_one_server_and_random_arrivals_wait_as_long_as_the_formula_says(self, load: float) -> None:
        """M/D/1: the mean time in the system is D (1 + load / (2 (1 - load)))."""
        ticks = 60_000
        shop = one_machine(1, web_processes=1)
        costs = replace(NOTHING, web_refuse_ms=TICK_MS)
        crowd = Crowd(int(load * ticks), 0, window_seconds=ticks * TICK_MS / 1000, listening=0)

        outcome = simulated(shop, costs, crowd)

        assert outcome.counts == {SOLD_OUT: crowd.buyers}
        assert all_waits(outcome) / crowd.buyers == pytest.approx(1 + load / (2 * (1 - load)), rel=0.06)
        assert outcome.busy["web"] == pytest.approx(load, rel=0.02)

    def test_over_its_capacity_a_station_serves_its_capacity_and_is_named_as_the_bottleneck(self) -> None:
        costs = replace(NOTHING, web_refuse_ms=0.5, gate_refuse_ms=1.25)

        outcome = simulated(machines(4, 4), costs, Crowd(4_000, 0, window_seconds=1))

        assert outcome.last_told == pytest.approx(4_000 * 1.25 / 1000, rel=0.01)
        assert outcome.bottleneck == "Redis"

    def test_cores_are_shared_out_until_nobody_could_have_more(self) -> None:
        small, large, other = (Station(name, 4, {"all": 1.0}) for name in ("small", "large", "other"))
        alone = Station("alone", 1, {"elsewhere": 1.0})

        got = share_out({small: 2.0, large: 30.0, other: 30.0, alone: 5.0}, {"all": 2, "elsewhere": 1}, 10.0)

        assert got == pytest.approx({small: 2.0, large: 9.0, other: 9.0, alone: 5.0})


def test_the_page_says_what_is_assumed_and_where_the_model_is_wrong(costs: Costs) -> None:
    shop = one_machine()
    answer = Answer("a shop", shop, simulated(shop, costs, Crowd(50_000, 200)))
    made = [Check("a rate", "a second", 150.0, 100.0), Check("another", "a second", 110.0, 100.0)]
    figures = [replace(figure, missing="nobody measured it") for figure in calibrate(BENCHMARKS)[1]]

    text = page(Findings(figures, made, {shop.name: {50_000: answer}}, [answer, answer], [answer], costs))

    assert "| a rate | 150 a second | 100 a second | **+50%** |" in text
    assert "| another | 110 a second | 100 a second | +10% |" in text
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


def test_a_cluster_that_leaves_no_machine_for_web_is_refused() -> None:
    with pytest.raises(OpsError, match="too few"):
        machines(4, 4, shards=40)
