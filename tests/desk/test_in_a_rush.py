"""The desk while a real worker settles a real rush: totals that only grow, and that end where the crowd's own do."""

import pytest

from models import rediskeys
from models.desk import read_desk
from models.gate import admit
from models.purchase import Kind
from models.redisclient import redis_client
from models.report import report_of
from models.sales import pause_sale, resume_sale
from models.settle import settle_turn
from tests.pipeline.conftest import Rush, assert_exact, drained, eventually, processes  # noqa: F401 - a fixture


def totals(desk):
    return (desk.line.accepted, desk.sale.settled_through, desk.sale.sold, sum(desk.refused.values()))


def test_totals_only_grow_in_a_rush_and_end_where_the_crowds_own_do(processes, make_sale):  # noqa: F811 - the fixture
    sale = make_sale(total_stock=100)
    processes.start("worker")
    processes.wait_ready("worker")
    crowd = Rush([sale.id], 3_000).start()

    seen = []
    while crowd._is_running() or not drained(sale.id):
        desk = read_desk(sale.id)
        assert desk.sale.settled_through <= desk.line.accepted
        assert desk.sale.sold + desk.sale.reserved + desk.sale.remaining == 100
        seen.append(totals(desk))
    crowd.wait()
    eventually(lambda: read_desk(sale.id).sale.settled_through == len(crowd.accepted), "everybody has an outcome")

    assert_exact(crowd, sale.id, 100)
    seen.append(totals(read_desk(sale.id)))
    for one in range(4):
        assert [each[one] for each in seen] == sorted(each[one] for each in seen)
    assert seen[-1] == (len(crowd.accepted), len(crowd.accepted), 100, len(crowd.refused))
    desk = read_desk(sale.id)
    assert [worker.name for worker in desk.workers] == ["worker@test"]
    assert 0 <= desk.times.p50_ms <= desk.times.p99_ms
    report = report_of(sale.id)
    assert (report.requests, report.refused, report.buyers) == (len(crowd.accepted), len(crowd.refused), 100)


def test_counts_stay_as_long_as_a_sale_runs_and_no_longer(make_sale):
    sale = make_sale(total_stock=2)
    pause_sale(sale.id)
    with pytest.raises(Exception, match="PAUSED"):
        admit(sale.id, 1, Kind.PURCHASE, 1)

    resume_sale(sale.id)
    assert redis_client().ttl(rediskeys.counts(sale.id)) == -1

    admit(sale.id, 1, Kind.PURCHASE, 2)
    settle_turn(sale.id)
    assert 0 < redis_client().ttl(rediskeys.counts(sale.id)) <= 172_800
