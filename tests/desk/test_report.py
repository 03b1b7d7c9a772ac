"""The report: what a sale came to, as a page and as CSV."""

import csv
import io
from decimal import Decimal

import pytest

from models import holds
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.report import report_of
from models.settle import settle_turn
from web.desk.report_csv import safe


@pytest.fixture
def sold(make_sale, make_product):
    """A sale of ten: six sold (one of them from a hold), one of those refunded, one hold given back, three turned away
    after the line and two before it."""
    sale = make_sale(total_stock=10, max_per_user=4, title="=cmd()", product_id=make_product(name="@shoe").id)
    for user_id in (1, 2, 3, 4, 5):
        admit(sale.id, user_id, Kind.PURCHASE, 1)
    held = [admit(sale.id, user_id, Kind.RESERVATION, 1).ticket for user_id in (6, 7)]
    for user_id in (1, 2, 3):
        admit(sale.id, user_id, Kind.PURCHASE, 4)
    for user_id in (8, 9):
        with pytest.raises(Exception, match="LIMIT_EXCEEDED"):
            admit(sale.id, user_id, Kind.PURCHASE, 5)
    settle_turn(sale.id)
    holds.checkout(sale.id, [held[0]], 6, None)
    holds.cancel(sale.id, [held[1]], 7)
    holds.refund(sale.id, 1, actor_id=1, reason="too small")
    return sale


def lines_of(text):
    return [tuple(row) for row in csv.reader(io.StringIO(text))]


def test_the_report_adds_up_to_the_sale(sold, sale_row):
    report, sale = report_of(sold.id), sale_row(sold.id)

    assert sale.sold == 5
    assert report.curve[0].sold == 0
    assert report.curve[-1].sold == sale.sold
    assert [point.at for point in report.curve] == sorted(point.at for point in report.curve)
    assert report.requests == sale.settled_through == sum(each.requests for each in report.outcomes) == 10
    assert sum(bar.requests for bar in report.latencies.bars) == 10
    assert report.refusals == {"LIMIT_EXCEEDED": 2}
    assert report.revenue == 5 * Decimal("49.99")
    assert (report.people, report.buyers) == (7, 5)
    assert report.sell_through == 50


def test_outcomes_are_told_with_their_reasons(sold):
    told = {(each.status, each.reason): (each.requests, each.units) for each in report_of(sold.id).outcomes}

    assert told == {
        ("confirmed", None): (5, 5),
        ("refunded", None): (1, 1),
        ("cancelled", None): (1, 1),
        ("rejected", "LIMIT_EXCEEDED"): (3, 12),
    }


def test_a_sale_that_nobody_came_to_has_a_report_too(make_sale, operator):
    sale = make_sale()

    report = report_of(sale.id)

    assert (report.curve, report.refusals, report.requests, report.latencies.p50_ms) == ((), {}, 0, None)
    assert operator.get(f"/admin/sales/{sale.id}/report").status_code == 200
    assert operator.get(f"/admin/sales/{sale.id}/report.csv").status_code == 200


def test_a_report_knows_the_refusals_after_redis_forgot_them(sold):
    report_of(sold.id)
    redis_client().flushall()

    assert report_of(sold.id).refusals == {"LIMIT_EXCEEDED": 2}


def test_the_page_shows_the_curve_the_reasons_and_the_bars(sold, operator):
    page = operator.get(f"/admin/sales/{sold.id}/report")

    assert page.status_code == 200
    assert page.text.count('class="bar"') == 14
    assert "<polyline" in page.text
    assert "LIMIT_EXCEEDED" in page.text
    assert "style=" not in page.text


def test_the_csv_says_what_the_report_says(sold, operator):
    answer = operator.get(f"/admin/sales/{sold.id}/report.csv")
    lines = lines_of(answer.text)

    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert lines[0] == ("section", "name", "value", "unit")
    assert ("totals", "sold", "5", "units") in lines
    assert ("totals", "revenue", "249.95", "USD") in lines
    assert ("refusals before the line", "LIMIT_EXCEEDED", "2", "requests") in lines
    assert ("outcomes", "rejected LIMIT_EXCEEDED", "3", "requests") in lines
    bars = [int(line[2]) for line in lines if line[0] == "time to outcome" and line[3] == "requests"]
    assert sum(bars) == 10
    assert all(len(line) == 4 for line in lines)


def test_a_spreadsheet_takes_no_title_for_a_formula(sold, operator):
    lines = lines_of(operator.get(f"/admin/sales/{sold.id}/report.csv").text)

    assert ("sale", "title", "'=cmd()", "") in lines
    assert ("sale", "product", "'@shoe", "") in lines
    assert not [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "＝1"])  # noqa: RUF001
def test_whatever_could_be_a_formula_is_text(cell):
    assert safe(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["Shoe - red", "a=b", -5, Decimal("-1.50"), "", None])
def test_what_is_none_stays_as_it_is(cell):
    assert safe(cell) == cell
