"""What the model is made of: lines of waiting requests, stations that serve them, and cores that stations share."""

from collections import deque
from collections.abc import Iterator, Mapping

# Less of a core's time than this is a rounding error.
EPSILON = 1e-9


class Fifo:
    """Requests in order, as cohorts: the tick in which they came, how many, and which try or kind they are."""

    def __init__(self) -> None:
        self._cohorts: deque[list[int]] = deque()
        self.total = 0

    def put(self, tick: int, count: int, mark: int = 0) -> None:
        if count:
            self._cohorts.append([tick, count, mark])
            self.total += count

    def take(self, count: int) -> Iterator[tuple[int, int, int]]:
        """The first so many; raises IndexError where there are fewer."""
        self.total -= count
        while count:
            first = self._cohorts[0]
            part = min(count, first[1])
            yield first[0], part, first[2]
            first[1] -= part
            count -= part
            if not first[1]:
                self._cohorts.popleft()


class Station:
    """Serves a line with at most `servers` cores at once, from each of `pools` the share of the work that it says."""

    def __init__(self, name: str, servers: float, pools: Mapping[str, float]) -> None:
        self.name = name
        self.servers = servers
        self.pools = {pool: share for pool, share in pools.items() if share > 0}
        self.line = Fifo()
        self.cost_ms = 0.0
        self.used_ms = 0.0  # of cores
        self.busy_ms = 0.0  # the same with the time in which the station could do nothing else
        self._credit_ms = 0.0

    def wants(self, tick_ms: float, speed: float = 1.0) -> float:
        """Milliseconds of cores that it could use in a tick; `speed` is the share of it that is not spent waiting."""
        return min(self.line.total * self.cost_ms - self._credit_ms, self.servers * tick_ms * speed)

    @property
    def owed_ms(self) -> float:
        """Work that is to be done beside the line, and before it."""
        return max(0.0, -self._credit_ms)

    @property
    def is_paid_up(self) -> bool:
        """Whether no work is owed beside the line."""
        return self._credit_ms >= -EPSILON

    def owe(self, work_ms: float) -> None:
        """Work beside the line, to be done before what waits in it."""
        self._credit_ms -= work_ms

    def serve(self, granted_ms: float, speed: float = 1.0) -> int:
        """How many of the line are done with so much of the cores; who asks takes them from the line."""
        self.used_ms += granted_ms
        self.busy_ms += granted_ms / speed
        self._credit_ms += granted_ms
        waiting = self.line.total
        if self.cost_ms > EPSILON:
            # What is owed is not forgiven: nobody is served until it is paid.
            done = max(0, min(waiting, int(self._credit_ms / self.cost_ms + EPSILON)))
        else:
            done = waiting if self.is_paid_up else 0
        self._credit_ms -= done * self.cost_ms
        if done == waiting:
            self._credit_ms = min(self._credit_ms, 0.0)
        return done


def share_out(wants: Mapping[Station, float], cores: Mapping[str, float], tick_ms: float) -> dict[Station, float]:
    """The time that each station gets of the cores, in milliseconds.

    As a scheduler does it: nobody gets more than they want, and no process has less than another that could have more.
    """
    room = {pool: count * tick_ms for pool, count in cores.items()}
    got = dict.fromkeys(wants, 0.0)
    asking = [station for station, want in wants.items() if want > EPSILON]
    while asking:
        shares = dict.fromkeys(room, 0.0)
        for station in asking:
            for pool, share in station.pools.items():
                shares[pool] += share * station.servers
        step = min((wants[station] - got[station]) / station.servers for station in asking)
        step = min([step, *(room[pool] / share for pool, share in shares.items() if share > 0)])
        for station in asking:
            got[station] += step * station.servers
        for pool, share in shares.items():
            room[pool] -= step * share
        asking = [
            station
            for station in asking
            if wants[station] - got[station] > EPSILON and all(room[pool] > EPSILON for pool in station.pools)
        ]
    return got
