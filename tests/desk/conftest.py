"""The desk in a client that has an admin's cookies, over empty stores."""

import re
from collections.abc import Iterator

import pytest

from models.accounts import create_account
from models.tokens import issue_access_token
from models.user import Role
from tests.application import application
from tests.pipeline.conftest import eventually
from web import cookies
from web.recorder import recorder
from web.standing import standing_copy

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PASSWORD = "customer123"


def hidden_token(page):
    return re.search(r'name="csrfToken" value="([^"]+)"', page.text)[1]


class Browser:
    """Somebody with a browser: pages, and forms with whatever hidden fields the page gave them."""

    def __init__(self, app, user=None):
        self.client = app.test_client()
        self.user = user
        if user is not None:
            form = {"email": user.email, "password": PASSWORD, "csrfToken": hidden_token(self.client.get("/login"))}
            assert self.client.post("/session/login", data=form, headers=HTML).status_code == 303

    def get(self, path):
        return self.client.get(path, headers=HTML)

    @property
    def csrf(self):
        found = self.client.get_cookie(cookies.CSRF)
        return found.value if found else ""

    def send(self, path, **fields):
        """A form of that page, with the page's own values where none is given."""
        typed = hidden_fields(self.get(path).text) | {
            name.replace("was_", "was."): text for name, text in fields.items()
        }
        return self.post(path, **typed)

    def post(self, path, **fields):
        return self.client.post(path, data={"csrfToken": self.csrf} | fields, headers=HTML)


def hidden_fields(text):
    """The hidden fields of a page by name, and what stands in the fields that a person sees."""
    found = {}
    for tag in re.findall(r"<input[^>]+>", text):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        is_ticked = attributes.get("type") != "checkbox" or " checked" in tag
        if "name" in attributes and is_ticked:
            found[attributes["name"]] = attributes.get("value", "")
    return found | dict(re.findall(r'<textarea[^>]+name="([^"]+)"[^>]*>\n?(.*?)</textarea>', text, re.DOTALL))


@pytest.fixture
def app(store) -> Iterator[object]:
    app = application()
    # The stores were emptied under this process's feet.
    assert standing_copy().renew()
    yield app
    eventually(lambda: recorder().is_idle, "the records of this test are written")


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def auth():
    """auth(user) -> the header that this user sends."""
    return lambda user: {"Authorization": f"Bearer {issue_access_token(user.id, user.role)}"}


@pytest.fixture
def operator(app):
    return Browser(app, create_account("Olga", "olga@shop.test", PASSWORD, Role.ADMIN))


@pytest.fixture
def buyer(app):
    return Browser(app, create_account("Kim", "kim@shop.test", PASSWORD, Role.CUSTOMER))


@pytest.fixture
def nobody(app):
    return Browser(app)
