"""What the desk lists is found by what an operator knows of it, and comes a page at a time."""

from models.accounts import find_user
from models.gate import admit
from models.purchase import Kind
from models.settle import settle_turn


def test_users_are_found_and_shown_with_what_they_bought(operator, buyer):
    assert "kim@shop.test" in operator.get("/admin/users?search=KIM").text
    assert "olga@shop.test" not in operator.get("/admin/users?search=KIM").text

    page = operator.get(f"/admin/users/{find_user(buyer.user.id).id}")

    assert (page.status_code, "kim@shop.test" in page.text) == (200, True)


def test_lists_are_paged_and_a_page_that_is_none_is_refused(operator, make_sale):
    for _ in range(30):
        make_sale()

    first = operator.get("/admin/sales")
    second = operator.get("/admin/sales?page=2")

    assert "page=2" in first.text
    assert (first.text.count(">Desk<"), second.text.count(">Desk<")) == (25, 5)
    assert operator.get("/admin/sales?page=0").status_code == 400
    assert operator.get("/admin/sales?nonsense=1").status_code == 400


def test_purchases_and_movements_go_on_where_the_page_ended(operator, make_sale):
    sale = make_sale(total_stock=60)
    for user_id in range(1, 61):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    settle_turn(sale.id)

    seen, path = [], f"/admin/purchases?saleId={sale.id}"
    for _ in range(3):
        page = operator.get(path).text
        seen += [row.split('"')[0] for row in page.split('href="/admin/purchases/')[1:]]
        older = page.split('<nav class="pages"')[1].split('href="')[1].split('"')[0] if "Older" in page else ""
        path = older.replace("&amp;", "&")

    assert seen == [f"{sale.id}-{ticket}" for ticket in range(60, 0, -1)]
    assert path == ""
