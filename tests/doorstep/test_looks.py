"""What is kept of a sale is handed out at the doorstep as Flask would."""

import json
from types import SimpleNamespace

import pytest

from models.ip_ranges import Action
from models.sales import patch_sale
from web import doorstep
from web.fresh import RENEW_SECONDS, answers


def look(path, **environ):
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "CONTENT_TYPE": None,
        "CONTENT_LENGTH": None,
        "body": b"",
    } | environ


@pytest.mark.parametrize("path", ["/api/flash-sales/live", "/api/flash-sales/{id}"])
def test_a_look_at_a_sale_is_handed_out_at_the_doorstep_as_flask_would(ways, make_sale, monkeypatch, path):
    answers().forget()
    monkeypatch.setattr("web.fresh.time", SimpleNamespace(monotonic=lambda: 1_000.0))
    path = path.format(id=make_sale().id)

    read, was_read_here = ways.through(**look(path))
    kept, was_kept_here = ways.through(**look(path))
    long = ways.around(**look(path))

    assert (was_read_here, was_kept_here) == (False, True)
    assert kept.alike() == long.alike()
    assert kept.alike()[2] == read.alike()[2]
    assert ways.through(**look(path, QUERY_STRING="page=1"))[1] is False
    assert ways.through(**look(path, REQUEST_METHOD="HEAD"))[1] is False
    assert ways.through(**look(path, HTTP_X_REQUEST_ID="a-name-of-its-own"))[1] is False


def test_whoever_is_to_read_a_sale_anew_does_so_behind_the_doorstep_too(ways, make_sale, monkeypatch):
    answers().forget()
    clock = SimpleNamespace(monotonic=lambda: moment[0])
    moment = [1_000.0]
    monkeypatch.setattr("web.fresh.time", clock)
    sale = make_sale()
    path = f"/api/flash-sales/{sale.id}"
    first, _ = ways.through(**look(path))
    patch_sale(sale.id, {"title": "Another name"}, actor_id=None)

    moment[0] += RENEW_SECONDS
    anew, by_doorstep = ways.through(**look(path))
    after, _ = ways.through(**look(path))

    titles = [json.loads(each.body)["data"]["title"] for each in (first, anew, after)]
    assert (by_doorstep, titles[0] != titles[1], titles[1:]) == (False, True, ["Another name"] * 2)


def test_a_denied_address_is_shown_nothing(ways, make_sale, monkeypatch):
    answers().forget()
    path = f"/api/flash-sales/{make_sale().id}"
    ways.through(**look(path))
    monkeypatch.setattr(doorstep, "action_for", lambda _: Action.DENY)
    monkeypatch.setattr("web.guard.action_for", lambda _: Action.DENY)

    answer, by_doorstep = ways.through(**look(path))

    assert (answer.status[:3], by_doorstep) == ("403", False)
