"""What a batch writes and the COMMIT behind it, in one message: all of it stands, or nothing."""

import pytest
from psycopg.errors import CheckViolation
from sqlalchemy import event, func, select

from models.database import engine, transaction
from models.gate import admit
from models.messages import commit_together
from models.product import Product
from models.purchase import Kind
from models.settle import settle_turn

SIZE = 3
NAME = "INSERT INTO products (name, slug, price, currency) VALUES (%(slug)s, %(slug)s, %(price)s, 'EUR')"


def products():
    with transaction() as session:
        return session.scalars(select(Product.slug).order_by(Product.slug)).all()


def test_what_was_sent_together_stands_as_soon_as_it_is_answered(store):
    with transaction() as session:
        commit_together(session, [(NAME, {"slug": "a", "price": 1}), (NAME, {"slug": "b", "price": 1})], lambda: None)

        assert products() == ["a", "b"]


def test_where_one_statement_fails_none_of_them_stands(store):
    with pytest.raises(CheckViolation), transaction() as session:
        commit_together(session, [(NAME, {"slug": "a", "price": 1}), (NAME, {"slug": "b", "price": -1})], lambda: None)

    assert products() == []


def test_nothing_stands_before_it_is_sent(store):
    seen = []

    with transaction() as session:
        commit_together(session, [(NAME, {"slug": "a", "price": 1})], lambda: seen.append(products()))

    assert seen == [[]]


def test_what_the_session_has_to_write_itself_is_committed_with_it(store):
    with transaction() as session:
        session.add(Product(name="mine", slug="mine", price=1))
        commit_together(session, [(NAME, {"slug": "a", "price": 1})], lambda: None)

        assert products() == ["a", "mine"]


def test_the_batches_of_a_turn_share_one_connection(make_sale):
    sale = make_sale()
    for user_id in range(1, 3 * SIZE):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    taken_for = []

    def note(connection, *_):
        taken_for.append(connection)

    event.listen(engine(), "checkout", note)
    try:
        report = settle_turn(sale.id, batch_max=SIZE)
    finally:
        event.remove(engine(), "checkout", note)

    assert (report.settled, len(taken_for)) == (3 * SIZE - 1, 1)


def test_a_turn_gives_its_connection_back_whatever_becomes_of_it(make_sale, monkeypatch):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    monkeypatch.setattr("models.batch.commit_together", lambda *_: pytest.fail("dies"))

    with pytest.raises(BaseException, match="dies"):
        settle_turn(sale.id)

    assert engine().pool.checkedout() == 0
    with transaction() as session:
        assert session.scalar(select(func.count()).select_from(Product)) == 1
