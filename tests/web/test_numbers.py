"""Money as clients that know doubles alone write it (IEEE 754)."""

from decimal import Decimal

import pytest

from web.fields import AMOUNT_MAX, PRICE_MAX, read_amount, read_price


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (3 * 1.1, "3.3"),
        (3 * 999.99, "2999.97"),
        (0.1 + 0.2, "0.3"),
        (1.1 * 1.1 * 100, "121"),
        (19.99, "19.99"),
        (7, "7"),
        ("19.99", "19.99"),
        (float(PRICE_MAX), str(PRICE_MAX)),
    ],
)
def test_what_a_double_cannot_hold_is_read_as_it_was_meant(sent, meant):
    assert read_price(sent) == read_amount(sent) == Decimal(meant)


def test_the_largest_sum_is_read_whole():
    assert read_amount(float(AMOUNT_MAX)) == AMOUNT_MAX


@pytest.mark.parametrize("sent", [19.999, 0.001, 3.3000001, 1e-7, 1e300, "3.3000000000000003", True, None, "1e2"])
def test_what_has_more_than_two_decimals_is_refused_all_the_same(sent):
    with pytest.raises(ValueError, match="two decimals"):
        read_amount(sent)
