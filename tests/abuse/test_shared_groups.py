"""Velocity: how many buyers of a sale share what is behind their purchases, a card or an address for deliveries."""

import pytest

from models import rediskeys
from models.redisclient import redis_client
from models.velocity import hash_group_key
from tests.abuse.conftest import CARD, OFFICE


class TestOneCardOrAddressOfManyBuyers:
    """The shop gives a groupKey; two buyers of a sale may share one."""

    def test_the_third_buyer_with_one_card_is_refused(self, buy, make_sale, make_user, records, waiting):
        sale, ann = make_sale(), make_user()

        assert buy(sale, ann, group_key=CARD).status_code == 202
        assert buy(sale, group_key=CARD).status_code == 202
        assert buy(sale, group_key=CARD).json["code"] == "VELOCITY_REFUSED"
        assert buy(sale, ann, group_key=CARD).status_code == 202
        assert waiting(sale.id) == 3

        (record,) = records(1)
        assert (record.signal, record.action, record.score) == ("shared_group", "refuse", 100)
        assert record.subject == hash_group_key(CARD)

    def test_another_card_and_another_sale_are_counted_by_themselves(self, buy, make_sale):
        sale, other = make_sale(), make_sale()
        for _ in range(3):
            buy(sale, group_key=CARD)

        assert buy(sale, group_key="card 1881").status_code == 202
        assert buy(other, group_key=CARD).status_code == 202
        assert buy(sale).status_code == 202

    def test_a_reservation_is_counted_as_a_purchase_is(self, client, auth, make_user, make_sale):
        url = f"/api/flash-sales/{make_sale().id}/reservations"

        answers = [client.post(url, json={"groupKey": CARD}, headers=auth(make_user())) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [202, 202, 403]

    def test_the_key_itself_is_kept_nowhere(self, buy, make_sale, records):
        sale = make_sale()
        for _ in range(3):
            buy(sale, group_key=CARD)

        (record,) = records(1)
        everything = repr([record.subject, record.details]) + repr(redis_client().keys("*"))
        assert CARD not in everything
        assert "4242" not in record.subject

    def test_a_refused_buyer_takes_nobodys_place(self, buy, make_sale, change_settings):
        change_settings(VELOCITY_ACCOUNTS_FLAG="0", VELOCITY_ACCOUNTS_REFUSE="3")
        sale = make_sale()
        statuses = [buy(sale, group_key=CARD).status_code for _ in range(4)]

        assert statuses == [202, 202, 403, 403]
        # The card was refused, so the address has seen two accounts, and the next refusal is the address's own.
        assert redis_client().zcard(rediskeys.velocity_address(OFFICE)) == 2

    @pytest.mark.parametrize("wrong", ["", "x" * 201, "two\nlines", "a\x00b", 4242, ["card"], {"pan": "4242"}])
    def test_what_is_no_key_is_refused_by_its_name(self, client, auth, make_user, make_sale, wrong):
        url = f"/api/flash-sales/{make_sale().id}/purchases"

        answer = client.post(url, json={"groupKey": wrong}, headers=auth(make_user()))

        assert answer.status_code == 400
        assert [error["field"] for error in answer.json["errors"]] == ["groupKey"]
