"""The open sockets of this process are looked at every few seconds: may they stay open?

Who opened one was checked then, and so was their address. Since then the token may have run out or been refused (a
block, another role, a new password, a theft), or an admin may have denied the address. One walk over all sockets asks
Redis in a trip for each 500 tokens, and the copy of the rules that this process has anyway; PostgreSQL is not asked.
Whoever may not stay is told why and closed; whoever does not go is dropped one walk later.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime

import structlog
from redis.exceptions import RedisError

from models.clock import now
from models.ip_ranges import Action
from models.once import once
from models.revocations import revoked_among
from web.auth import Identity
from web.guard import AddressDeniedError
from web.listener import SocketListener
from web.standing import standing_copy

log = structlog.get_logger()

WALK_EVERY_SECONDS = 2.0
# The IANA's registry of close codes: "service restart", for clients to come back after a moment.
SERVICE_RESTART = 1012
# What a socket's end is called, and in what words.
Verdict = tuple[str, str]
EXPIRED: Verdict = ("TOKEN_EXPIRED", "The token has expired: come back with a new one")
REVOKED: Verdict = ("TOKEN_REVOKED", "The token was revoked: log in again")
RESTARTING: Verdict = ("RESTARTING", "This process is being restarted: come back")
DENIED: Verdict = (AddressDeniedError.code, AddressDeniedError.message)


class Rounds:
    """The sockets, and the thread that walks past them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[SocketListener] = set()
        self._is_unsure = False
        threading.Thread(target=self._walk_for_ever, name="rounds", daemon=True).start()

    def add(self, listener: SocketListener) -> None:
        with self._lock:
            self._open.add(listener)

    def remove(self, listener: SocketListener) -> None:
        with self._lock:
            self._open.discard(listener)

    def count(self) -> int:
        """How many sockets are open, for the metrics."""
        return len(self._open)

    def walk(self) -> int:
        """Close what may not stay open; returns how many these were."""
        with self._lock:
            listeners = list(self._open)
        ended = 0
        for listener, (code, message) in self._judge(listeners, now()):
            log.info("socket.ended", code=code, user=listener.identity and listener.identity.user_id)
            listener.end(code, message)
            ended += 1
        return ended

    def leave(self) -> None:
        """This process stops: every socket is told so and closed."""
        with self._lock:
            listeners = list(self._open)
        for listener in listeners:
            listener.end(*RESTARTING, SERVICE_RESTART)

    def _judge(self, listeners: Sequence[SocketListener], moment: datetime) -> Iterator[tuple[SocketListener, Verdict]]:
        """Each listener that may not stay, with why."""
        # Read once: a client may say anew who it is while this goes on.
        identities = [listener.identity for listener in listeners]
        revoked = self._revoked([identity for identity in identities if identity is not None])
        ranges = standing_copy().current().ranges
        addresses = {listener.address for listener in listeners}
        denied = {address for address in addresses if ranges.action_for(address, moment) is Action.DENY}
        for listener, identity in zip(listeners, identities, strict=True):
            if listener.address in denied:
                yield listener, DENIED
            elif identity is not None and identity.expires_at <= moment:
                yield listener, EXPIRED
            elif identity is not None and identity in revoked:
                yield listener, REVOKED

    def _revoked(self, identities: Sequence[Identity]) -> set[Identity]:
        """Nobody, while Redis cannot say: docs/decisions/0004-revocation-when-redis-is-away.md."""
        try:
            found = set(revoked_among(identities))
        except RedisError as error:
            if not self._is_unsure:
                log.warning("rounds.unchecked", error=type(error).__name__, sockets=len(identities))
            self._is_unsure = True
            return set()
        self._is_unsure = False
        return found

    def _walk_for_ever(self) -> None:
        while True:
            time.sleep(WALK_EVERY_SECONDS)
            try:
                self.walk()
            except Exception:
                # The next walk may find what this one stumbled over gone; without walks nobody would ever be closed.
                log.exception("rounds.failed")


@once
def rounds() -> Rounds:
    """The rounds of this process, begun with its first socket (after a server has forked)."""
    return Rounds()
