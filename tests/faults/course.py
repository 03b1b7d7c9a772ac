"""The course of one seed: make the sales, let the crowd loose, begin the faults, wait for recovery, ask the oracle."""

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psutil
import psycopg
import redis

from models.clock import now, to_iso
from models.tokens import issue_access_token
from models.user import Role
from ops.buyers import Buyer, make_buyers
from ops.errors import OpsError
from ops.rush.shop import TroubleError
from tests.faults import kinds_beat, kinds_network, kinds_postgres, kinds_processes, kinds_redis
from tests.faults.crowd import Crowd
from tests.faults.evidence import gather
from tests.faults.kinds import FAULTS, Fault, Site
from tests.faults.ledger import Ask, Ledger
from tests.faults.oracle import Verdict, judge
from tests.faults.plan import AskPlan, Plan, SalePlan, make_plan
from tests.faults.stack import POLL_SECONDS, Stack

KINDS = (kinds_processes, kinds_redis, kinds_postgres, kinds_network, kinds_beat)  # by import they register

DRAIN_SECONDS = 15.0
# A line that is not empty by then never will be: what is found is written down.
GIVE_UP_SECONDS = 180.0
RECOVERY_SECONDS_MAX = 300.0
HOME_SECONDS_MAX = 120.0
TOKEN_LIFETIME = timedelta(days=1)
SETUP_SECONDS_MAX = 180.0
# The rush begins when the sales are made and known.
LEAD_SECONDS = 0.5

ADMIN = "INSERT INTO users (name, email, role) VALUES ('Operator', %s, 'admin') RETURNING id"


@dataclass(slots=True)
class Result:
    """What became of a seed.

    `restart_seconds` from the end of the faults until everything that they killed runs again (its supervisor's work and
    the machine's speed), `drain_seconds` from there until the last line was empty.
    """

    seed: int
    faults: tuple[str, ...]
    verdict: Verdict
    requests: int
    drain_seconds: float = 0.0
    restart_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        return self.verdict.is_right


def plan_of(seed: int, only: str | None = None) -> Plan:
    """The plan of a seed over all kinds of faults, or over one."""
    return make_plan(seed, list(FAULTS), [name for name, kind in FAULTS.items() if kind.may_be_second], only)


def run_seed(stack: Stack, plan: Plan, *, drain_seconds_max: float = DRAIN_SECONDS) -> Result:
    """Run one seed on a stack that is well, and leave it well; raises OpsError where it does not become so again."""
    result = asyncio.run(_Course(stack, plan).run(drain_seconds_max))
    stack.revive()
    stack.wait_until_ready()
    return result


class _Course:
    """One seed, with what all of its steps need."""

    def __init__(self, stack: Stack, plan: Plan) -> None:
        self._stack = stack
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._ledger = Ledger()
        self._crowd = Crowd(stack.web_urls, stack.live_urls, self._ledger, random.Random(plan.seed))

    async def run(self, drain_seconds_max: float) -> Result:
        async with self._crowd:
            admin_token, buyers = await asyncio.to_thread(self._people)
            begins_at = time.monotonic() + LEAD_SECONDS
            sale_ids = [await self._make_sale(admin_token, sale, begins_at) for sale in self._plan.sales]
            begins_at = max(begins_at, time.monotonic())
            site = Site(self._stack, self._rng, sale_ids, admin_token, self._ledger)
            crowd = self._let_loose(sale_ids, buyers, begins_at)
            await asyncio.gather(*(self._fault(site, name, begins_at + at) for name, at in self._plan.faults))
            over_at = time.monotonic()
            await asyncio.to_thread(self._recover)
            recovered_at = time.monotonic()
            drained_at = await self._drain(sale_ids, crowd, recovered_at)
            self._crowd.is_over.set()
            _, stuck = await asyncio.wait(crowd, timeout=HOME_SECONDS_MAX)
            for task in stuck:
                task.cancel()
            for task in crowd:
                if not task.cancelled() and task.done() and (error := task.exception()) is not None:
                    raise error
            evidence = await gather(self._stack, self._crowd, self._ledger, sale_ids)
            verdict = judge(self._ledger, evidence.sales, evidence.rows, site.restores)
            if stuck:
                verdict.complain(f"{len(stuck)} buyers never came home")
            self._judge_drain(verdict, drained_at, recovered_at, drain_seconds_max)
            for name, _ in self._plan.faults:
                await self._after(site, FAULTS[name], verdict)
        return Result(
            seed=self._plan.seed,
            faults=tuple(name for name, _ in self._plan.faults),
            verdict=verdict,
            requests=len(self._ledger.asks),
            restart_seconds=round(recovered_at - over_at, 2),
            drain_seconds=round((drained_at or time.monotonic()) - recovered_at, 2),
            notes=site.notes,
        )

    def _people(self) -> tuple[str, list[Buyer]]:
        """An admin's token, and a fresh buyer for every request."""
        with self._stack.sql(autocommit=True) as connection:
            admin = connection.execute(ADMIN, (f"{secrets.token_hex(6)}@operators.example",)).fetchone()
        with psycopg.connect(self._stack.postgres.url, autocommit=True) as connection:
            buyers = make_buyers(connection, len(self._plan.asks))
        admin_id = int(str(admin and admin["id"]))
        return issue_access_token(admin_id, Role.ADMIN, TOKEN_LIFETIME), buyers

    async def _make_sale(self, admin_token: str, sale: SalePlan, begins_at: float) -> int:
        name = f"Faults {secrets.token_hex(4)}"
        product = await self._create(admin_token, "/api/products", {"name": name, "price": "99.99"})
        starts = now() + timedelta(seconds=begins_at - time.monotonic() + sale.opens_in - LEAD_SECONDS)
        body: dict[str, Any] = {
            "productId": product,
            "title": name,
            "flashPrice": "49.99",
            "totalStock": sale.stock,
            "startTime": to_iso(starts),
            "holdSeconds": sale.hold_seconds,
        }
        if sale.lasts is not None:
            body["endTime"] = to_iso(starts + timedelta(seconds=sale.lasts + LEAD_SECONDS))
        if sale.max_per_user is not None:
            body["maxPerUser"] = sale.max_per_user
        return int(await self._create(admin_token, "/api/flash-sales", body))

    async def _create(self, token: str, path: str, body: dict[str, Any]) -> str:
        """Make one thing through the API; the stack is well, so a no is an error."""
        end = time.monotonic() + SETUP_SECONDS_MAX
        while True:
            with suppress(TroubleError):
                answer = await self._crowd.ask_anybody("POST", path, token=token, body=body)
                if answer.is_good:
                    return str(answer.data["id"])
                if answer.status < 500 and answer.code != "ACTIVE_SALE_EXISTS":
                    raise OpsError(f"POST {path} was refused: {answer.code} {answer.body.get('errors') or ''}")
            if time.monotonic() > end:
                raise OpsError(f"POST {path}: no good answer within {SETUP_SECONDS_MAX:.0f} s")
            await asyncio.sleep(POLL_SECONDS)

    def _let_loose(
        self, sale_ids: Sequence[int], buyers: Sequence[Buyer], begins_at: float
    ) -> list["asyncio.Task[None]"]:
        tasks = []
        former: list[Buyer] = []
        for number, (plan, fresh) in enumerate(zip(self._plan.asks, buyers, strict=True)):
            buyer = self._rng.choice(former) if plan.is_again and former else fresh
            if not plan.listens and buyer is fresh:
                former.append(fresh)
            ask = self._ask(plan, sale_ids, buyer, number)
            self._ledger.asks.append(ask)
            tasks.append(asyncio.create_task(self._crowd.visit(ask, begins_at + plan.at, listens=plan.listens)))
        return tasks

    @staticmethod
    def _ask(plan: AskPlan, sale_ids: Sequence[int], buyer: Buyer, number: int) -> Ask:
        return Ask(
            sale_id=sale_ids[plan.sale],
            user_id=buyer.user_id,
            token=buyer.token,
            kind=plan.kind,
            quantity=plan.quantity,
            key=f"ask-{number}" if plan.has_key else None,
            then=plan.then,
        )

    @staticmethod
    async def _fault(site: Site, name: str, at: float) -> None:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        with suppress(psutil.NoSuchProcess):  # another fault was quicker
            await FAULTS[name].run(site)

    @staticmethod
    async def _after(site: Site, kind: Fault, verdict: Verdict) -> None:
        for complaint in await kind.check(site) if kind.check is not None else ():
            verdict.complain(complaint)
        if kind.after is not None:
            await kind.after(site)

    def _recover(self) -> None:
        """Wait until the servers answer, and the supervisor has started again what was killed."""
        self._stack.revive()
        self._stack.wait_until_up(RECOVERY_SECONDS_MAX)

    async def _drain(
        self, sale_ids: Sequence[int], crowd: Sequence["asyncio.Task[None]"], recovered_at: float
    ) -> float | None:
        """When every line was empty and nobody was buying any more; None if that never came."""
        drained_at: float | None = None
        end = recovered_at + GIVE_UP_SECONDS
        while time.monotonic() < end:
            is_empty = await asyncio.to_thread(self._lines_are_empty, sale_ids)
            drained_at = (drained_at or time.monotonic()) if is_empty else None
            if drained_at is not None and self._everybody_asked(crowd):
                return drained_at
            await asyncio.sleep(POLL_SECONDS)
        return None

    def _everybody_asked(self, crowd: Sequence["asyncio.Task[None]"]) -> bool:
        """Whether nobody is still at the till: everyone has a ticket or a refusal, or went home."""
        pairs = zip(self._ledger.asks, crowd, strict=True)
        return all(ask.is_accepted or task.done() for ask, task in pairs)

    def _lines_are_empty(self, sale_ids: Sequence[int]) -> bool:
        try:
            with self._stack.keys() as client:
                return all(not client.xlen(f"{{sale:{sale_id}}}:mailbox") for sale_id in sale_ids)
        except redis.RedisError:
            return False

    def _judge_drain(self, verdict: Verdict, drained_at: float | None, recovered_at: float, seconds_max: float) -> None:
        if drained_at is None:
            verdict.complain(f"the line was not empty {GIVE_UP_SECONDS:.0f} s after recovery")
        elif drained_at - recovered_at > seconds_max:
            verdict.complain(f"the line was empty only {drained_at - recovered_at:.1f} s after recovery")
