"""What the gate's script is asked with, part by part, and in how many trips to Redis.

On one server all parts are asked at once, in one atomic step with the admission. On a cluster the keys of a user, of
velocity and of a sale lie on different shards, so that the same script is asked of one shard after the other, in the
same order and with the same answers. What that gives up: docs/decisions/0023-redis-cluster.md.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from models import rediskeys
from models.gateline import Copies, GateScript
from models.names import nonce
from models.settings import settings
from models.trips import Trips

if TYPE_CHECKING:
    from models.gate import Checks
    from models.velocity import Question

SCRIPTS = ("limit.lua", "asker.lua", "velocity.lua", "view.lua", "gate.lua")

# What is asked of a sale: a place in its line, only whether the Idempotency-Key is known, or nothing.
LINE, SEEN, NOTHING = "line", "seen", ""
# Answers that promise a place in line.
PROMISES = frozenset({"ADMITTED", "SEEN"})
NOT_ASKED = -1

Answer = list[Any]
Arguments = list[str | int]


class Request(NamedTuple):
    """Whose request for how many units of which sale; `letter` is its kind's, and key and trace are '' without."""

    sale_id: int
    user_id: int
    letter: str
    quantity: int
    key: str
    trace: str


@cache
def _script() -> GateScript:
    folder = Path(__file__).parent
    return GateScript("\n".join((folder / name).read_text() for name in SCRIPTS))


async def ask_at_once(trips: Trips, request: Request, checks: "Checks | None") -> Answer:
    """The gate's answer, in one trip. Raises as GateScript does."""
    if checks is None:
        return await _ask_of_sale(trips, request, LINE)
    keys = _keys_of_sale(request)
    keys += _keys_of_asker(request, checks)
    keys += _keys_of_velocity(request, checks.questions)
    arguments: Arguments = [LINE, len(checks.limits), len(checks.questions), *_arguments_of_sale(request)]
    arguments += _arguments_of_asker(checks)
    for question in checks.questions:
        arguments += question.arguments
    return await _script().ask(trips, keys, arguments, _copies())


async def ask_in_turn(trips: Trips, request: Request, checks: "Checks | None") -> Answer:
    """The same answer, in one trip to each shard. Raises as GateScript does."""
    left, findings = -1, []
    if checks is not None:
        code, _, *values = answer = await _ask_of_asker(trips, request, checks)
        if code != "PASSED":
            return answer
        (left,) = values
        if checks.questions:
            # A retry gets the answer of its first try, and nothing behind it is counted.
            if request.key and (answer := await _ask_of_sale(trips, request, SEEN))[0] != "UNSEEN":
                return _with_left(answer, left)
            code, findings, *_ = answer = await _ask_of_velocity(trips, request, checks.questions)
            if code != "PASSED":
                return answer
    code, _, *values = _with_left(await _ask_of_sale(trips, request, LINE), left)
    return [code, findings, *values]


async def _ask_of_sale(trips: Trips, request: Request, asked: str) -> Answer:
    arguments = [asked, NOT_ASKED, 0, *_arguments_of_sale(request)]
    return await _script().ask(trips, _keys_of_sale(request), arguments, _copies())


async def _ask_of_asker(trips: Trips, request: Request, checks: "Checks") -> Answer:
    keys = _keys_of_asker(request, checks)
    return await _script().ask(trips, keys, [NOTHING, len(checks.limits), 0, *_arguments_of_asker(checks)])


async def _ask_of_velocity(trips: Trips, request: Request, questions: "tuple[Question, ...]") -> Answer:
    arguments: Arguments = [NOTHING, NOT_ASKED, len(questions)]
    for question in questions:
        arguments += question.arguments
    return await _script().ask(trips, _keys_of_velocity(request, questions), arguments)


def _copies() -> Copies | None:
    known = settings()
    return Copies(known.redis_wait_replicas, known.redis_wait_ms, PROMISES) if known.redis_wait_replicas else None


def _with_left(answer: Answer, left: int) -> Answer:
    """A place in line is told with how many more requests the limits let in, which another shard knows."""
    return [*answer[:-1], left] if answer[0] in PROMISES else answer


def _keys_of_sale(request: Request) -> list[str]:
    sale_id = request.sale_id
    return [
        rediskeys.view(sale_id),
        rediskeys.mailbox(sale_id),
        rediskeys.awake(sale_id),
        rediskeys.idempotency(sale_id, request.user_id, request.key),
        rediskeys.counts(sale_id),
    ]


def _arguments_of_sale(request: Request) -> Arguments:
    known = settings()
    return [
        request.user_id,
        request.letter,
        request.quantity,
        nonce(),
        request.key,
        known.idempotency_hours * 3600,
        known.line_max,
        rediskeys.AWAKE_MS,
        request.trace,
        1 if known.redis_wait_replicas else 0,
    ]


def _keys_of_asker(request: Request, checks: "Checks") -> list[str]:
    user_id = request.user_id
    limits = [rediskeys.limit(user_id, limit.seconds) for limit in checks.limits]
    return [rediskeys.revoked(user_id, checks.jti), rediskeys.generation(user_id), *limits]


def _arguments_of_asker(checks: "Checks") -> Arguments:
    arguments: Arguments = [checks.generation]
    for limit in checks.limits:
        arguments += (limit.amount, limit.seconds * 1000)
    return arguments


def _keys_of_velocity(request: Request, questions: "tuple[Question, ...]") -> list[str]:
    noted = [rediskeys.velocity_noted(each.signal, request.user_id, request.sale_id) for each in questions]
    return [*(each.seen_key for each in questions), *noted]
