"""Deadlines of tasks that nearly always end in time."""

import asyncio

from web.deadlines import Deadlines


class TestDeadlines:
    def test_only_whoever_takes_too_long_is_cancelled(self):
        async def run():
            deadlines = Deadlines(0.3)

            async def take(seconds):
                task = deadlines.begin()
                try:
                    await asyncio.sleep(seconds)
                except asyncio.CancelledError:
                    return "late", deadlines.end(task), asyncio.current_task().cancelling()
                return "in time", deadlines.end(task)

            quick = asyncio.create_task(take(0.01))
            late = asyncio.create_task(take(30))
            await asyncio.sleep(0.2)
            later = asyncio.create_task(take(30))
            return await asyncio.gather(quick, late, later)

        assert asyncio.run(run()) == [("in time", False), ("late", True, 0), ("late", True, 0)]

    def test_a_cancellation_that_is_somebody_elses_is_not_its(self):
        async def run():
            deadlines = Deadlines(30)

            async def take():
                task = deadlines.begin()
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    return deadlines.end(task)

            taking = asyncio.create_task(take())
            await asyncio.sleep(0)
            taking.cancel()
            return await taking

        assert asyncio.run(run()) is False
