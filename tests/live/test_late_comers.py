"""Who joins a sale that is over: at the root, as reference 001 has it, they are told so; at /ws they read it."""

import pytest

from models.sales import end_sale


@pytest.fixture
def over(make_sale):
    """A sale that has ended by time."""
    sale = make_sale()
    end_sale(sale.id)
    return sale


def test_at_the_root_the_end_is_told_behind_the_stock_and_once(live, over, token_of):
    client = live.connect("/", token=token_of(1)).send("joinFlashSale", flashSaleId=over.id)

    _, shown = client.hear()
    name, ended = client.hear()

    assert (name, shown["state"]) == ("flashSaleEnded", "ended")
    assert ended == {"flashSaleId": str(over.id), "reason": "time-ended", "seq": shown["seq"]}
    assert client.hears_nothing(0.5)


def test_who_reads_the_state_is_not_told_again(live, over, token_of):
    watching = live.connect("/ws", token=token_of(1)).send("joinFlashSale", flashSaleId=over.id)
    _, shown = watching.hear()
    back = live.connect("/", token=token_of(1)).send("joinFlashSale", flashSaleId=over.id, since=shown["seq"])

    assert shown["state"] == "ended"
    assert back.hear()[0] == "stockUpdate"
    assert watching.hears_nothing(0.5)
    assert back.hears_nothing(0.1)


def test_who_comes_in_time_hears_of_the_end_when_it_comes_and_once(live, make_sale, token_of):
    sale = make_sale()
    client = live.connect("/", token=token_of(1)).send("joinFlashSale", flashSaleId=sale.id)
    assert client.hear()[1]["state"] == "live"
    assert client.hears_nothing(0.5)

    end_sale(sale.id)

    heard = [name for name, _ in client.hear_until("flashSaleEnded")]
    assert heard.count("flashSaleEnded") == 1
    assert client.hears_nothing(0.5)
