"""What a batch writes and the COMMIT behind it, in one message: all of it stands, or nothing."""

import pytest
from psycopg.errors import CheckViolation
from sqlalchemy import select

from models.database import transaction
from models.messages import commit_together
from models.product import Product

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
