"""The pages that speak of who could do what say it of tests that there are, with the figures of the tables."""

import re
from pathlib import Path

from tests.matrix.summary import PAGE, renewed

ROOT = Path(__file__).parents[2]
THREATS = ROOT / "docs" / "threat-model.md"
WORDS_MAX = 1_200


def test_every_threat_names_what_stops_it_and_a_test_that_shows_it() -> None:
    rows = [line.strip("|").split("|") for line in THREATS.read_text().splitlines() if line.startswith("| ")][2:]

    assert len(rows) > 20
    for threat, stopped_by, shown_by in rows:
        assert len(stopped_by) > 10, threat
        named = re.fullmatch(r" `(tests/[\w/]+\.py)(?:::(test_\w+))?` ", shown_by)
        assert named, threat
        text = (ROOT / named[1]).read_text()
        assert f"def {named[2] or 'test_'}" in text, threat


def test_it_stays_one_page() -> None:
    assert len(THREATS.read_text().split()) < WORDS_MAX


def test_the_matrix_on_the_page_of_reliability_is_that_of_the_tables() -> None:
    assert PAGE.read_text() == renewed(PAGE.read_text()), "run: python -m tests.matrix.summary"
