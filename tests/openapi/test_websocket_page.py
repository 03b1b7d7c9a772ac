"""docs/websocket.md, since OpenAPI cannot describe a WebSocket: every event and code that there is, and no other."""

import re
from pathlib import Path

import pytest

from models.sale_rules import SaleNotFoundError
from web import listener, rounds, sockets
from web.guard import AddressDeniedError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "websocket.md").read_text()
FILES = ("web/sockets.py", "web/joining.py", "web/rounds.py", "web/listener.py", "web/hub.py", "models/events.py")
CODE = "".join((ROOT / name).read_text() for name in FILES)


def rows(heading):
    """The first cells of the table under a heading, each name by itself."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "pattern"),
    [
        ("What a client sends", r'name == "(\w+)"'),
        ("What the server sends", r'(?:SaleEvent|frame)\(\s*"(\w+)"|"(flashSale(?:Paused|Resumed|Started|Ended))"'),
        ("Codes of `error`", r'(?:RefusedFrameError|send_error|Verdict =) ?\(\s*"([A-Z_]+)"|return "([A-Z_]+)",'),
    ],
)
def test_the_page_names_what_the_code_says(heading, pattern):
    said = {name for groups in re.findall(pattern, CODE) for name in ([groups] if isinstance(groups, str) else groups)}
    # What the rules refuse keeps its own code, and of those only two can come from here.
    said = said - {""} | ({SaleNotFoundError.code, AddressDeniedError.code} if "error" in heading else set())

    assert rows(heading) == said


def test_the_page_names_the_bounds_that_the_code_sets():
    assert f"more than {sockets.FRAMES_PER_SECOND} frames a second" in PAGE
    assert f"({sockets.FRAMES_BURST} at once" in PAGE
    assert f"more than {sockets.FRAME_BYTES_MAX:,} bytes" in PAGE
    assert f"more than {listener.JOINED_MAX} sales" in PAGE
    assert f"a ping within {sockets.PING_SECONDS} s" in PAGE
    assert f"all its sockets every {rounds.WALK_EVERY_SECONDS:.0f} seconds" in PAGE
