"""Long lines, made quickly: admitted by the gate once, and copied inside Redis ever after."""

from collections.abc import Sequence
from typing import Any, cast

from bench.progress import say
from bench.sale import new_sale
from models import rediskeys
from models.gate import admit
from models.purchase import Kind
from models.redisclient import listening_client

# A line of a hundred thousand is one command, and takes longer than anything that the shop asks for.
COMMAND_SECONDS_MAX = 60

# Line up what waits in one mailbox in another as well, entry by entry, under the other's own next tickets.
LINE_UP_AGAIN = """
    local from = '-'
    while true do
      local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1000)
      if #entries == 0 then return redis.call('XLEN', KEYS[2]) end
      for _, entry in ipairs(entries) do
        redis.call('XADD', KEYS[2], '0-*', unpack(entry[2]))
        from = '(' .. entry[1]
      end
    end
"""


class Line:
    """Requests of different buyers for one unit each, as the gate wrote them, to be put before any sale."""

    def __init__(self, users: Sequence[int]) -> None:
        """Raises what the gate raises; users need not exist."""
        say(f"{len(users):,} requests pass the gate")
        model = new_sale("Line")
        for user in users:
            admit(model, user, Kind.PURCHASE, 1)
        self.length = len(users)
        self._model = model
        self._copy = _raw("DUMP", rediskeys.mailbox(model))

    def put_before(self, sale_id: int) -> None:
        """Make it the line of a sale that never had one."""
        _raw("RESTORE", rediskeys.mailbox(sale_id), 0, self._copy)

    def line_up_again(self, sale_id: int, times: int = 1) -> int:
        """Line up behind whoever waits, so many times over; returns how many wait then."""
        again = listening_client(COMMAND_SECONDS_MAX).register_script(LINE_UP_AGAIN)
        # One go a call: none of them keeps Redis from others for long.
        return max(int(again(keys=[rediskeys.mailbox(self._model), rediskeys.mailbox(sale_id)])) for _ in range(times))


def _raw(*words: Any) -> bytes:
    """A command whose answer is bytes, not text."""
    with listening_client(COMMAND_SECONDS_MAX) as client:
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command(*words)
            return cast(bytes, connection.read_response(disable_decoding=True))
        finally:
            client.connection_pool.release(connection)
