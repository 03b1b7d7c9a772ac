"""What cannot be taken back is asked first: without scripts in a page of its own, to which its button leads."""

import re

import pytest

from models.gate import admit
from models.purchase import Kind
from models.settle import settle_turn
from tests.desk.conftest import hidden_fields

FORM = re.compile(r'<form method="(\w+)" action="([^"]+)"')


def leads(page):
    """The desk's buttons: the address of each, and by which method."""
    return {action.partition("?")[0]: method for method, action in FORM.findall(page.text.replace("&amp;", "&"))}


@pytest.mark.parametrize("page", ["", "/desk"])
def test_the_end_and_the_restart_of_a_sale_are_asked_for_and_a_pause_is_not(operator, make_sale, page):
    sale = make_sale()
    here = f"/admin/sales/{sale.id}"

    methods = leads(operator.get(f"{here}{page}"))

    assert {methods[f"{here}/{action}"] for action in ("end", "restart")} == {"get"}
    assert {methods[f"{here}/{action}"] for action in ("pause", "wake")} == {"post"}


@pytest.mark.parametrize(
    ("action", "said", "state"),
    [
        ("end", "End Half &lt;price&gt;?", "ended"),
        ("cancel", "Call Half &lt;price&gt; off?", "cancelled"),
        ("archive", "Take Half &lt;price&gt; out of sight?", "cancelled"),
        ("restart", "Restart Half &lt;price&gt;?", "ended"),
    ],
)
def test_a_question_does_nothing_and_its_answer_does_it(operator, make_sale, sale_row, action, said, *, state):
    sale = make_sale(title="Half <price>")
    path = f"/admin/sales/{sale.id}/{action}"

    question = operator.get(path)

    assert question.status_code == 200
    assert said in question.text
    assert f'href="/admin/sales/{sale.id}"' in question.text
    assert (sale_row(sale.id).state, sale_row(sale.id).revision) == ("live", sale.revision)
    assert operator.post(leads_to(question), **hidden_fields(question.text)).status_code == 303
    assert sale_row(sale.id).state == state


def leads_to(question):
    """Where the answer to a question is sent."""
    return re.search(r'data-question>.*?action="([^"]+)"', question.text, re.DOTALL)[1].replace("&amp;", "&")


def test_whoever_came_from_the_live_desk_goes_back_to_it_with_either_answer(operator, make_sale):
    sale = make_sale()

    question = operator.get(f"/admin/sales/{sale.id}/end?from=desk")
    done = operator.post(leads_to(question), **hidden_fields(question.text))

    assert f'href="/admin/sales/{sale.id}/desk"' in question.text
    assert done.location == f"/admin/sales/{sale.id}/desk?done=1"


def test_a_refund_is_asked_for_with_its_reason(operator, make_sale, sale_row):
    sale = make_sale(total_stock=3)
    admit(sale.id, operator.user.id, Kind.PURCHASE, 2)
    settle_turn(sale.id)
    path = f"/admin/purchases/{sale.id}-1"
    assert "data-asks" in operator.get(path).text

    question = operator.get(f"{path}?reason=too+<small>")

    assert f"Refund purchase {sale.id}-1?" in question.text
    assert "too &lt;small&gt;" in question.text
    assert sale_row(sale.id).sold == 2
    fields = hidden_fields(question.text) | {"reason": "too <small>"}
    assert operator.post(leads_to(question), **fields).status_code == 303
    assert sale_row(sale.id).sold == 0
    assert "data-question" not in operator.get(f"{path}?reason=again").text


def test_a_rule_for_addresses_is_asked_for_before_it_is_in_force(operator):
    asked = "network=203.0.113.0%2F24&action=deny&reason=bots&expiresAt="

    question = operator.get(f"/admin/ip-rules/new?{asked}")

    assert "Deny 203.0.113.0/24?" in question.text
    assert "Nothing here" in operator.get("/admin/ip-rules").text
    made = operator.post(leads_to(question), **hidden_fields(question.text))
    assert made.status_code == 303, made.text
    path = made.location.partition("?")[0]
    removal = operator.get(f"{path}/delete")
    assert "Delete the rule to deny 203.0.113.0/24?" in removal.text
    assert operator.post(leads_to(removal), **hidden_fields(removal.text)).status_code == 303
    assert operator.get(path).status_code == 404


def test_products_and_series_are_asked_about_before_they_go(operator, make_product, make_sale):
    product = make_product(name="Runner")
    made = operator.send(
        "/admin/series/new",
        title="First Fridays",
        productId=str(make_product().id),
        rule="FREQ=MONTHLY;BYDAY=1FR",
        startsLocal="2030-01-04T18:00:00",
        zone="Europe/Berlin",
    )
    series = made.location.partition("?")[0]

    for path, said in ((f"/admin/products/{product.id}/delete", "Delete Runner?"), (f"{series}/end", "End First Fri")):
        question = operator.get(path)
        assert said in question.text
        assert operator.post(leads_to(question), **hidden_fields(question.text)).status_code == 303
    assert operator.get(f"/admin/products/{product.id}").status_code == 404
    assert "Ended" in operator.get(series).text


@pytest.mark.parametrize("name", ["sales", "products", "categories", "ip-rules", "fraud-records", "series"])
def test_a_list_to_which_one_comes_back_says_that_it_was_done(operator, name):
    page = operator.get(f"/admin/{name}?done=1")

    assert page.status_code == 200
    assert "Done. It stands in the" in page.text


def test_the_other_pages_of_a_list_say_it_no_more(operator, make_sale):
    for _ in range(30):
        make_sale()

    assert 'href="/admin/sales?page=2"' in operator.get("/admin/sales?done=1").text


def test_what_is_not_there_is_not_asked_about(operator):
    for path in ("sales/99/end", "products/99/delete", "series/99/end", "ip-rules/99/delete", "categories/99/delete"):
        assert operator.get(f"/admin/{path}").status_code == 404


def test_an_answer_without_the_proof_of_a_page_of_ours_is_none(operator, make_sale, sale_row):
    sale = make_sale()

    assert operator.post(f"/admin/sales/{sale.id}/end", csrfToken="").status_code == 403
    assert sale_row(sale.id).state == "live"
