"""Deadlines that are all equally long, watched by one timer: for tasks that nearly always end in time.

`asyncio.timeout` makes a timer, and looks up its task, for every use: a tenth of what a request for units costs.
"""

import asyncio


class Deadlines:
    """Tasks of one event loop that may each take so many seconds for something; who takes longer is cancelled."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        # In the order of their ends, which is that of their beginnings.
        self._ends: dict[asyncio.Task[object], float] = {}
        self._missed: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> "asyncio.Task[object] | None":
        """From here on the current task has so long; give what this returns to `end`. None: nobody can be cancelled."""
        task = asyncio.current_task(self._loop)
        if task is not None:
            self._ends[task] = self._loop.time() + self._seconds
            if self._timer is None:
                self._timer = self._loop.call_later(self._seconds, self._look)
        return task

    def end(self, task: "asyncio.Task[object] | None") -> bool:
        """Whether it took too long: then a CancelledError in it is ours."""
        if task is None:
            return False
        self._ends.pop(task, None)
        if task in self._missed:
            self._missed.discard(task)
            task.uncancel()
            return True
        return False

    def _look(self) -> None:
        self._timer = None
        moment = self._loop.time()
        for task, end in list(self._ends.items()):
            if end > moment:
                self._timer = self._loop.call_later(end - moment, self._look)
                return
            del self._ends[task]
            self._missed.add(task)
            task.cancel()
