"""Fraud records, overruled by an admin: whoever was suspected passes, and that alone; and it can be taken back."""

import pytest

from models.fraud import write_records
from tests.abuse.conftest import CARD, record_of, users_without_accounts


class TestOverruling:
    def test_it_is_noted_who_did_it_when_and_why(self, overrule):
        write_records([record_of()])

        shown = overrule(1, note=" our own office ").json["data"]

        assert shown["note"] == "our own office"
        assert shown["overruledBy"]
        assert shown["overruledAt"].endswith("Z")

    def test_it_is_done_once(self, overrule):
        write_records([record_of()])
        overrule(1)

        again = overrule(1, note="me too")

        assert (again.status_code, again.json["code"]) == (409, "ALREADY_OVERRULED")

    @pytest.mark.parametrize("record_id", ["1", "999999999999999999", "nothing"])
    def test_a_record_that_is_not_there_is_not_found(self, overrule, record_id):
        answer = overrule(record_id)

        assert (answer.status_code, answer.json["code"]) == (404, "FRAUD_RECORD_NOT_FOUND")

    @pytest.mark.parametrize("note", ["", "  ", "x" * 501, "two\nlines", None, 7])
    def test_a_reason_is_asked_for(self, overrule, listed, note):
        write_records([record_of()])

        answer = overrule(1, note=note)

        assert answer.status_code == 400
        assert [error["field"] for error in answer.json["errors"]] == ["note"]
        assert listed()["data"][0]["overruledAt"] is None

    def test_an_address_that_is_overruled_passes_with_everybody_behind_it(
        self, buy, make_sale, records, overrule, change_settings
    ):
        change_settings(VELOCITY_ACCOUNTS_FLAG="0", VELOCITY_ACCOUNTS_REFUSE="2")
        sale = make_sale()
        assert [buy(sale).status_code for _ in range(3)] == [202, 403, 403]

        overrule(records(2)[0].id)

        assert [buy(sale).status_code for _ in range(3)] == [202, 202, 202]
        elsewhere = [buy(sale, address="198.51.100.8").status_code for _ in range(2)]
        assert elsewhere == [202, 403], "another address is still counted"

    def test_an_account_that_is_overruled_passes_that_signal_and_no_other(
        self, buy, make_sale, records, overrule, change_settings
    ):
        change_settings(VELOCITY_SALES_REFUSE="2")
        (ann,), sales = users_without_accounts(1), [make_sale() for _ in range(4)]
        assert [buy(sale, ann).status_code for sale in sales[:2]] == [202, 403]
        overrule(records(1)[0].id)

        assert [buy(sale, ann).status_code for sale in sales] == [202] * 4
        for _ in range(2):
            buy(sales[3], group_key=CARD)
        assert buy(sales[3], ann, group_key=CARD).status_code == 403

    def test_a_card_that_is_overruled_passes_in_every_sale(self, buy, make_sale, records, overrule):
        sale, other = make_sale(), make_sale()
        assert [buy(sale, group_key=CARD).status_code for _ in range(3)] == [202, 202, 403]

        overrule(records(1)[0].id)

        assert [buy(sale, group_key=CARD).status_code for _ in range(3)] == [202] * 3
        assert [buy(other, group_key=CARD).status_code for _ in range(3)] == [202] * 3
        assert buy(sale, group_key="card 1881").status_code == 202


class TestTakingItBack:
    @pytest.fixture
    def withdraw(self, client, admin):
        return lambda record_id: client.delete(f"/api/fraud-records/{record_id}/overrule", headers=admin)

    def test_the_subject_is_counted_again(self, buy, make_sale, records, overrule, withdraw):
        sale = make_sale()
        for _ in range(3):
            buy(sale, group_key=CARD)
        (record,) = records(1)
        overrule(record.id)
        assert buy(sale, group_key=CARD).status_code == 202

        shown = withdraw(record.id).json["data"]

        assert (shown["overruledBy"], shown["overruledAt"], shown["note"]) == (None, None, None)
        assert buy(sale, group_key=CARD).status_code == 403

    def test_what_was_never_overruled_cannot_be_taken_back(self, withdraw):
        write_records([record_of()])

        assert withdraw(1).json["code"] == "NOT_OVERRULED"
        assert withdraw(2).json["code"] == "FRAUD_RECORD_NOT_FOUND"
