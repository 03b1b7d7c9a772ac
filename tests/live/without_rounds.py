"""The application as it would be if nobody looked after open sockets: the control of test_who_may_stay.py."""

from web.rounds import Rounds
from wsgi import app

Rounds.walk = lambda _self: 0

__all__ = ["app"]
