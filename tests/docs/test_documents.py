"""The documents speak of what is there: links lead somewhere, tests and modules that are named exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
OURS = ("models", "web", "worker", "ops", "tests", "docs", "bench", "migrations", "requirements")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def heading_id(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(document: Path) -> set[str]:
    return {heading_id(text) for text in re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        assert not anchor or anchor in headings(found), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_file_that_is_named_is_there(document: Path) -> None:
    for named in re.findall(rf"`((?:{'|'.join(OURS)})/[\w./*-]*)`", document.read_text()):
        assert list(ROOT.glob(named.rstrip("/"))), named


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_test_that_is_named_is_there(document: Path) -> None:
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", document.read_text()):
        assert f"def {test}(" in (ROOT / file).read_text(), test


def test_decisions_are_numbered_without_a_gap_and_listed() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    index = (ROOT / "docs/decisions/README.md").read_text()

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert f"({page.name})" in index
        assert page.read_text().startswith(f"# {int(page.name[:4])}. ")
        for part in ("Rule", "Reason", "Reach"):
            assert re.search(rf"^(## |\*\*){part}\b", page.read_text(), re.MULTILINE), f"{page.name} has no {part}"
