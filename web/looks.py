"""A look at one's purchase, for Flask's views and the doorstep: who looks is checked, and the outcome waited for."""

from functools import partial

from redis.exceptions import OutOfMemoryError, ReadOnlyError

from models.addresses import customer_of
from models.gate import GivenBackError
from models.gateline import GateBrokenError
from models.looks import Onlooker, Place, Seen, look
from models.purchases import PurchaseNotFoundError, as_it_stands, find_purchase
from models.record import PurchaseRecord
from models.redisclient import REDIS_AWAY
from models.settings import settings
from models.trips import Trips
from web.auth import Identity, refuse_revoked
from web.limits import look_limits
from web.traces import note_outcome
from web.unauthorized import TokenRevokedError
from web.waiting import waiters

# Nobody was counted or checked: Redis is away or degraded, one connection broke, or something else lies under a key.
UNSAID = (*REDIS_AWAY, OutOfMemoryError, ReadOnlyError, GateBrokenError)


async def look_at(
    trips: Trips, viewer: Identity, place: Place | None, wait_seconds: float, address: str
) -> PurchaseRecord:
    """The purchase at this place as it stands, or its outcome, if it comes within so many seconds.

    Whoever waits does not ask PostgreSQL where the news had the outcome, or the request is in line: a crowd that asks
    about its tickets right after the gate would be a crowd before it.

    Raises PurchaseNotFoundError, also where it is somebody else's or there is no such place, HistoryArchivedError,
    TokenRevokedError, TooOftenError; and what PostgreSQL and Redis raise where they are away and are needed.
    """
    if place is None:
        await _ask(trips, viewer, address, None)
        raise PurchaseNotFoundError
    heard = waiters().heard_of(*place, viewer.user_id) if wait_seconds else None
    seen = await _ask(trips, viewer, address, None if heard else place)
    if wait_seconds and heard is None and seen is not None and seen.waiting is None:
        # What left the line while Redis was asked, it told everybody in the same step.
        heard = waiters().heard_of(*place, viewer.user_id)
    if heard is not None:
        return note_outcome(heard)

    def look_up() -> PurchaseRecord:
        return find_purchase(*place, viewer_id=viewer.user_id, is_admin=viewer.is_admin)

    if wait_seconds and seen is not None and _is_to_come(viewer, place, seen):
        waited_for, user_id = place, (seen.waiting or viewer).user_id
    else:
        record = await trips.aside(look_up if seen is None else partial(_as_it_stands, viewer, place, seen))
        if record.is_settled or not wait_seconds:
            return record
        waited_for, user_id = (record.sale_id, record.ticket), record.user_id
    outcome = await waiters().wait(trips, waited_for, user_id, wait_seconds, look_up)
    return await trips.aside(look_up) if outcome is None else note_outcome(outcome)


def _is_to_come(viewer: Identity, place: Place, seen: Seen) -> bool:
    """Whether the outcome comes with the news: the request is in line, or left it, and those news are on their way.

    It may have been settled a moment ago: good for deciding whether to wait, and not for telling what is.
    """
    if seen.waiting is not None:
        return viewer.is_admin or seen.waiting.user_id == viewer.user_id
    return not viewer.is_admin and waiters().are_on_their_way(*place, seen.told_through)


def _as_it_stands(viewer: Identity, place: Place, seen: Seen) -> PurchaseRecord:
    return as_it_stands(*place, seen.waiting, viewer_id=viewer.user_id, is_admin=viewer.is_admin)


async def _ask(trips: Trips, viewer: Identity, address: str, place: Place | None) -> Seen | None:
    """What Redis knows of the purchase; None where it says nothing. Raises TokenRevokedError and TooOftenError."""
    by_user, by_address = ((), ()) if settings().is_exempt(address) else look_limits()
    onlooker = Onlooker(viewer.user_id, viewer.jti, viewer.generation, customer_of(address), by_user, by_address)
    try:
        return await look(trips, onlooker, place)
    except GivenBackError as error:
        raise TokenRevokedError from error
    except UNSAID:
        # Asked once more the long way, which knows what to do if that says nothing either.
        await trips.aside(partial(refuse_revoked, viewer, is_reading=True))
        return None
