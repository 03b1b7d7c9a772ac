"""A deleted sale is not joined, whether Redis remembers it or not, and its buyers hear what becomes of them."""

from models import rediskeys
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.sales import archive_sale, end_sale
from models.settle import settle_turn


def test_a_deleted_sale_is_not_joined_whether_redis_remembers_it_or_not(live, make_sale, token_of):
    over, running = make_sale(), make_sale()
    end_sale(over.id)
    client = live.connect(token=token_of(1))
    for sale in (over, running):
        _, shown = client.send("joinFlashSale", flashSaleId=sale.id).hear()
        archive_sale(sale.id)
        late = live.connect()

        for since in ({}, {"since": 0}, {"since": shown["seq"]}):
            name, refused = late.send("joinFlashSale", flashSaleId=sale.id, **since).hear()
            assert (name, refused["code"]) == ("error", "SALE_NOT_FOUND"), since
        redis_client().delete(rediskeys.view(sale.id))
        assert late.send("joinFlashSale", flashSaleId=sale.id).hear()[1]["code"] == "SALE_NOT_FOUND"


def test_who_waits_in_line_when_it_is_deleted_is_told_so(live, make_sale, token_of):
    sale = make_sale()
    admit(sale.id, 1, Kind.PURCHASE, 1)
    client = live.connect(token=token_of(1)).send("joinFlashSale", flashSaleId=sale.id)
    client.hear_until("stockUpdate")

    archive_sale(sale.id)
    client.hear_until("flashSaleEnded", reason="cancelled")
    settle_turn(sale.id)

    assert client.hear_until("purchaseSettled")[-1][1]["status"] == "rejected"
