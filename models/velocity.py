"""Velocity: a request is scored by what is behind it, before it gets a ticket.

Three signals, each a count of different ones within a window: accounts behind an address, sales attempted by an
account, buyers of a sale behind one card or address that the shop names by a key. All are asked and counted inside
the gate's script (`velocity.lua`), so that a hundred at once are counted one by one.
"""

import hashlib
import hmac
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from models import rediskeys
from models.addresses import customer_of
from models.errors import ForbiddenError
from models.fraud import Signal, Verdict
from models.settings import settings

# Members that one subject's count remembers at most.
KEPT_MAX = 10_000
GROUP_KEY_LENGTH_MAX = 200
VERDICTS = {1: Verdict.FLAG, 2: Verdict.REFUSE}


class Attempt(NamedTuple):
    """A request for units of a sale; `group_key` is the shop's own name for a card or an address, in the clear."""

    user_id: int
    sale_id: int
    address: str
    group_key: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A signal that is not well with an attempt.

    `count` of different ones were seen where `threshold` is what it takes for this verdict; `is_new` says whether
    nobody has made a record of it in this window.
    """

    signal: Signal
    subject: str
    verdict: Verdict
    count: int
    threshold: int
    window_seconds: int
    is_new: bool

    @property
    def score(self) -> int:
        """In percent of the threshold."""
        return self.count * 100 // self.threshold


class Question(NamedTuple):
    """One signal of one attempt, as the script is asked. A threshold of 0 is never reached."""

    signal: Signal
    subject: str
    seen_key: str
    member: int
    window_seconds: int
    flag_at: int
    refuse_at: int

    @property
    def arguments(self) -> tuple[int, ...]:
        return self.member, self.window_seconds * 1000, self.flag_at, self.refuse_at, KEPT_MAX


class VelocityRefusedError(ForbiddenError):
    """Too much is behind this request. Which signal it was stands in the record, not in the answer: whoever tries
    limits out should not be told which one they met."""

    code = "VELOCITY_REFUSED"
    message = "This request was not accepted; if you think it should be, write to us"


def questions_about(attempt: Attempt, passes: AbstractSet[tuple[str, str]] = frozenset()) -> tuple[Question, ...]:
    """What to ask of an attempt; signals whose (signal, subject) is in `passes` are not asked."""
    asked = tuple(_questions(attempt))
    return tuple(each for each in asked if (each.signal, each.subject) not in passes) if passes else asked


def findings_of(asked: tuple[Question, ...], numbers: list[int]) -> list[Finding]:
    """What the script found not to be well: it answers three numbers for each question, or none at all."""
    if not numbers:
        return []
    answers = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    return [
        Finding(
            signal=each.signal,
            subject=each.subject,
            verdict=VERDICTS[verdict],
            count=count,
            threshold=each.flag_at if VERDICTS[verdict] is Verdict.FLAG else each.refuse_at,
            window_seconds=each.window_seconds,
            is_new=bool(note),
        )
        for each, (verdict, count, note) in zip(asked, answers, strict=False)
        if verdict
    ]


def hash_group_key(group_key: str) -> str:
    """What is kept of a group key: nobody who reads Redis or a record can try card numbers on it."""
    secret = settings().jwt_secret_key.encode()
    return hmac.new(secret, b"group key:" + group_key.encode(), hashlib.sha256).hexdigest()[:32]


def _questions(attempt: Attempt) -> Iterator[Question]:
    known = settings()
    customer, user, sale = customer_of(attempt.address), attempt.user_id, attempt.sale_id
    if known.velocity_accounts_flag or known.velocity_accounts_refuse:
        yield Question(
            Signal.MANY_ACCOUNTS,
            customer,
            rediskeys.velocity_address(customer),
            user,
            known.velocity_accounts_window_seconds,
            known.velocity_accounts_flag,
            known.velocity_accounts_refuse,
        )
    if known.velocity_sales_flag or known.velocity_sales_refuse:
        yield Question(
            Signal.MANY_SALES,
            str(user),
            rediskeys.velocity_user(user),
            sale,
            known.velocity_sales_window_seconds,
            known.velocity_sales_flag,
            known.velocity_sales_refuse,
        )
    if attempt.group_key is not None and known.velocity_group_buyers_max:
        group = hash_group_key(attempt.group_key)
        yield Question(
            Signal.SHARED_GROUP,
            group,
            rediskeys.velocity_group(group, sale),
            user,
            known.velocity_group_window_seconds,
            0,
            known.velocity_group_buyers_max + 1,
        )
