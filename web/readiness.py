"""What a process has ready before its first request: in a rush, the first would otherwise wait for all of it."""

from web.standing import standing_copy
from web.waiting import waiters
from web.wake import waker


def get_ready() -> None:
    """The rules for addresses, the reader of the news, and a way to wake workers. Waits for a moment at most."""
    waiters()
    waker()
    standing_copy().current()
