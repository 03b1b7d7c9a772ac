"""`python -m ops.settings_table`: write the README's table of settings anew, from models/settings.py and .env.example.

The names, defaults and bounds are those of the code; the words are those of .env.example, where every setting has its
line. A test holds the README to what this makes.
"""

import re
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from models.settings import Settings

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN = "<!-- settings: made by `python -m ops.settings_table` -->"
END = "<!-- end of settings -->"


def table() -> str:
    """The settings as a Markdown table, in the order of the code."""
    words = descriptions()
    rows = ["| setting | default | what it is |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        setting = name.upper()
        about = words[setting].removesuffix(".").replace("|", "\\|") + _bounds(field)
        rows.append(f"| `{setting}` | {_default(field)} | {about} |")
    return "\n".join(rows)


def descriptions() -> dict[str, str]:
    """What .env.example says of each setting: the comment right above it."""
    text = (ROOT / ".env.example").read_text()
    found = re.findall(r"((?:^#.*\n)+)([A-Z_]+)=", text, re.MULTILINE)
    return {name: " ".join(line.removeprefix("#").strip() for line in comment.splitlines()) for comment, name in found}


def renewed(readme: str) -> str:
    """The README with the table between its two marks made anew."""
    before, _, rest = readme.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{README.name} has lost the mark {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value in ("", None, ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(field: FieldInfo) -> str:
    """` (1 to 64)`, where the code refuses anything else."""
    least = next((each.ge for each in field.metadata if hasattr(each, "ge")), None)
    most = next((each.le for each in field.metadata if hasattr(each, "le")), None)
    if least is None:
        return " (above 0)" if any(hasattr(each, "gt") for each in field.metadata) else ""
    return f" (at least {least})" if most is None else f" ({least} to {most})"


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
