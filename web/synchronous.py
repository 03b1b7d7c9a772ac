"""For clients that know of no line: they name a product rather than a sale, themselves in the body, and wait."""

from models.errors import ForbiddenError
from models.purchase import Kind
from models.record import PurchaseRecord
from models.reservations import purchase_of_key, sale_of_key, sale_of_product
from models.settings import settings
from web.auth import current_user
from web.preferences import idempotency_key, preferred_wait_seconds
from web.purchases import ask_for

# The line settles in milliseconds; whoever waits longer than this is told their place in it.
WAIT_SECONDS = 10


class NotYoursError(ForbiddenError):
    code = "NOT_YOUR_ACCOUNT"
    message = "The token is another user's"


def acting_user(named_id: int | None) -> int:
    """The current user's id, where a client names who acts. Raises NotYoursError: nobody acts for anybody else."""
    user_id = current_user().user_id
    if named_id not in (None, user_id):
        raise NotYoursError
    return user_id


def wait_seconds() -> float:
    """How long a client that never asked to wait is waited for; `Prefer: wait=N` says otherwise."""
    return preferred_wait_seconds() or min(WAIT_SECONDS, settings().wait_seconds_max)


def ask_for_product(product_id: int, quantity: int, kind: Kind) -> PurchaseRecord:
    """Ask for units of whatever sale the product is in: the outcome, or the place in line if it did not come in time.

    Raises ProductNotFoundError, SaleNotFoundError, KeyReusedError, and what the gate refuses.
    """
    key = idempotency_key()
    if not key:
        return ask_for(sale_of_product(product_id).id, quantity, kind, wait_seconds())
    asked = product_id, current_user().user_id, key, kind, quantity
    earlier = purchase_of_key(*asked)
    if earlier is not None:
        return earlier
    # In this order: once another sale is the product's, the gate of the one before lets nobody in, and whom it did let
    # in it knows. And what was settled since the rows were asked is found there, even if Redis loses its key just now.
    sale_id = sale_of_product(product_id).id
    known_to = sale_of_key(product_id, current_user().user_id, key)
    if known_to is None and (earlier := purchase_of_key(*asked)) is not None:
        return earlier
    return ask_for(known_to or sale_id, quantity, kind, wait_seconds())
