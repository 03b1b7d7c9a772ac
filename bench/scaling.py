"""docs/scaling.md: the model's findings in words, tables and pictures.

The words are in `scaling.template.md`; every figure among them comes from the findings.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from bench.calibration import Costs, Figure
from bench.curves import draw
from bench.findings import (
    CORES,
    GRACE_SECONDS,
    MACHINES_MAX,
    MILLION,
    MILLION_UNITS,
    MINUTE,
    SALES,
    SHARDS,
    TOLERANCE,
    UNITS,
    WINDOW_SECONDS,
    Answer,
    Check,
    Findings,
)
from bench.shop import BATCHES_PER_TURN, LINE_MAX, LIVE_SHARE, READ_BYTES, SOCKETS_MAX, TAKEN, Crowd
from bench.simulation import CROWD, REPEATED_SECONDS, SHARD_SHARE
from bench.surroundings import ROOT
from bench.turns import ROUNDS_A_TRIP, TRIPS

TEMPLATE = Path(__file__).with_name("scaling.template.md")
PAGE = ROOT / "docs" / "scaling.md"
FOLDER = ROOT / "docs" / "scaling"
MEBI = 2**20
NOTHING = "-"

# What helps where a part is full.
CURES = {
    "Redis": "Redis's one thread. More machines change nothing; a faster core does, fewer questions to it, or, where "
    "there are several sales and no velocity, a shard for each.",
    "web": "web's processes. More machines in front, as many as one likes: they share nothing but the gate.",
    "settling": "the worker that has the sale. Several sales have as many workers; one alone needs a faster core.",
}
OF_CORES = "all parts share these cores, and want more than there are. More cores, or machines of their own."


def write(findings: Findings) -> list[Path]:
    """Write the page and its pictures; returns the paths."""
    pictures = draw(findings, FOLDER)
    PAGE.write_text(page(findings))
    return [PAGE, *pictures]


def page(findings: Findings) -> str:
    """The whole page."""
    costs, small, large = findings.costs, findings.capacity[0], findings.capacity[-2]
    gone = max(answers[50_000].outcome.last_sold for answers in findings.crowds.values())
    return Template(TEMPLATE.read_text()).substitute(
        small_name=small.name,
        small_rate=_whole(small.outcome.admitted_per_second),
        large_name=large.name,
        large_rate=_whole(large.outcome.admitted_per_second),
        large_culprit=large.outcome.bottleneck,
        units=UNITS,
        units_gone=_time(gone * 1000),
        window=f"{WINDOW_SECONDS:g}",
        million_answer=_million_answer(findings.million),
        crowds=_crowds(findings),
        line_bytes=_whole(costs.line_bytes),
        line_max=_whole(LINE_MAX),
        line_memory=_whole(LINE_MAX * costs.line_bytes / MEBI),
        capacity=_capacity(findings.capacity),
        million_units=_whole(MILLION_UNITS),
        minute=f"{MINUTE:g}",
        grace=f"{GRACE_SECONDS:g}",
        cores=CORES,
        machines_max=MACHINES_MAX,
        million=_million(findings.million),
        shards=SHARDS,
        sales=SALES,
        **_refusals(costs),
        trips=TRIPS,
        rounds=ROUNDS_A_TRIP,
        batches=BATCHES_PER_TURN,
        breaks=_breaks(findings),
        sockets=_whole(SOCKETS_MAX),
        live_processes=_whole(MILLION / SOCKETS_MAX),
        fanout_seconds=_whole(MILLION * costs.frame_ms / 1000),
        costs=_costs(findings.figures),
        checks=_checks(findings.checks),
        tolerance=f"{TOLERANCE:.0%}",
        missing=_missing(findings.figures),
        shard_share=SHARD_SHARE,
        live_share=f"{LIVE_SHARE:.1%}",
        read_kib=READ_BYTES // 1024,
        taken=TAKEN,
        listening=f"{Crowd(1, 1).listening:.0%}",
    )


def _refusals(costs: Costs) -> dict[str, str]:
    """What the gate's refusals may cost where a million come, and what they do."""
    return {
        "crowd": str(CROWD),
        "repeated": str(REPEATED_SECONDS),
        "refusal_may": f"{(MINUTE + GRACE_SECONDS) * 1000 / MILLION:.3f}",
        "refusal_does": f"{costs.gate_accept_ms:.3f}",
        "refusals_seconds": _whole(MILLION * costs.gate_accept_ms / 1000),
        "refusals_rate": _whole(1000 / costs.gate_accept_ms),
        "processes_max": _whole(1000 / costs.gate_accept_ms / CROWD),
    }


def _million_answer(answers: Sequence[Answer]) -> str:
    plain, *others = answers
    if plain.machines:
        return f"{plain.shop.name} do it."
    met = " or ".join(f"{answer.machines} machines ({answer.name})" for answer in others if answer.machines)
    return (
        f"not with {MACHINES_MAX} machines of {CORES} cores, where the last one knows after "
        f"{_time(plain.outcome.last_told * 1000)}: {plain.outcome.bottleneck} is full. "
        + (f"What it takes: {met}." if met else "Nothing that was tried is enough.")
    )


def _crowds(findings: Findings) -> str:
    sizes = list(next(iter(findings.crowds.values())))
    rows = []
    for name, answers in findings.crowds.items():
        outcomes = [answers[buyers].outcome for buyers in sizes]
        cells = [f"{_time(each.last_told * 1000)}, {_time(each.wait_ms(0.99))}" for each in outcomes]
        rows.append([name, *cells])
    return _table(["", *(f"{buyers:,} buyers" for buyers in sizes)], rows)


def _capacity(answers: Sequence[Answer]) -> str:
    rows = []
    for answer in answers:
        told = answer.outcome
        rates = [_whole(told.admitted_per_second), _whole(told.counts["confirmed"] / told.last_told)]
        waits = [_time(told.wait_ms(0.5)), _time(told.wait_ms(0.99))]
        rows.append([answer.name, *rates, *waits, _whole(told.door_max), _whole(told.line_max), told.bottleneck])
    names = ["", "accepted/s", "settled/s", "p50", "p99", "most at the door", "most in line", "full is"]
    return _table(names, rows)


def _million(answers: Sequence[Answer]) -> str:
    rows = []
    for answer in answers:
        told = answer.outcome
        machines = _whole(answer.machines) if answer.machines else f"not with {MACHINES_MAX}"
        times = [_time(told.last_sold * 1000), _time(told.last_told * 1000), _time(told.wait_ms(0.99))]
        rest = [_whole(told.door_max), told.bottleneck]
        rows.append([answer.name, machines, _whole(answer.shop.web_processes), *times, *rest])
    names = ["", "machines", "web processes", "last unit", "last buyer knows", "p99", "most at the door", "full is"]
    return _table(names, rows)


def _breaks(findings: Findings) -> str:
    """What is full in any of the shops, and what helps."""
    found = dict.fromkeys(answer.outcome.bottleneck for answer in (*findings.capacity, *findings.million))
    return "\n".join(f"- **{name}**: {CURES.get(name, OF_CORES)}" for name in found if name != "none")


def _costs(figures: Sequence[Figure]) -> str:
    rows = [
        [each.about, f"{each.value:,.4g}", f"**assumed**: {each.source}" if each.missing else each.source]
        for each in figures
    ]
    return _table(["what it costs", "", "from"], rows)


def _checks(found: Sequence[Check]) -> str:
    rows = []
    for check in found:
        measured, off = "not measured yet", NOTHING
        if check.measured is not None:
            measured, off = f"{_figure(check.measured)} {check.unit}", f"{check.off:+.0%}"
        if abs(check.off) > TOLERANCE:
            off = f"**{off}**"
        if check.assumed:
            off += f", resting on {len(check.assumed)} assumed"
        rows.append([check.name, f"{_figure(check.predicted)} {check.unit}", measured, off])
    return _table(["", "the model", "measured", "off by"], rows)


def _missing(figures: Sequence[Figure]) -> str:
    lines = [f"- {each.about}: {each.value:,.4g}, {each.source} ({each.missing})." for each in figures if each.missing]
    return "\n".join(lines) if lines else "- No cost: all of them are measured."


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    aligned = ["---", *["---:"] * (len(names) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, aligned, *rows))


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"  # noqa: PLR2004 - three digits are enough


def _time(value_ms: float) -> str:
    return f"{value_ms / 1000:,.1f} s" if value_ms >= 1000 else f"{value_ms:,.0f} ms"  # noqa: PLR2004 - a second
