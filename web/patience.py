"""Bodies that are announced and never come: whoever waits for one holds a thread of web, and there are few.

granian waits for a body as long as its sender likes. Whoever shows no sound token where one is needed is refused before
the body is read; that leaves the routes that are open to strangers (log-in, sign-up). For their bodies only half of the
threads may wait at once, so the others sell on. A body that is there is read in microseconds: an honest stranger finds
no place only while somebody is at it. A proxy that reads bodies before it passes them on, as nginx does, keeps all of
this away from us.
"""

import threading

from flask import Flask, request

from models.errors import UnavailableError
from models.once import once
from models.runtime import on_gevent
from models.settings import settings
from web.access import Access, access_of

SHARE = 2


class BusyReadingError(UnavailableError):
    code = "BUSY"
    message = "Too many requests are still on their way; try again"


def init_patience(app: Flask) -> None:
    """Called before the limits, since they look into the body of a log-in."""
    app.before_request(_read_strangers_body)


def _read_strangers_body() -> None:
    """The body is kept by the request for all who ask for it later. Raises BusyReadingError, and werkzeug's 413.

    Under gevent whoever waits holds nobody up.
    """
    has_body = request.content_length or "Transfer-Encoding" in request.headers
    if not has_body or on_gevent() or access_of(request.endpoint or "") is not Access.PUBLIC:
        return
    if not _places().acquire(blocking=False):
        raise BusyReadingError
    try:
        request.get_data()
    finally:
        _places().release()


@once
def _places() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(max(1, settings().web_threads // SHARE))
