"""Bodies that say more than they may, that speak for somebody else, and that are far more than they look."""

import gzip
import zlib

import pytest
from sqlalchemy import func, select

from models.database import transaction
from models.gate import admit
from models.purchase import Kind
from models.settle import settle_turn
from models.user import User
from tests.desk.conftest import HTML, hidden_token

PASSWORD = "customer123"
NEW = {"name": "Kim", "email": "kim@shop.test", "password": PASSWORD}


class TestFieldsThatNobodyAskedFor:
    @pytest.mark.parametrize(
        "extra",
        [
            {"role": "admin"},
            {"id": "1"},
            {"isAdmin": True},
            {"blockedAt": None},
            {"password_hash": "x"},
            {"passwordHash": "x"},
            {"tokenGeneration": 9},
            {"token_generation": 9},
            {"createdAt": "2020-01-01T00:00:00Z"},
        ],
    )
    @pytest.mark.parametrize("path", ["/api/auth/signup", "/api/signup", "/signup"])
    def test_nobody_signs_up_as_more_than_a_customer(self, client, path, extra):
        answer = client.post(path, json=NEW | extra)

        assert answer.status_code in (400, 403)
        with transaction() as session:
            assert session.scalar(select(func.count()).select_from(User)) == 0

    def test_a_form_makes_a_customer_whatever_else_it_says(self, client):
        form = NEW | {"role": "admin", "id": "1", "csrfToken": hidden_token(client.get("/signup"))}

        assert client.post("/session/signup", data=form, headers=HTML).status_code == 303
        assert client.get("/api/users/me").json["data"]["role"] == "customer"

    @pytest.mark.parametrize("extra", [{"unitPrice": 0.01}, {"userId": "2"}, {"status": "confirmed"}, {"ticket": 1}])
    def test_nobody_buys_at_a_price_or_in_a_name_of_their_own(self, client, auth, customer, make_sale, extra):
        body = {"quantity": 1} | extra

        answer = client.post(f"/api/flash-sales/{make_sale().id}/purchases", json=body, headers=auth(customer))

        assert answer.status_code == 400


class TestOtherPeoplesThings:
    @pytest.fixture
    def theirs(self, make_sale, make_user):
        """A sale, with a purchase and a hold of somebody else's in it."""
        sale, owner = make_sale(), make_user()
        for kind in (Kind.PURCHASE, Kind.RESERVATION):
            admit(sale.id, owner.id, kind, 1)
        settle_turn(sale.id)
        return sale, owner

    def test_they_are_as_good_as_not_there(self, client, auth, customer, theirs, sale_row):
        sale, owner = theirs
        before = sale_row(sale.id).revision
        asked = [
            ("GET", f"/api/purchases/{sale.id}-1", 404),
            ("GET", f"/api/flash-sales/{sale.id}/purchases/1", 404),
            ("DELETE", f"/api/purchases/{sale.id}-2", 404),
            ("POST", f"/api/purchases/{sale.id}-2/checkout", 404),
            ("GET", f"/api/users/{owner.id}/reservations", 403),
            ("DELETE", f"/api/reserve/{owner.id}/{sale.product_id}", 403),
        ]
        for method, path, status in asked:
            answer = client.open(path, method=method, headers=auth(customer))
            assert answer.status_code == status, (method, path)
            nothing = client.open(path.replace(f"{sale.id}-", f"{sale.id}-9"), method=method, headers=auth(customer))
            # What is somebody else's and what is not there have the same answer: numbers cannot be tried out.
            assert nothing.status_code == status
            assert nothing.json["message"] == answer.json["message"]
        assert sale_row(sale.id).revision == before

    def test_nobody_acts_in_another_name(self, client, auth, customer, theirs):
        sale, owner = theirs
        body = {"userId": str(owner.id), "productId": str(sale.product_id), "quantity": 1}

        for path, more in (("/api/reserve", {}), ("/api/checkout", {"totalAmount": 49.99}), ("/purchase", {})):
            answer = client.post(path, json=body | more, headers=auth(customer))
            assert (answer.status_code, answer.json["code"]) == (403, "NOT_YOUR_ACCOUNT"), path


class TestBodiesThatAreBombs:
    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 30_000,
            b'{"quantity":' * 5_000,
            b"[" * 20_000 + b"]" * 20_000,
            b'{"quantity":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
            b'{"quantity":1' + b"0" * 50_000 + b"}",
            b'{"quantity":1e999999}',
            b'{"quantity":-0}',
            b'{"quantity":NaN}',
            b'{"quantity":1,"quantity":2}' + b" " * 60_000,
        ],
        ids=lambda body: body[:14].decode(),
    )
    def test_json_that_nests_or_counts_without_end_is_refused(self, client, auth, customer, make_sale, body):
        path = f"/api/flash-sales/{make_sale().id}/purchases"

        answer = client.post(path, data=body, content_type="application/json", headers=auth(customer))

        assert answer.status_code in (202, 400)

    @pytest.mark.parametrize("packed", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
    def test_a_packed_body_is_never_unpacked(self, client, auth, customer, make_sale, packed):
        bomb = b'{"quantity":1,"groupKey":"' + b"a" * 20_000_000 + b'"}'
        body = zlib.compress(bomb) if packed == "deflate" else gzip.compress(bomb)
        headers = auth(customer) | {"Content-Encoding": packed}
        path = f"/api/flash-sales/{make_sale().id}/purchases"

        answer = client.post(path, data=body, content_type="application/json", headers=headers)

        assert len(body) < 64 * 1024
        assert answer.status_code == 400
        assert answer.json["code"] == "MALFORMED_JSON"

    def test_text_that_a_pattern_would_think_about_for_long_is_read_at_once(self, client, monkeypatch):
        # Each is the worst that its pattern can be given within the bounds of a body.
        tried = [
            {"email": "a" * 60_000, "password": "x"},
            {"email": "a@" + "a" * 60 + "." * 50_000, "password": "x"},
            {"email": "a@" + ".".join(["a" * 60] * 900) + "!", "password": "x"},
            {"email": "a" * 250 + "@", "password": "x"},
        ]
        for body in tried:
            answer = client.post("/api/auth/login", json=body)
            assert answer.status_code == 400

    def test_a_body_beyond_the_limit_is_refused_whether_it_says_its_length_or_not(self, client, auth, customer):
        much = b'{"quantity":1}' + b" " * 70_000
        for more in ({}, {"environ_overrides": {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}}):
            answer = client.post(
                "/api/flash-sales/1/purchases",
                data=much,
                content_type="application/json",
                headers=auth(customer),
                **more,
            )
            assert answer.status_code == 413
