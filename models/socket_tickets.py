"""One-time tickets for the WebSocket: a browser cannot send a header with a handshake, and a URL is logged.

So a page asks for a ticket with its token, and opens `/ws?ticket=…` with that: good once, for a few seconds.
"""

import secrets
from dataclasses import asdict, dataclass
from typing import cast

import orjson

from models import rediskeys
from models.redisclient import redis_client

TICKET_BYTES = 24
TICKET_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class TicketHolder:
    """Whose ticket it is, by the token that asked for it. `expires_ms` is the token's end, in ms since the epoch."""

    user_id: int
    role: str
    jti: str
    generation: int
    expires_ms: int


def issue(holder: TicketHolder) -> str:
    """A ticket for the holder of a token. Raises redis errors where Redis is away."""
    ticket = secrets.token_urlsafe(TICKET_BYTES)
    redis_client().set(
        rediskeys.socket_ticket(ticket), orjson.dumps(asdict(holder)), ex=rediskeys.SOCKET_TICKET_SECONDS
    )
    return ticket


def redeem(ticket: str) -> TicketHolder | None:
    """Whose ticket this is, or None if it is nobody's; asked again, it is. Raises redis errors where Redis is away."""
    if len(ticket) > TICKET_LENGTH_MAX:
        return None
    kept = cast(str | None, redis_client().getdel(rediskeys.socket_ticket(ticket)))
    return TicketHolder(**orjson.loads(kept)) if kept else None
