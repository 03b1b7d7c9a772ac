"""Buyers by the ten thousand: each has a token and an address of their own, as behind a proxy.

So no cache of tokens flatters a figure, and all limits count at their ordinary settings without refusing anybody.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import psycopg

from bench.stack import Stack
from ops.buyers import make_buyers

# The proxy that the load stands in for; give it to `measured_stack`.
BEHIND_A_PROXY = {"TRUSTED_PROXIES": "127.0.0.0/8"}
FIRST_ADDRESS = IPv4Address("10.0.0.1")


@dataclass(frozen=True, slots=True)
class BenchBuyer:
    """A buyer and where they come from."""

    user_id: int
    token: str
    address: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "X-Forwarded-For": self.address}


class BuyersFile:
    """Buyers in a file for wrk, and in memory for us. They come in turns; after the last one the first comes again."""

    def __init__(self, file: Path, buyers: list[BenchBuyer]) -> None:
        self.file = file
        self.first = 0
        self._buyers = buyers
        file.touch(mode=0o600)
        file.write_text("".join(f"{buyer.token} {buyer.address} {buyer.user_id}\n" for buyer in buyers))

    def __len__(self) -> int:
        return len(self._buyers)

    def take(self, number: int) -> BenchBuyer:
        """The buyer so many after the first."""
        return self._buyers[(self.first + number) % len(self._buyers)]

    def pass_by(self, count: int) -> None:
        """So many have had their turn."""
        self.first = (self.first + count) % len(self._buyers)


def new_buyers(stack: Stack, count: int) -> BuyersFile:
    """Make buyers of the stack's shop; their file goes with the stack."""
    with psycopg.connect(stack.settings.psycopg_url, autocommit=True) as database:
        made = make_buyers(database, count)
    buyers = [BenchBuyer(buyer.user_id, buyer.token, str(FIRST_ADDRESS + n)) for n, buyer in enumerate(made)]
    return BuyersFile(stack.log_folder / "buyers", buyers)
