"""`make buyers`: customers of the running demo by the thousand, each with an access token that is good for a day.

They are written to the table in bulk, without passwords: nobody can log in as one of them, and no hash is computed.
Only a demo has such customers; everywhere else this refuses.
"""

import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from models.settings import Settings
from models.tokens import issue_access_token
from models.user import Role
from ops.arguments import Parser, positive
from ops.demo import ADMIN_EMAIL
from ops.errors import OpsError
from ops.stack import adopt_running_stack
from ops.state import write_private

COUNT_DEFAULT = 1_000
COUNT_MAX = 500_000
TOKEN_LIFETIME = timedelta(days=1)
DOMAIN = "buyers.doorbuster.example"
# Customers written in one statement; keeps every statement far below its bound.
COPY_ROWS = 5_000
CONNECT_SECONDS = 3
STATEMENT_MS = 10_000

# The ids that the next customers get: taken from the sequence, so that nobody else gets them.
RESERVE_IDS = """
    SELECT nextval(pg_get_serial_sequence('users', 'id')) FROM generate_series(1, %s)
"""
COPY_USERS = "COPY users (id, name, email) FROM STDIN"
# The operator of a demo; there is none anywhere else.
DEMO_ADMIN = "SELECT id, token_generation FROM users WHERE email = %s AND role = %s"


@dataclass(frozen=True, slots=True)
class Buyer:
    """A customer of the demo and the token to act as one."""

    user_id: int
    token: str


@contextmanager
def demo_database(known: Settings) -> Iterator[psycopg.Connection]:
    """A connection to the database of a demo; raises OpsError where it is none, or cannot be reached."""
    if known.environment != "demo":
        raise OpsError(f"this is for a demo alone, and ENVIRONMENT is {known.environment} here")
    # A pooler takes none; then the command has no bound but its reader's patience.
    bounds = f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS} -c timezone=UTC"
    options = "" if known.database_pooled else bounds
    try:
        with psycopg.connect(
            known.psycopg_url, autocommit=True, connect_timeout=CONNECT_SECONDS, options=options
        ) as connection:
            _demo_admin(connection)
            yield connection
    except psycopg.Error as why:
        raise OpsError(f"the demo's database does not do it: {' '.join(str(why).split())}") from why


def demo_admin_token(connection: psycopg.Connection, lifetime: timedelta) -> str:
    """An access token of the demo's admin; raises OpsError where there is none."""
    user_id, generation = _demo_admin(connection)
    return issue_access_token(user_id, Role.ADMIN, lifetime, generation=generation)


def _demo_admin(connection: psycopg.Connection) -> tuple[int, int]:
    """The demo's admin and the generation of their tokens, which a new password raises.

    Raises OpsError where there is none, for then this is somebody's own database.
    """
    row = connection.execute(DEMO_ADMIN, (ADMIN_EMAIL, Role.ADMIN)).fetchone()
    if row is None:
        raise OpsError(f"this is for a demo alone, and the database has no {ADMIN_EMAIL}")
    return int(row[0]), int(row[1])


def make_buyers(connection: psycopg.Connection, count: int) -> list[Buyer]:
    """Write `count` new customers and mint their tokens, under the settings of this process.

    Their addresses never repeat. What was written stays if a later part fails.
    """
    user_ids: list[int] = []
    batch = secrets.token_hex(6)
    while len(user_ids) < count:
        rows = min(COPY_ROWS, count - len(user_ids))
        with connection.transaction(), connection.cursor() as cursor:
            fresh = [int(number) for (number,) in cursor.execute(RESERVE_IDS, (rows,))]
            with cursor.copy(COPY_USERS) as copy:
                for number, user_id in enumerate(fresh, start=len(user_ids) + 1):
                    copy.write_row((user_id, f"Buyer {number}", f"{batch}-{number}@{DOMAIN}"))
        user_ids += fresh
    return [Buyer(user_id, issue_access_token(user_id, Role.CUSTOMER, TOKEN_LIFETIME)) for user_id in user_ids]


def write_tokens(file: Path, buyers: Sequence[Buyer]) -> None:
    """One token a line, in a file that only its owner can read, whole or not at all; raises OpsError."""
    if file.exists() and not file.is_file():
        raise OpsError(f"{file} is no ordinary file: choose another name with OUT=")
    try:
        write_private(file, "".join(f"{buyer.token}\n" for buyer in buyers))
    except OSError as why:
        raise OpsError(f"cannot write {file} ({why.strerror}): choose another place with OUT=") from why


def main() -> None:
    parser = Parser(prog="make buyers", description="Make customers of the running demo.")
    parser.add_argument("--count", type=positive, default=COUNT_DEFAULT, metavar="COUNT", help="how many")
    parser.add_argument("--out", type=Path, default=Path("buyers.txt"), metavar="OUT", help="file for the tokens")
    options = parser.parse_args()
    if options.count > COUNT_MAX:
        parser.error(f"argument --count: at most {COUNT_MAX} at a time")
    if not options.out.parent.is_dir():
        parser.error(f"argument --out: there is no directory {options.out.parent}")
    with demo_database(adopt_running_stack()) as connection:
        buyers = make_buyers(connection, options.count)
    write_tokens(options.out, buyers)
    print(f"{len(buyers)} buyers; their tokens, good for a day, are in {options.out}")


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
