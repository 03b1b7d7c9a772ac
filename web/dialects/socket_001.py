"""Reference 001's WebSocket, which is ours at the root (web/sockets.py): what its clients cannot read of our frames."""

from flask import request

ROOT = "/"


def knows_no_state() -> bool:
    """Whether the current conversation is in 001's way: its `stockUpdate` has no `state`, so whoever comes too late is
    told of the end by `flashSaleEnded` alone."""
    return request.path == ROOT
