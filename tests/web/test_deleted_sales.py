"""A deleted sale over HTTP: nobody finds it, its buyers keep what they bought, and its books stay open."""

import pytest

from models.gate import admit
from models.purchase import Kind
from models.settle import settle_turn


@pytest.fixture
def gone(client, admin, make_sale, customer):
    """A sale of one unit that a customer bought, and that an admin deleted."""
    sale = make_sale(total_stock=1)
    admit(sale.id, customer.id, Kind.PURCHASE, 1)
    settle_turn(sale.id)
    assert client.delete(f"/api/flash-sales/{sale.id}", headers=admin).status_code == 200
    return sale


@pytest.mark.parametrize("verb", ["pause", "resume", "end", "cancel", "wake", "restart"])
def test_whatever_an_admin_would_do_to_it_there_is_no_such_sale(client, admin, gone, verb):
    answer = client.post(f"/api/flash-sales/{gone.id}/{verb}", headers=admin)

    assert (answer.status_code, answer.json["code"]) == (404, "SALE_NOT_FOUND")


def test_it_cannot_be_changed_deleted_again_or_looked_at(client, admin, gone):
    path = f"/api/flash-sales/{gone.id}"
    answers = [
        client.get(path),
        client.get(f"{path}/leaderboard", headers=admin),
        client.patch(path, headers=admin, json={"title": "Back again"}),
        client.delete(path, headers=admin),
    ]

    assert [(answer.status_code, answer.json["code"]) for answer in answers] == [(404, "SALE_NOT_FOUND")] * 4


def test_a_refund_leaves_it_deleted_and_its_product_free_for_a_new_sale(client, admin, auth, customer, gone):
    refunded = client.post(f"/api/purchases/{gone.id}-1/refund", headers=admin, json={"reason": "came broken"})
    assert (refunded.status_code, refunded.json["data"]["status"]) == (200, "refunded")

    again = client.post(f"/api/flash-sales/{gone.id}/purchases", headers=auth(customer), json={"quantity": 1})
    new = {
        "title": "A new one",
        "productId": str(gone.product_id),
        "flashPrice": 9.99,
        "startTime": "2026-01-01T00:00Z",
    }
    made = client.post("/api/flash-sales", headers=admin, json=new)

    assert (again.status_code, again.json["code"]) == (409, "SOLD_OUT")
    assert made.status_code == 201, made.json


def test_its_buyers_still_see_what_they_bought_and_everybody_that_the_books_agree(client, auth, customer, gone):
    bought = client.get(f"/api/purchases/{gone.id}-1", headers=auth(customer))
    listed = client.get("/api/users/me/purchases", headers=auth(customer))
    audit = client.get(f"/api/flash-sales/{gone.id}/audit")

    assert bought.json["data"]["status"] == "confirmed"
    assert [each["purchaseId"] for each in listed.json["data"]] == [f"{gone.id}-1"]
    assert (audit.status_code, audit.json["data"]["agrees"]) == (200, True)
