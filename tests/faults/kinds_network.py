"""Faults of the line between a process and a server: cut, refused, slow, or a black hole."""

import asyncio

from tests.faults.kinds import Site, fault
from tests.faults.proxy import Line
from tests.faults.stack import SERVERS


def _lines(site: Site, server: str) -> list[Line]:
    """The lines of a few processes, or of all, to one server."""
    programs = site.stack.programs
    chosen = site.rng.sample(programs, site.rng.choice((1, 2, 3, len(programs))))
    site.notes.append(f"{server}: {', '.join(sorted(chosen)) if len(chosen) < len(programs) else 'everybody'}")
    return [site.stack.line(program, server) for program in chosen]


async def _for_a_while(site: Site, lines: list[Line], least: float, most: float) -> None:
    try:
        await site.hold(least, most)
    finally:
        for line in lines:
            await asyncio.to_thread(line.mend)


def _register(server: str) -> None:
    @fault(f"cut-{server}", f"connections to {server} reset, again and again", may_be_second=True)
    async def cut(site: Site) -> None:
        lines = _lines(site, server)
        for _ in range(site.rng.randint(1, 8)):
            for line in lines:
                await asyncio.to_thread(line.cut)
            await site.hold(0.05, 0.4)

    @fault(f"refuse-{server}", f"{server} cannot be reached by some", may_be_second=True)
    async def refuse(site: Site) -> None:
        lines = _lines(site, server)
        for line in lines:
            await asyncio.to_thread(line.refuse)
        await _for_a_while(site, lines, 1.0, 3.0)

    @fault(f"slow-{server}", f"every word to and from {server} takes its time", may_be_second=True)
    async def slow(site: Site) -> None:
        lines = _lines(site, server)
        seconds = site.rng.uniform(0.02, 0.3)
        for line in lines:
            await asyncio.to_thread(line.delay, seconds)
        await _for_a_while(site, lines, 2.0, 4.0)

    @fault(f"black-hole-{server}", f"what is sent to {server} is swallowed, past every timeout")
    async def black_hole(site: Site) -> None:
        lines = _lines(site, server)
        for line in lines:
            await asyncio.to_thread(line.hold)
        await _for_a_while(site, lines, 4.0, 8.0)


for each in SERVERS:
    _register(each)
