"""A benchmark's figures: each beside its baseline, with what is needed to judge it."""

from pathlib import Path

import orjson

from bench.report import markdown, summary, write
from bench.result import Benchmark, Result, Row, Table, Target
from bench.surroundings import surroundings

RESULT = Result(
    title="Time to outcome",
    tables=(Table("", "milliseconds", (Row("bare", (1.0, 3.0, 2.0)), Row("ours", (5.0, 6.0, 4.0)))),),
    targets=(Target("ours, of bare", 2.5, at_most=2), Target("ours, of the rest", 2.5, at_least=2)),
    notes=("one at a time",),
    servers={"postgresql": "18.6"},
)
BENCHMARK = Benchmark("some_load", "about some load", lambda _: RESULT)


def test_every_row_is_told_by_its_median_and_its_ratio_to_the_first() -> None:
    bare, ours = summary(BENCHMARK, RESULT, surroundings())["tables"][0]["rows"]

    assert (bare["median"], bare["ratio"]) == (2.0, 1.0)
    assert (ours["median"], ours["min"], ours["max"], ours["ratio"]) == (5.0, 4.0, 6.0, 2.5)


def test_a_figure_comes_with_machine_versions_and_commit() -> None:
    figures = summary(BENCHMARK, RESULT, surroundings())

    assert figures["machine"]["cores"] >= 1
    assert {"python", "flask", "granian", "postgresql"} <= set(figures["versions"])
    assert "commit" in figures


def test_data_page_and_picture_are_written_and_none_names_a_directory_of_this_machine(tmp_path: Path) -> None:
    figures = summary(BENCHMARK, RESULT, surroundings())

    data, page, picture, _ = write(figures, tmp_path)

    assert orjson.loads(data.read_bytes()) == figures
    assert "| ours | 5.00 | 4.00 | 6.00 | 2.50 x |" in page.read_text()
    assert page.read_text() == markdown(figures)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(Path(__file__).parents[2]) not in data.read_text() + page.read_text()


def test_a_target_that_is_missed_is_said_to_be_missed(tmp_path: Path) -> None:
    figures = summary(BENCHMARK, RESULT, surroundings())

    index = write(figures, tmp_path)[-1].read_text()

    assert "| ours, of bare | at most 2 | 2.50 | **missed** |" in index
    assert "| ours, of the rest | at least 2 | 2.50 | met |" in index
    assert "Of 2 targets that were set before anything was built, 1 are met." in index
