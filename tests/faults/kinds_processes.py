"""Faults of our own processes: killed, stopped for a while, away when they are needed, or with a wrong clock."""

import asyncio
import random
import signal
from contextlib import suppress

import psutil
import psycopg

from models import rediskeys
from tests.faults.kinds import Site, fault, until
from tests.faults.stack import LIVES, WEBS, WORKERS

# PostgreSQL puts a session that sleeps in a transaction out after 5 s (models/settings.py).
OVER_THE_TIMEOUTS_SECONDS = 7.0
IN_HAND_TRIES = 200
CLOCKS_APART_SECONDS = 420
RESTART_SECONDS_MAX = 240
CHORES_SECONDS_MAX = 120

IN_A_TRANSACTION = """
    SELECT 1 FROM pg_stat_activity
    WHERE client_port = ANY(%s) AND xact_start IS NOT NULL AND state IN ('idle in transaction', 'active') LIMIT 1
"""


def kill(site: Site, program: str, rng: random.Random | None = None) -> None:
    """kill -9 of a program's main process, or with `rng` of any of its processes."""
    victim = site.stack.process(program, rng)
    if victim is not None:
        with suppress(psutil.NoSuchProcess):
            victim.kill()


@fault("kill-web", "kill -9 of a web process", may_be_second=True)
async def kill_web(site: Site) -> None:
    await asyncio.to_thread(kill, site, site.rng.choice(WEBS), site.rng)


@fault("kill-live", "kill -9 of a live process, sockets and all", may_be_second=True)
async def kill_live(site: Site) -> None:
    await asyncio.to_thread(kill, site, site.rng.choice(LIVES), site.rng)


@fault("kill-worker", "kill -9 of a worker", may_be_second=True)
async def kill_worker(site: Site) -> None:
    await asyncio.to_thread(kill, site, site.rng.choice(WORKERS))


@fault("kill-workers", "kill -9 of both workers at once")
async def kill_workers(site: Site) -> None:
    await asyncio.gather(*(asyncio.to_thread(kill, site, name) for name in WORKERS))


@fault("kill-chores", "kill -9 of chores and of beat", may_be_second=True)
async def kill_chores(site: Site) -> None:
    await asyncio.gather(*(asyncio.to_thread(kill, site, name) for name in ("chores", "beat")))


@fault("kill-everything", "kill -9 of every process but the servers")
async def kill_everything(site: Site) -> None:
    await asyncio.gather(*(asyncio.to_thread(kill, site, name) for name in site.stack.programs))


@fault("stop-worker", "a worker stopped in the middle of a transaction, past its lock and timeouts, then continued")
async def stop_worker(site: Site) -> None:
    name = site.rng.choice(WORKERS)
    victim = await asyncio.to_thread(site.stack.process, name)
    if victim is None:
        return
    in_hand = await asyncio.to_thread(_stop_in_a_transaction, site, name, victim)
    site.notes.append("stopped with a sale in hand" if in_hand else "stopped idle")
    await asyncio.sleep(OVER_THE_TIMEOUTS_SECONDS)
    with suppress(psutil.NoSuchProcess):
        victim.resume()


def _stop_in_a_transaction(site: Site, name: str, victim: psutil.Process) -> bool:
    """Stop the worker again and again until PostgreSQL says that it has a transaction open."""
    line = site.stack.line(name, "postgres")
    with suppress(psutil.NoSuchProcess, psycopg.OperationalError), site.stack.sql(autocommit=True) as connection:
        for _ in range(IN_HAND_TRIES):
            victim.suspend()
            if connection.execute(IN_A_TRANSACTION, (list(line.ports_out),)).fetchone():
                return True
            victim.resume()
    with suppress(psutil.NoSuchProcess):
        victim.suspend()
    return False


@fault("stop-workers", "both workers stopped past their timeouts, then continued")
async def stop_workers(site: Site) -> None:
    victims = [await asyncio.to_thread(site.stack.process, name) for name in WORKERS]
    await _stop_for([victim for victim in victims if victim is not None], OVER_THE_TIMEOUTS_SECONDS)


@fault("stop-web", "a web process stopped for three seconds, then continued", may_be_second=True)
async def stop_web(site: Site) -> None:
    main = await asyncio.to_thread(site.stack.process, site.rng.choice(WEBS))
    if main is not None:
        await _stop_for([main, *main.children(recursive=True)], 3.0)


async def _stop_for(victims: list[psutil.Process], seconds: float) -> None:
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGCONT)


async def _chores_are_done(site: Site) -> list[str]:
    """Beat's ticks still arrive and are taken: the chore that says so says it again."""

    def forget() -> None:
        with site.stack.keys() as client:
            client.delete(rediskeys.BEAT_HEARTBEAT)

    def is_said() -> bool:
        with site.stack.keys() as client:
            return bool(client.exists(rediskeys.BEAT_HEARTBEAT))

    await asyncio.to_thread(forget)
    return [] if await until(is_said, CHORES_SECONDS_MAX) else ["no chore was done while the clocks were apart"]


async def _clocks_right(site: Site) -> None:
    await asyncio.to_thread(_set_clocks, site, dict.fromkeys(site.memory.get("clocks", ()), 0.0))


@fault("clocks-apart", "clocks minutes apart, all the time", check=_chores_are_done, after=_clocks_right)
async def clocks_apart(site: Site) -> None:
    """Always beat or chores, for between these two travels a time; and three others."""
    first = site.rng.choice(("beat", "chores"))
    others = [name for name in site.stack.programs if name not in ("beat", "chores")]
    clocks = {
        name: site.rng.choice((-1, 1)) * site.rng.uniform(60, CLOCKS_APART_SECONDS)
        for name in (first, *site.rng.sample(others, 3))
    }
    site.memory["clocks"] = list(clocks)
    site.notes.append(", ".join(f"{name} {seconds:+.0f} s" for name, seconds in sorted(clocks.items())))
    await asyncio.to_thread(_set_clocks, site, clocks)


def _set_clocks(site: Site, clocks: dict[str, float]) -> None:
    """Give these processes other clocks, by starting them anew; returns when all of them run again."""
    before = site.stack.pids()
    for name, seconds in clocks.items():
        site.stack.set_clock(name, seconds)
        kill(site, name)
    deadline = RESTART_SECONDS_MAX
    asyncio.run(until(lambda: _all_anew(site, before, list(clocks)), deadline))


def _all_anew(site: Site, before: dict[str, int], names: list[str]) -> bool:
    now = site.stack.pids()
    return all(name in now and now[name] != before.get(name) for name in names)
