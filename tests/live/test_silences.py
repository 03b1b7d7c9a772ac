"""What was settled while a process did not hear the news reaches its buyer all the same, once both servers let it."""

import secrets
import time

import pytest
from sqlalchemy import text

from models.database import transaction
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.settle import settle_turn
from web.hub import OTHER_SALES_MAX, Heard

# Generous: what is waited for here takes a few seconds at most.
SECONDS = 60
NAME = "apart"


class Apart:
    """A live process under a name of its own at both servers, so that they turn it away and nobody else."""

    def __init__(self, servers, other_live):
        password = secrets.token_hex(8)
        redis_client().execute_command("ACL", "SETUSER", NAME, "on", f">{password}", "~*", "&*", "+@all")
        sql(f"DROP ROLE IF EXISTS {NAME}")
        sql(f"CREATE ROLE {NAME} LOGIN PASSWORD '{password}' IN ROLE pg_read_all_data, pg_write_all_data")
        self._live = other_live(
            DATABASE_URL=servers.postgres.url.replace(
                f"//doorbuster:{servers.postgres.password}@", f"//{NAME}:{password}@"
            ),
            REDIS_URL=servers.valkey.url.replace(f"//:{servers.valkey.password}@", f"//{NAME}:{password}@"),
        )

    def connect(self, token, *sales):
        """A client that has said who it is, and has joined these sales."""
        client = self._live.connect().send("authenticate", token=token)
        client.hear_until("authenticated")
        for sale in sales:
            client.send("joinFlashSale", flashSaleId=sale.id).hear_until("stockUpdate")
        wait_until(listens)
        return client

    def hear_nothing(self):
        redis_client().execute_command("ACL", "SETUSER", NAME, "resetchannels")
        wait_until(lambda: not listens())

    def hear_again(self):
        redis_client().execute_command("ACL", "SETUSER", NAME, "&*")
        wait_until(listens)

    def lose_postgres(self):
        sql(f"ALTER ROLE {NAME} CONNECTION LIMIT 0")
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :name", name=NAME)

    def have_postgres_again(self):
        sql(f"ALTER ROLE {NAME} CONNECTION LIMIT -1")

    def end_test(self):
        self.hear_again()
        self.have_postgres_again()
        self._live.hang_up()


def sql(statement, **values):
    with transaction() as session:
        session.execute(text(statement), values)


def listens():
    clients = redis_client().client_list(_type="pubsub")
    return any(client["user"] == NAME and client["psub"] != "0" for client in clients)


def wait_until(is_so):
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def process(servers, other_live):
    return Apart(servers, other_live)


@pytest.fixture
def apart(store, process):
    yield process
    process.end_test()


def buy(sale_id, *buyers):
    for buyer in buyers:
        admit(sale_id, buyer, Kind.PURCHASE, 1)
    settle_turn(sale_id)


def test_an_outcome_of_a_silence_is_told_however_often_postgresql_could_not_be_asked(apart, make_sale, token_of):
    sale = make_sale(total_stock=5)
    client = apart.connect(token_of(1), sale)
    apart.hear_nothing()
    apart.lose_postgres()
    buy(sale.id, 1)

    apart.hear_again()
    buy(sale.id, 2)
    # Everybody in the room has heard of a later state than the one that this buyer has not heard of.
    heard = client.hear_until("stockUpdate", availableUnits=3)
    assert "purchaseSettled" not in [name for name, _ in heard]
    apart.have_postgres_again()

    _, told = client.hear_until("purchaseSettled", SECONDS)[-1]
    assert (told["purchaseId"], told["status"]) == (f"{sale.id}-1", "confirmed")


def test_an_outcome_of_a_silence_reaches_its_buyer_who_joined_no_sale(apart, make_sale, token_of):
    sale = make_sale(total_stock=5)
    client = apart.connect(token_of(1))
    buy(sale.id, 1)
    client.hear_until("purchaseSettled", purchaseId=f"{sale.id}-1")
    apart.hear_nothing()
    buy(sale.id, 1, 2)

    apart.hear_again()

    # And nothing of what was told before, nor of anybody else.
    name, told = client.hear(SECONDS)
    assert (name, told["purchaseId"]) == ("purchaseSettled", f"{sale.id}-2")
    assert client.hears_nothing(0.5)


def test_a_buyer_who_comes_with_the_next_token_is_told_of_the_silence_too(apart, make_sale, token_of):
    sale = make_sale(total_stock=5)
    client = apart.connect(token_of(1))
    buy(sale.id, 1)
    client.hear_until("purchaseSettled", purchaseId=f"{sale.id}-1")
    client.send("authenticate", token=token_of(1)).hear_until("authenticated")
    apart.hear_nothing()
    buy(sale.id, 1)

    apart.hear_again()

    assert client.hear_until("purchaseSettled", SECONDS)[-1][1]["purchaseId"] == f"{sale.id}-2"


def test_of_two_silences_the_earlier_counts_until_it_is_caught_up_with():
    heard = Heard()
    heard.hear(1, 5, rooms=())
    heard.miss()
    heard.hear(1, 8, rooms=())
    heard.miss()
    assert heard.take_missed() == {1: 5}

    # Nobody could catch up with it, and meanwhile there was another.
    heard.hear(1, 9, rooms=())
    heard.miss()
    heard.give_back({1: 5})
    assert heard.take_missed() == {1: 5}

    heard.miss()
    assert heard.take_missed() == {1: 9}


def test_sales_that_nobody_joined_are_forgotten_before_they_are_too_many():
    heard, joined, many = Heard(), 1, OTHER_SALES_MAX + 10
    heard.begin(joined, 1)
    for sale_id in range(2, 2 + many):
        heard.hear(sale_id, 1, rooms={joined})
        heard.miss()

    missed = heard.take_missed()
    assert len(missed) == 1 + OTHER_SALES_MAX
    assert joined in missed
    assert 2 + many - 1 in missed

    # What was forgotten meanwhile does not come back; with the last buyer all go that have no room.
    heard.give_back(missed | {2: 1})
    heard.forget_others({joined})
    assert heard.take_missed() == {joined: 1}
