"""After a restore: make Redis say what PostgreSQL knows, whichever of the two comes from the older copy.

Nothing else may run meanwhile: no web, no worker. Every step may be repeated, also after it was killed half-way.

PostgreSQL is the truth, so what it has settled is settled, and `settled_through` is where the line goes on. A Redis
that is older still holds requests that were settled since, and would give their tickets out again. One that is newer
has dropped requests whose outcomes PostgreSQL has lost; what still waits there stands behind a gap, which an audit
would rightly call a loss. So each line is written anew: the requests without an outcome, in their old order, right
above `settled_through`. docs/backup.md says what a restore can bring back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import select

from models import rediskeys
from models.announce import rebuild_view
from models.database import transaction
from models.gate import KIND_LETTERS
from models.mailbox import Entries, parse_entry
from models.purchase import Kind, Purchase
from models.redisclient import read_count, redis_client
from models.sale import FlashSale
from models.settings import settings

SCAN_KEYS = 1_000
# Entries read, written or looked up in one step; keeps each far below the bound of a call.
STEP = 1_000
# How far every sale's line is settled.
SETTLED = select(FlashSale.id, FlashSale.settled_through).where(FlashSale.history_archived_at.is_(None))
# The sales that were long over when their purchases were archived: nobody waits for them.
ARCHIVED = select(FlashSale.id).where(FlashSale.history_archived_at.is_not(None))


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What became of Redis: requests that wait, of those the ones under a new ticket, requests that had their outcome
    already, Idempotency-Keys that now point elsewhere or nowhere, sales that PostgreSQL has never heard of, and those
    whose history was archived."""

    sales: int = 0
    waiting: int = 0
    moved: int = 0
    already_settled: int = 0
    keys_corrected: int = 0
    keys_forgotten: int = 0
    unknown_sales: int = 0
    archived_sales: int = 0

    def __add__(self, other: "Reconciled") -> "Reconciled":
        mine, theirs = asdict(self), asdict(other)
        return Reconciled(**{name: mine[name] + theirs[name] for name in mine})


def anybody_is_at_work() -> bool:
    """Whether a worker or beat was heard of within the last seconds: then this is no moment to rewrite lines."""
    if redis_client().exists(rediskeys.BEAT_HEARTBEAT):
        return True
    return any(True for _ in redis_client().scan_iter(match=rediskeys.WORKER_HEARTBEAT_PATTERN, count=SCAN_KEYS))


def reconcile() -> Reconciled:
    """Reconcile every sale that either side knows. Raises what PostgreSQL or Redis raise when they are away."""
    done = Reconciled()
    in_redis = {
        found for key in redis_client().scan_iter(match="{sale:*}:*", count=SCAN_KEYS) if (found := _sale_of(key))
    }
    with transaction() as session:
        known = {int(sale_id): int(settled) for sale_id, settled in session.execute(SETTLED)}
        archived = set(session.scalars(ARCHIVED))
    for sale_id in sorted(in_redis - known.keys()):
        _forget(redis_client().scan_iter(match=f"{{sale:{sale_id}}}:*", count=SCAN_KEYS))
        done += Reconciled(archived_sales=1) if sale_id in archived else Reconciled(unknown_sales=1)
    for sale_id, settled_through in sorted(known.items()):
        if sale_id in in_redis:
            done += _reconcile_sale(sale_id, settled_through)
    return done


def _reconcile_sale(sale_id: int, settled_through: int) -> Reconciled:
    """Write the sale's line, keys and view anew."""
    entries = list(_entries(sale_id))
    settled = _settled_nonces(sale_id, [fields["n"] for _, fields in entries if "n" in fields])
    waiting = [entry for entry in entries if not _has_outcome(entry, settled, settled_through)]
    # `moved` keys speak of the past that was lost; those that still matter are written below.
    _forget(redis_client().scan_iter(match=f"{{sale:{sale_id}}}:moved:*", count=SCAN_KEYS))
    moved = _rewrite_line(sale_id, settled_through, waiting)
    corrected, forgotten = _reconcile_keys(sale_id, settled_through, waiting)
    redis_client().delete(
        rediskeys.view(sale_id), rediskeys.events(sale_id), rediskeys.leaderboard(sale_id), rediskeys.awake(sale_id)
    )
    rebuild_view(sale_id)
    return Reconciled(
        sales=1,
        waiting=len(waiting),
        moved=moved,
        already_settled=len(entries) - len(waiting),
        keys_corrected=corrected,
        keys_forgotten=forgotten,
    )


def _entries(sale_id: int) -> Iterator[tuple[str, dict[str, str]]]:
    """The mailbox as it is, a step at a time; nothing where somebody else left something that is no stream."""
    if redis_client().type(rediskeys.mailbox(sale_id)) != "stream":
        return
    after = "-"
    while page := cast(Entries, redis_client().xrange(rediskeys.mailbox(sale_id), min=after, count=STEP)):
        yield from page
        after = f"({page[-1][0]}"


def _settled_nonces(sale_id: int, nonces: list[str]) -> set[str]:
    """Which of these requests PostgreSQL has an outcome for, under whatever ticket."""
    found: set[str] = set()
    for start in range(0, len(nonces), STEP):
        query = select(Purchase.nonce).where(
            Purchase.sale_id == sale_id, Purchase.nonce.in_(nonces[start : start + STEP])
        )
        with transaction() as session:
            found.update(session.scalars(query))
    return found


def _has_outcome(entry: tuple[str, dict[str, str]], settled: set[str], settled_through: int) -> bool:
    request = parse_entry(*entry)
    if request.malformed:  # nobody can tell whose it is, only where it stood
        return request.ticket <= settled_through
    return request.nonce in settled


def _rewrite_line(sale_id: int, settled_through: int, waiting: Entries) -> int:
    """Number the waiting requests from `settled_through` on; returns how many have a new ticket.

    Beside the mailbox, and put in its place when it is whole: a line that was being written when somebody pulled the
    plug is written again.
    """
    draft = rediskeys.mailbox_draft(sale_id)
    redis_client().delete(draft)
    if settled_through > 0:
        floor = f"0-{settled_through}"
        redis_client().xadd(draft, {"floor": "1"}, id=floor)
        redis_client().xdel(draft, floor)
    moved = 0
    keep_seconds = settings().idempotency_hours * 3600
    for start in range(0, len(waiting), STEP):
        pipeline = redis_client().pipeline(transaction=False)
        for ticket, (entry_id, fields) in enumerate(waiting[start : start + STEP], start=settled_through + start + 1):
            was = parse_entry(entry_id, fields)
            told = dict(fields)
            if was.ticket != ticket and not was.malformed:
                moved += 1
                told["o"] = fields.get("o", str(was.ticket))
                for known_as in {was.ticket, was.original_ticket or was.ticket}:
                    pipeline.set(rediskeys.moved(sale_id, known_as, was.user_id), ticket, ex=keep_seconds)
            pipeline.xadd(draft, cast(dict[Any, Any], told), id=f"0-{ticket}")
        pipeline.execute()
    if redis_client().exists(draft):
        redis_client().rename(draft, rediskeys.mailbox(sale_id))
    else:
        redis_client().delete(rediskeys.mailbox(sale_id))
    return moved


def _reconcile_keys(sale_id: int, settled_through: int, waiting: Entries) -> tuple[int, int]:
    """Point every Idempotency-Key at its request; forget those whose request neither side has any more, so that the
    buyer's retry is a first try. Returns how many were pointed elsewhere, and how many forgotten."""
    in_line: dict[tuple[int, str], int] = {}
    for ticket, entry in enumerate(waiting, start=settled_through + 1):
        request = parse_entry(*entry)
        if request.idempotency_key:
            in_line.setdefault((request.user_id, request.idempotency_key), ticket)
    corrected = forgotten = 0
    prefix = rediskeys.idempotency_prefix(sale_id)
    for page in _pages(redis_client().scan_iter(match=f"{prefix}*", count=SCAN_KEYS)):
        asked = {name: _user_and_key(name.removeprefix(prefix)) for name in page}
        settled = _settled_keys(sale_id, asked.values())
        said = cast(list[str | None], redis_client().mget(page))
        pipeline = redis_client().pipeline(transaction=False)
        for name, value in zip(page, said, strict=True):
            _, _, body = (value or "").partition(":")
            place = in_line.get(asked[name])
            right = settled.get(asked[name]) or (f"{place}:{body}" if place else None)
            if right is None:
                pipeline.delete(name)
                forgotten += 1
            elif right != value:
                pipeline.set(name, right, keepttl=True)
                corrected += 1
        pipeline.execute()
    return corrected, forgotten


def _settled_keys(sale_id: int, asked: Iterable[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """What the gate should say for those of these keys that have an outcome."""
    users = {user for user, _ in asked}
    query = select(Purchase.user_id, Purchase.idempotency_key, Purchase.ticket, Purchase.kind, Purchase.quantity).where(
        Purchase.sale_id == sale_id, Purchase.user_id.in_(users), Purchase.idempotency_key.is_not(None)
    )
    with transaction() as session:
        return {
            (user, str(key)): f"{ticket}:{KIND_LETTERS[Kind(kind)]}{quantity}"
            for user, key, ticket, kind, quantity in session.execute(query)
        }


def _user_and_key(rest: str) -> tuple[int, str]:
    """Whose key this is; nobody's (no user has the id 0) where it is none of ours."""
    user, _, key = rest.partition(":")
    return read_count(user) or 0, key


def _sale_of(key: str) -> int | None:
    return read_count(key.removeprefix("{sale:").partition("}")[0])


def _forget(keys: Iterator[str]) -> None:
    for page in _pages(keys):
        redis_client().delete(*page)


def _pages(keys: Iterator[str]) -> Iterator[list[str]]:
    page: list[str] = []
    for key in keys:
        page.append(key)
        if len(page) == STEP:
            yield page
            page = []
    if page:
        yield page
