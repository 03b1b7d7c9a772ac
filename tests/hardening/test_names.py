"""Names that are markup, and words that are patterns: people write them, and they stay what they are."""

from html.parser import HTMLParser

import pytest

from models.categories import create_category
from models.clock import now
from models.fraud import NewFraudRecord, Signal, Verdict, write_records
from models.gate import admit
from models.purchase import Kind
from models.settle import settle_turn
from tests.desk.conftest import HTML, hidden_token
from tests.matrix.requests import path_of

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}</title></script>"


class Tags(HTMLParser):
    """What a browser would make of a page: its tags with their attributes, and the text of its data blocks."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    @property
    def is_ours(self):
        for tag, attributes in self.found:
            if tag == "script" and "src" not in attributes and attributes.get("type") != "application/json":
                return False
            if tag == "img" and attributes.get("src") == "x":
                return False
            if any(name.startswith("on") for name in attributes):
                return False
            if any((value or "").strip().lower().startswith("javascript:") for value in attributes.values()):
                return False
        return True


class TestNamesThatAreMarkup:
    @pytest.fixture
    def hostile(self, operator, make_product, make_sale, make_user):
        """A shop in which everything that people can write is markup."""
        name = HOSTILE[:100]
        category = create_category(name)
        product = make_product(name=HOSTILE, description=HOSTILE, category_id=category.id, images=["/x"])
        sale = make_sale(product_id=product.id, title=HOSTILE, description=HOSTILE, total_stock=5)
        user = make_user(name=name, email="\"'><script>@shop.test".lower())
        admit(sale.id, user.id, Kind.PURCHASE, 1)
        admit(sale.id, operator.user.id, Kind.RESERVATION, 1)
        settle_turn(sale.id)
        write_records(
            [NewFraudRecord(now(), user.id, None, sale.id, Signal.SHARED_GROUP, HOSTILE, 100, Verdict.FLAG, {})]
        )
        operator.send(f"/admin/sales/{sale.id}", title=HOSTILE + " again")
        rule = {"network": "192.0.2.0/24", "action": "deny", "reason": HOSTILE}
        operator.post("/admin/ip-rules/new", **rule)
        return {"sale_id": sale.id, "product_id": product.id, "category_id": category.id, "user_id": user.id}

    def test_every_page_shows_them_as_text(self, app, operator, hostile):
        ids = dict.fromkeys(("rule_id", "record_id", "series_id"), 1) | hostile
        seen = 0
        for rule in app.url_map.iter_rules():
            if "GET" not in rule.methods or rule.websocket or rule.rule.startswith(("/api", "/static", "/session")):
                continue
            path = path_of(rule, ids | {"purchase_id": f"{hostile['sale_id']}-1"})
            page = operator.get(path)
            if page.mimetype == "text/html" and page.status_code == 200:
                assert Tags(page.text).is_ours, path
                assert "<script>alert" not in page.text, path
                assert "49</title>" not in page.text, path
                seen += 1
        assert seen > 20

    def test_what_was_searched_for_and_what_was_typed_come_back_as_text(self, operator, client):
        for path in (
            "/admin/users?search=",
            "/admin/products?searchTerm=",
            "/admin/log?subject=",
            "/admin/sales?status=",
        ):
            page = operator.get(f"{path}%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
            assert Tags(page.text).is_ours, path
        form = {"email": HOSTILE, "password": "x", "csrfToken": hidden_token(client.get("/login"))}
        page = client.post("/session/login?next=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E", data=form, headers=HTML)
        assert page.status_code == 400
        assert Tags(page.text).is_ours

    def test_an_address_that_is_not_there_comes_back_as_text(self, client):
        page = client.get("/%22%3E%3Cscript%3Ealert(1)%3C/script%3E", headers=HTML)

        assert page.status_code == 404
        assert Tags(page.text).is_ours

    def test_the_parser_sees_what_a_browser_would_run(self):
        assert not Tags("<p>\"'><script>alert(1)</script>").is_ours
        assert not Tags("<img src=x onerror=alert(1)>").is_ours
        assert not Tags('<a href="javascript:alert(1)">').is_ours
        assert Tags('<p>&lt;script&gt;</p><script src="/static/js/page.js"></script>').is_ours

    @pytest.mark.parametrize("image", ["javascript:alert(1)", "data:text/html,<script>", " javascript:x", "vbscript:x"])
    def test_a_picture_is_no_script(self, client, admin, image):
        body = {"name": "Shoe", "price": 10, "images": [image]}

        assert client.post("/api/products", json=body, headers=admin).status_code == 400


class TestSearching:
    @pytest.mark.parametrize("term", ["%", "_", "\\", "%%", "Sh_e", "' OR 1=1 --", "'; DROP TABLE users; --", "a%b"])
    def test_a_wildcard_is_a_character(self, client, admin, make_product, term):
        make_product(name="Shoe")

        products = client.get("/api/products", query_string={"searchTerm": term})
        users = client.get("/api/users", query_string={"search": term}, headers=admin)
        sales = client.get("/api/flash-sales", query_string={"searchTerm": term})

        assert [answer.status_code for answer in (products, users, sales)] == [200, 200, 200]
        assert products.json["meta"]["total"] == users.json["meta"]["total"] == sales.json["meta"]["total"] == 0

    def test_and_is_found_where_it_stands(self, client, make_product):
        make_product(name="100% wool")

        assert client.get("/api/products", query_string={"searchTerm": "0% w"}).json["meta"]["total"] == 1
