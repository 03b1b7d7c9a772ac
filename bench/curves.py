"""The pictures of docs/scaling.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.findings import MILLION, MINUTE, WINDOW_SECONDS, Answer, Findings
from bench.pictures import DOTS_PER_INCH, WIDTH_INCHES

HEIGHT_INCHES = 4.2
PARTS = ("web", "Redis", "settling", "live")
BAR = 0.18


def draw(findings: Findings, folder: Path) -> list[Path]:
    """Write three PNGs; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _crowds(findings, folder / "crowds.png"),
        _million(findings.million, folder / "million.png"),
        _busy(findings.million, folder / "busy.png"),
    ]


def _crowds(findings: Findings, file: Path) -> Path:
    picture, axes = _axes("until the last buyer knows, seconds", "buyers")
    for number, (name, answers) in enumerate(findings.crowds.items()):
        # Shops that are held up by the same thing lie on one line: the later one is thinner.
        width = 1.2 * (len(findings.crowds) - number)
        axes.plot(list(answers), [each.outcome.last_told for each in answers.values()], linewidth=width, label=name)
    axes.axhline(WINDOW_SECONDS, color="#9aa5b1", linestyle="--", linewidth=1, label="until the last one comes")
    axes.set_xscale("log")
    axes.set_yscale("log")
    return _saved(picture, axes, file)


def _million(answers: Sequence[Answer], file: Path) -> Path:
    picture, axes = _axes("buyers who know, of a million", "seconds")
    for number, answer in enumerate(answers):
        samples = answer.outcome.samples[:: max(1, len(answer.outcome.samples) // 500)]
        shares = [each.told / MILLION for each in samples]
        axes.plot([each.at for each in samples], shares, linewidth=1.2 * (len(answers) - number), label=_label(answer))
    axes.plot([0, MINUTE], [0, 1], color="#9aa5b1", linestyle="--", linewidth=1, label="who has come")
    return _saved(picture, axes, file)


def _busy(answers: Sequence[Answer], file: Path) -> Path:
    picture, axes = _axes("share of the time that it is busy", "")
    for number, part in enumerate(PARTS):
        places = [place + (number - 1.5) * BAR for place in range(len(answers))]
        axes.bar(places, [each.outcome.busy[part] for each in answers], width=BAR, label=part)
    axes.set_xticks(range(len(answers)), [_label(each).replace(", ", ",\n") for each in answers], fontsize=7)
    return _saved(picture, axes, file)


def _label(answer: Answer) -> str:
    return f"{answer.name}, {answer.shop.name.partition(' of ')[0]}"


def _axes(upwards: str, along: str) -> tuple[Figure, Any]:
    picture = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), dpi=DOTS_PER_INCH, layout="constrained")
    axes = picture.subplots()
    axes.set_ylabel(upwards, fontsize=8)
    axes.set_xlabel(along, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return picture, axes


def _saved(picture: Figure, axes: Any, file: Path) -> Path:
    axes.legend(fontsize=7, frameon=False)
    # Without a date the same figures make the same file.
    picture.savefig(file, metadata={"Software": None})
    return file
