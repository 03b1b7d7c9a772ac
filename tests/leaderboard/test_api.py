"""The leaderboards over HTTP: order, ranks, pages, and who may see whom."""

import pytest

from models import rediskeys
from models.leaderboard import latest_across_sales
from models.redisclient import redis_client
from models.sales import archive_sale
from web.cursors import encode_cursor
from web.leaderboard import masked


@pytest.fixture
def sold(make_sale, make_user, buy):
    """A sale with three buyers: Ann 1 unit, Alexander 2, Jo 2 and then 1 more of Ann's."""
    ann, alexander, jo = make_user(name="Ann"), make_user(name="Alexander"), make_user(name="Jo")
    sale = make_sale()
    buy(sale, (ann, 1), (alexander, 2), (jo, 2), (ann, 1))
    return sale, ann, alexander, jo


def every_page(look, user, path, limit):
    rows, cursor = [], None
    while True:
        answer = look(user, f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        rows += answer["data"]
        cursor = answer["meta"]["nextCursor"]
        if cursor is None:
            return rows


def test_who_bought_is_listed_in_order_of_admission(sold, look, make_user):
    sale, ann, alexander, jo = sold

    answer = look(make_user(role="admin"), f"/api/flash-sales/{sale.id}/leaderboard")

    shown = [(row["position"], row["ticket"], row["userId"], row["quantity"]) for row in answer["data"]]
    assert shown == [
        (1, 1, str(ann.id), 1),
        (2, 2, str(alexander.id), 2),
        (3, 3, str(jo.id), 2),
        (4, 4, str(ann.id), 1),
    ]
    times = [row["purchasedAt"] for row in answer["data"]]
    assert times == sorted(times)
    assert answer["meta"] == {"limit": 20, "nextCursor": None}


def test_who_bought_most_is_ranked_and_equals_share_a_rank(sold, look, make_user, buy):
    sale, ann, alexander, jo = sold
    buy(sale, (jo, 1))

    rows = look(make_user(role="admin"), f"/api/flash-sales/{sale.id}/leaderboard/totals")["data"]

    shown = [(row["rank"], row["userId"], row["totalUnits"]) for row in rows]
    assert shown == [(1, str(jo.id), 3), (2, str(ann.id), 2), (2, str(alexander.id), 2)]


@pytest.mark.parametrize("list_path", ["", "/totals"])
def test_admins_see_names_and_addresses_and_others_a_mask_and_themselves(sold, look, make_user, list_path):
    sale, ann, alexander, jo = sold
    path = f"/api/flash-sales/{sale.id}/leaderboard{list_path}"

    for_admin = look(make_user(role="admin"), path)["data"]
    for_ann = look(ann, path)["data"]

    assert {(row["name"], row["email"]) for row in for_admin} == {
        (user.name, user.email) for user in (ann, alexander, jo)
    }
    assert not any(row["isYou"] for row in for_admin)
    assert {row["name"] for row in for_ann} == {"A***n", "A***r", "J***"}
    assert {(row["email"], row["userId"]) for row in for_ann} == {(None, None)}
    assert {row["name"] for row in for_ann if row["isYou"]} == {"A***n"}


@pytest.mark.parametrize("list_path", ["", "/totals"])
def test_nobody_without_a_token_sees_who_bought(sold, client, list_path):
    answer = client.get(f"/api/flash-sales/{sold[0].id}/leaderboard{list_path}")

    assert (answer.status_code, answer.json["code"]) == (401, "TOKEN_MISSING")


@pytest.mark.parametrize("list_path", ["", "/totals"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 50])
def test_pages_of_any_size_are_the_whole_list_in_pieces(sold, look, list_path, limit):
    sale, ann, *_ = sold
    path = f"/api/flash-sales/{sale.id}/leaderboard{list_path}"

    assert every_page(look, ann, path, limit) == every_page(look, ann, path, 100)


@pytest.mark.parametrize("list_path", ["", "/totals"])
def test_a_cursor_of_another_list_is_refused_by_name(sold, look, make_sale, list_path):
    sale, ann, *_ = sold
    path = f"/api/flash-sales/{sale.id}/leaderboard"
    cursors = [
        look(ann, f"{path}{'' if list_path else '/totals'}?limit=1")["meta"]["nextCursor"],
        look(ann, f"{path}{list_path}?limit=1")["meta"]["nextCursor"],
        encode_cursor("purchases", 1, 2, 3),
        encode_cursor("leaderboard", sale.id, 2**64 - 1, 1),
        encode_cursor("leaderboard", sale.id, -1, 1),
        encode_cursor("totals", sale.id, 2**64 - 1, 1, 1, 1),
        "nonsense",
        "ü",
    ]
    # The second is sound where it came from, so it is tried on another sale.
    sales = [sale, make_sale(), *[sale] * 6]

    for cursor, asked in zip(cursors, sales, strict=True):
        answer = look(ann, f"/api/flash-sales/{asked.id}/leaderboard{list_path}?cursor={cursor}", 400)
        assert [error["field"] for error in answer["errors"]] == ["cursor"], cursor


@pytest.mark.parametrize("list_path", ["", "/totals"])
@pytest.mark.parametrize("query", ["?limit=0", "?limit=101", "?limit=x", "?page=2"])
def test_a_page_has_a_size_from_1_to_100(sold, look, list_path, query):
    look(sold[1], f"/api/flash-sales/{sold[0].id}/leaderboard{list_path}{query}", 400)


@pytest.mark.parametrize("list_path", ["", "/totals", "?limit=50"])
def test_a_sale_that_is_unknown_or_archived_has_no_leaderboard(sold, look, list_path):
    sale, ann, *_ = sold
    assert look(ann, f"/api/flash-sales/{sale.id + 1}/leaderboard{list_path}", 404)["code"] == "SALE_NOT_FOUND"

    archive_sale(sale.id)
    redis_client().delete(rediskeys.leaderboard(sale.id))  # a second later

    assert look(ann, f"/api/flash-sales/{sale.id}/leaderboard{list_path}", 404)["code"] == "SALE_NOT_FOUND"


def test_a_buyer_whose_account_is_unknown_has_no_name(make_sale, make_user, buy, look):
    ghost = make_user()
    ghost.id += 1_000
    sale = make_sale()
    buy(sale, (ghost, 1))

    [row] = look(make_user(), f"/api/flash-sales/{sale.id}/leaderboard")["data"]

    assert row["name"] is None


def test_the_newest_purchases_of_all_sales_come_in_their_order(make_sale, make_user, buy):
    one, other = make_sale(), make_sale()
    ann, ben = make_user(), make_user()
    buy(one, (ann, 1))
    buy(other, (ben, 2), (ann, 1))
    buy(one, (ben, 1))

    newest = [(row.sale_id, row.ticket, row.product_id) for row in latest_across_sales(3)]

    assert newest == [(other.id, 1, other.product_id), (other.id, 2, other.product_id), (one.id, 2, one.product_id)]


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("Alice", "A***e"),
        ("Ann", "A***n"),
        ("Jo", "J***"),
        ("J", "J***"),
        ("ann@shop.test", "a***t"),
        (" Zoë ", "Z***ë"),
    ],
)
def test_a_mask_shows_no_more_than_the_ends_of_a_name(name, mask):
    assert masked(name) == mask
