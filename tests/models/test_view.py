"""What the gate's view holds of a sale is all that there is to tell of it."""

from hypothesis import given
from hypothesis import strategies as st

from models.sale import EndReason, SaleState
from models.snapshot import SaleSnapshot

COUNTS = st.integers(0, 10**12)
SNAPSHOTS = st.builds(
    SaleSnapshot,
    sale_id=st.integers(1, 10**18),
    revision=COUNTS,
    state=st.sampled_from([str(state) for state in SaleState]),
    end_reason=st.none() | st.sampled_from([str(reason) for reason in EndReason]),
    paused=st.booleans(),
    total_stock=COUNTS,
    sold=COUNTS,
    reserved=COUNTS,
    starts_ms=COUNTS,
    ends_ms=st.none() | COUNTS,
    max_per_purchase=st.none() | COUNTS,
    max_per_user=st.none() | COUNTS,
    settled_through=COUNTS,
    dedicated=st.booleans(),
    archived=st.booleans(),
)


@given(SNAPSHOTS)
def test_a_sale_is_read_from_the_view_as_it_was_written(sale):
    in_redis = {name: str(value) for name, value in sale.to_view().items()}

    assert SaleSnapshot.from_view(sale.sale_id, in_redis) == sale
