"""What a Celery process does before its first message."""

import gc
import sys

import pytest

from models.database import transaction
from models.sale_rules import SaleNotFoundError
from models.taking_over import take_over
from worker import process


@pytest.fixture
def _as_it_was():
    seconds = sys.getswitchinterval()
    yield
    sys.setswitchinterval(seconds)
    gc.unfreeze()


@pytest.mark.usefixtures("store", "_as_it_was")
def test_one_that_begins_with_another_at_the_same_moment_is_ready_all_the_same():
    with transaction() as session:
        with pytest.raises(SaleNotFoundError):
            take_over(session, process.NO_SALE)

        process._warm_up()

    assert gc.get_freeze_count() > 0
