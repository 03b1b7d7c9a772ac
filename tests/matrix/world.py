"""A small shop in a known state, in which the matrix asks its questions.

sale 1     live, of product 1; the customer has bought (1-1) and holds (1-2) in it
sale 2     scheduled, of product 2
sale 3     ended, of product 3
sale 4     live and paused, of product 4
series 1   of product 5; series 2, paused, of product 6
product 7  is in no sale
category 1, IP rule 1, fraud record 1, and record 2, which was overruled
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from models import rediskeys
from models.accounts import block
from models.addresses import parse_address, read_range
from models.catalogue import NewProduct, create_product
from models.categories import create_category
from models.clock import now
from models.database import transaction
from models.fraud import NewFraudRecord, Signal, Verdict, overrule, write_records
from models.gate import admit
from models.ip_ranges import Action
from models.ip_rule import NewIpRule, create_ip_rule
from models.purchase import Kind
from models.redisclient import redis_client
from models.sales import NewSale, create_sale, end_sale, pause_sale
from models.series_rules import NewSeries, clock, create_series, pause_series
from models.settle import settle_turn
from models.tables import metadata
from models.user import Role, User
from tests.conftest import empty_stores
from web.standing import standing_copy

CUSTOMER, ANOTHER, ADMIN, BLOCKED, GONE = 1, 2, 3, 4, 99
TABLES = sorted(metadata.tables)
SALES = (1, 2, 3, 4)


class World:
    """The shop. Making it takes a while, so it is made anew only after something was done to it."""

    def __init__(self, password_hash: str) -> None:
        self._password_hash = password_hash
        self._as_made: list[Any] = []

    def is_as_made(self) -> bool:
        """Whether nothing was done to it since."""
        return self.state() == self._as_made

    def make_anew(self) -> None:
        empty_stores()
        self._let_people_in()
        self._fill_the_shelves()
        self._let_the_customer_buy()
        self._note_what_is_odd()
        standing_copy().renew()
        self._as_made = self.state()

    def state(self) -> list[Any]:
        """Everything that PostgreSQL knows and that lies in the lines, short enough to compare."""
        each = " UNION ALL ".join(
            f"SELECT '{name}', count(*), coalesce(sum(hashtextextended({name}::text, 0)), 0) FROM {name}"  # noqa: S608
            for name in TABLES
        )
        with transaction() as session:
            rows = [tuple(row) for row in session.execute(text(each))]
        return rows + [redis_client().xlen(rediskeys.mailbox(sale_id)) for sale_id in SALES]

    def _let_people_in(self) -> None:
        people = ((CUSTOMER, "customer"), (ANOTHER, "customer"), (ADMIN, "admin"), (BLOCKED, "customer"))
        with transaction() as session:
            for number, role in people:
                session.add(
                    User(
                        name=f"Person {number}",
                        email=f"person{number}@shop.test",
                        role=Role(role),
                        password_hash=self._password_hash,
                    )
                )
                session.flush()
        block(BLOCKED, by=ADMIN)

    def _fill_the_shelves(self) -> None:
        for number in range(1, 8):
            create_product(NewProduct(f"Shoe {number}", price=Decimal("99.99")))
        moment = clock()
        for product, starts_at in ((1, moment), (2, moment + timedelta(hours=1)), (3, moment), (4, moment)):
            price = Decimal("49.99")
            sale = NewSale(product, "A sale", starts_at, flash_price=price, total_stock=50, max_per_user=10)
            create_sale(sale, actor_id=ADMIN)
        end_sale(3)
        pause_sale(4)
        for product in (5, 6):
            create_series(
                NewSeries(
                    product_id=product,
                    title="Every day",
                    rule="FREQ=DAILY",
                    starts_local=moment.replace(tzinfo=None, microsecond=0) + timedelta(hours=2),
                    zone="UTC",
                    flash_price=Decimal("49.99"),
                ),
                now=moment,
            )
        pause_series(2, now=moment)
        create_category("Shoes")

    def _let_the_customer_buy(self) -> None:
        for kind in (Kind.PURCHASE, Kind.RESERVATION):
            admit(1, CUSTOMER, kind, 1)
        settle_turn(1)

    def _note_what_is_odd(self) -> None:
        new = NewIpRule(read_range("198.51.100.0/24"), Action.DENY, "bots")
        create_ip_rule(new, actor_id=ADMIN, from_address="127.0.0.1")
        address = parse_address("203.0.113.7")
        odd = NewFraudRecord(
            now(), CUSTOMER, address, 1, Signal.MANY_ACCOUNTS, "203.0.113.7", 100, Verdict.FLAG, {"count": 20}
        )
        write_records([odd, odd])
        overrule(2, actor_id=ADMIN, note="a family")
