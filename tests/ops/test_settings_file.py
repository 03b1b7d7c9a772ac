""".env.example lists every setting, says what the code says, and a broken .env is told in one line."""

from pathlib import Path

import pytest
from dotenv import dotenv_values

from models.settings import Settings
from ops.checks import check_env_file, load_settings
from ops.errors import OpsError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"


def test_the_example_lists_every_setting_and_no_other() -> None:
    assert set(dotenv_values(EXAMPLE)) == {name.upper() for name in Settings.model_fields}


def test_the_example_boots_as_is_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    from_example = Settings(_env_file=EXAMPLE)  # type: ignore[call-arg]

    assert from_example == Settings(_env_file=None)  # type: ignore[call-arg]


def test_every_setting_of_the_example_has_its_line_of_explanation() -> None:
    lines = EXAMPLE.read_text().splitlines()
    settings = [number for number, line in enumerate(lines) if line and not line.startswith("#")]

    unexplained = [lines[number] for number in settings if not lines[number - 1].startswith("# ")]

    assert unexplained == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("PORT=8000\n\nthis is no setting\n", "line 3 is not NAME=value: 'this is no setting'", id="words"),
        pytest.param("PORT='8000\n", "line 1 is not NAME=value", id="an open quote"),
        pytest.param("= 8000\n", "line 1 is not NAME=value", id="no name"),
    ],
)
def test_a_broken_env_file_is_told_by_its_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / ".env"
    file.write_text(text)

    with pytest.raises(OpsError, match=told) as caught:
        check_env_file(file)

    assert "\n" not in str(caught.value)


def test_an_env_file_that_is_not_text_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"PORT=\xff\xfe\n")

    with pytest.raises(OpsError, match="not UTF-8"):
        check_env_file(file)


def test_a_wrong_value_is_told_by_its_setting_without_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eight thousand")
    monkeypatch.setenv("JWT_SECRET_KEY", "short-secret")

    with pytest.raises(OpsError, match=r"PORT: .*integer") as caught:
        load_settings()

    assert "\n" not in str(caught.value)
    assert "short-secret" not in str(caught.value)
