"""Every Redis key and channel, in one place: name, type, who writes, who reads, how long it lives.

All of a sale's keys carry the hash tag `{sale:<id>}`, and a user's `{user:<id>}`, so that a cluster keeps each on one
shard and one script may touch them together.

| key | type | written by | read by | lives |
| --- | --- | --- | --- | --- |
| `{sale:7}:view` | hash | announce | gate, look, web | 2 days longer than its sale; PostgreSQL is the truth |
| `{sale:7}:mailbox` | stream, ids `0-<ticket>` | gate | settle, look, web | an entry until its ticket is settled |
| `{sale:7}:mailbox:draft` | stream | restored | restored | while a restore writes a line anew |
| `{sale:7}:awake` | string | gate, sweeper | gate, settle | `AWAKE_MS`, or until settle begins |
| `{sale:7}:asked` | string | settle | settle | `AWAKE_MS`, or until the one who settles looks again |
| `{sale:7}:key:<user>:<key>` | string `<ticket>:<body>` | gate | gate, web | `idempotency_hours` |
| `{sale:7}:moved:<ticket>:<user>` | string `<ticket>` | announce | web | `idempotency_hours` |
| `{sale:7}:events` | stream, ids `<revision>-1` | announce | live | the last ones, 2 days longer than its sale |
| `{sale:7}:leaderboard` | hash | settle, holds, web | web | 1 s after it was read, or changed unread |
| `{sale:7}:counts` | hash: refusals by code, and `since` | gate, in memory alone | desk, chores | as its view |
| `{sale:7}:news` | channel | announce | web, live | not kept |
| `{user:7}:revoked:<jti>` | string: `1`, or `used:<ms>:<nonce>` | web | web, live | until the token is over anyway |
| `{user:7}:generation` | string: tokens before it are refused | web, chores | web, live | `refresh_token_days` |
| `generations:told` | string: told of refusals until then | chores | chores | for good |
| `heartbeat:worker:<name>` | string | worker | web | 10 s |
| `workers` | hash name -> `<ms>:<queues>` | worker | desk | a day after the last heartbeat |
| `heartbeat:beat` | string | chores | web | 15 s |
| `socket-ticket:<ticket>` | string | web | live, once | `SOCKET_TICKET_SECONDS` |
| `limits:…` | strings | web (flask-limiter) | web | two windows of the limit |
| `{user:7}:limit:<seconds>` | string `<start ms>:<before>:<count>`, in memory alone | gate | gate | two windows |
| `{user:7}:looks:<seconds>` | as `limit` | look | look | two windows |
| `{address:<address>}:looks:<seconds>` | as `limit` | look | look | two windows |
| `{velocity}:address:<address>` | sorted set user -> ms | gate, in memory | gate | `velocity_accounts_window_seconds` |
| `{velocity}:user:<user>` | sorted set sale -> ms | gate, in memory | gate | `velocity_sales_window_seconds` |
| `{velocity}:group:<hash>:<sale>` | sorted set user -> ms | gate, in memory | gate | `velocity_group_window_seconds` |
| `{velocity}:noted:<signal>:<user>:<sale>` | string | gate, in memory | gate | its signal's window |

The velocity keys share a tag of their own, since one script counts an address, an account and a card together.
"""

# A wake-up that is lost on its way is sent again by the next request after this long, or by the sweeper.
AWAKE_MS = 2_000
# As long as a worker that stays at a line may be gone before the next request wakes another (models/staying.py).
STAYING_MS = 250

# Glob pattern of all `{sale:<id>}:news` channels; braces are plain characters to Redis.
NEWS_PATTERN = "{sale:*}:news"
WORKER_HEARTBEAT_PATTERN = "heartbeat:worker:*"
BEAT_HEARTBEAT = "heartbeat:beat"
WORKER_HEARTBEAT_SECONDS = 10
BEAT_HEARTBEAT_SECONDS = 15
# Every worker that is or was there lately: unlike the heartbeats it is read without a walk over all keys.
WORKERS = "workers"
WORKERS_SECONDS = 86_400
GENERATIONS_TOLD = "generations:told"
LIMITS_PREFIX = "limits"
# Long enough to open a socket on a slow telephone, too short to be worth stealing from a log.
SOCKET_TICKET_SECONDS = 30


def view(sale_id: int) -> str:
    return f"{{sale:{sale_id}}}:view"


def mailbox(sale_id: int) -> str:
    return f"{{sale:{sale_id}}}:mailbox"


def mailbox_draft(sale_id: int) -> str:
    return f"{mailbox(sale_id)}:draft"


def awake(sale_id: int) -> str:
    return f"{{sale:{sale_id}}}:awake"


def asked(sale_id: int) -> str:
    return f"{{sale:{sale_id}}}:asked"


def idempotency(sale_id: int, user_id: int, key: str) -> str:
    return f"{idempotency_prefix(sale_id)}{user_id}:{key}"


def idempotency_prefix(sale_id: int) -> str:
    return f"{{sale:{sale_id}}}:key:"


def moved(sale_id: int, ticket: int, user_id: int) -> str:
    return f"{{sale:{sale_id}}}:moved:{ticket}:{user_id}"


def events(sale_id: int) -> str:
    return f"{{sale:{sale_id}}}:events"


def counts(sale_id: int) -> str:
    return f"{{sale:{sale_id}}}:counts"


def news(sale_id: int) -> str:
    return f"{{sale:{sale_id}}}:news"


def leaderboard(sale_id: int) -> str:
    return f"{{sale:{sale_id}}}:leaderboard"


def sale_of_news(channel: str) -> int:
    """The sale whose news came over this channel."""
    return int(channel.removeprefix("{sale:").partition("}")[0])


def limit(user_id: int, seconds: int) -> str:
    return f"{{user:{user_id}}}:limit:{seconds}"


def looks_of_user(user_id: int, seconds: int) -> str:
    return f"{{user:{user_id}}}:looks:{seconds}"


def looks_of_address(customer: str, seconds: int) -> str:
    return f"{{address:{customer}}}:looks:{seconds}"


def revoked(user_id: int, jti: str) -> str:
    return f"{{user:{user_id}}}:revoked:{jti}"


def generation(user_id: int) -> str:
    return f"{{user:{user_id}}}:generation"


def worker_heartbeat(name: str) -> str:
    return f"heartbeat:worker:{name}"


def socket_ticket(ticket: str) -> str:
    return f"socket-ticket:{ticket}"


def velocity_address(customer: str) -> str:
    return f"{{velocity}}:address:{customer}"


def velocity_user(user_id: int) -> str:
    return f"{{velocity}}:user:{user_id}"


def velocity_group(group_hash: str, sale_id: int) -> str:
    return f"{{velocity}}:group:{group_hash}:{sale_id}"


def velocity_noted(signal: str, user_id: int, sale_id: int) -> str:
    return f"{{velocity}}:noted:{signal}:{user_id}:{sale_id}"
