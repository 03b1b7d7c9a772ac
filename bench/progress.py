"""A bar on the terminal, so that somebody who waits sees how far it is."""

from collections.abc import Iterator

from rich.console import Console
from rich.progress import track

_terminal = Console(stderr=True)


def rounds_of(count: int, what: str) -> Iterator[int]:
    """0, 1, 2 … with a bar."""
    yield from track(range(count), what, console=_terminal)


def say(what: str) -> None:
    """What is being prepared, or tidied up, between the rounds."""
    _terminal.print(f"  {what}", style="dim", highlight=False)
