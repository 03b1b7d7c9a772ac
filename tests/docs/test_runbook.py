"""Whoever is woken at night finds a section for what woke them."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SECTIONS = set(re.findall(r"^### (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE))
CODE = r"[A-Z]+(?:_[A-Z]+)+"


def codes_of_the_doctor() -> set[str]:
    texts = [file.read_text() for file in (ROOT / "models/doctor").glob("*.py")]
    return {code for text in texts for code in re.findall(rf'(?:warning|critical|kind)\(\s*"({CODE})"', text)}


def test_every_finding_of_the_doctor_has_a_section_and_every_section_is_of_something() -> None:
    codes = codes_of_the_doctor()

    assert len(codes) > 35
    assert codes <= SECTIONS
    assert {section for section in SECTIONS if re.fullmatch(CODE, section)} <= codes


def test_every_alert_has_a_section() -> None:
    rules = [*ROOT.glob("ops/monitoring/**/*.yml"), *ROOT.glob("ops/monitoring/**/*.yaml")]

    alerts = {name for file in rules for name in re.findall(r"^\s*- alert: (\w+)", file.read_text(), re.MULTILINE)}

    assert alerts <= SECTIONS


def test_an_alert_leads_to_its_section() -> None:
    rules = yaml.safe_load((ROOT / "ops/monitoring/alerts.yml").read_text())["groups"][0]["rules"]

    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
        assert [heading for heading in headings if heading.lower() == anchor] == [rule["alert"]]


def test_the_events_that_the_page_names_are_logged_somewhere() -> None:
    table = (ROOT / "docs/runbook.md").read_text().partition("## What the log says")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+\.\w+)`", table))
    code = "".join(file.read_text() for folder in ("models", "web", "worker") for file in (ROOT / folder).rglob("*.py"))

    assert named
    assert {event for event in named if f'"{event}"' not in code} == set()
