"""The whole store as a state machine: any order of requests, retries, crashes, forgetfulness and operators."""

import contextlib
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from models import batch as batches
from models import holds, rediskeys, reservations, sales
from models import settle as settling
from models.audit import audit_sale
from models.database import transaction
from models.errors import DomainError
from models.gate import admit
from models.purchase import Kind, Purchase, Status
from models.redisclient import redis_client
from models.sale_queries import get_sale
from models.schedule import sweep_lines

USERS = st.integers(1, 6)
PRICE = Decimal("49.99")


class CrashError(Exception):
    """The process dies here."""


class Store(RuleBasedStateMachine):
    """Every accepted ticket is remembered; the invariants are checked after every step."""

    make_sale = None

    @initialize(stock=st.integers(1, 12), per_user=st.none() | st.integers(1, 4))
    def open_a_sale(self, stock, per_user):
        sale = type(self).make_sale(total_stock=stock, max_per_user=per_user, hold_seconds=600)
        self.sale_id, self.product_id = sale.id, sale.product_id
        self.receipts: dict[tuple[int, str], list[int]] = {}
        self.accepted: dict[int, int] = {}
        self.outcomes: dict[int, tuple[int, str]] = {}

    @rule(user=USERS, quantity=st.integers(1, 4), kind=st.sampled_from(Kind), key=st.none() | st.sampled_from("abc"))
    def ask(self, user, quantity, kind, key):
        try:
            admission = admit(self.sale_id, user, kind, quantity, idempotency_key=key)
        except DomainError:
            return
        if admission.replayed:
            assert self.accepted.get(admission.ticket, user) == user
            return
        assert admission.ticket not in self.accepted, "a ticket was given out twice"
        self.accepted[admission.ticket] = user

    @rule(times=st.integers(1, 2))
    def settle(self, times):
        for _ in range(times):
            settling.settle_turn(self.sale_id)

    @rule(batch=st.integers(1, 3), batches=st.integers(1, 4))
    def settle_a_little(self, batch, batches):
        settling.settle_turn(self.sale_id, batches=batches, batch_max=batch)

    @rule(batch=st.integers(1, 5), whole=st.integers(0, 2))
    def crash_between_commit_and_telling(self, batch, whole):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(settling, "announce", _crash_after(whole, settling.announce))
            with contextlib.suppress(CrashError):
                settling.settle_turn(self.sale_id, batches=3, batch_max=batch)

    @rule(batch=st.integers(1, 5), whole=st.integers(0, 2))
    def crash_before_the_commit(self, batch, whole):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batches, "commit_together", _crash_after(whole, batches.commit_together, _begin_beside))
            with contextlib.suppress(CrashError):
                settling.settle_turn(self.sale_id, batches=3, batch_max=batch)

    @precondition(lambda self: not self.waiting())
    @rule()
    def redis_forgets_everything(self):
        redis_client().flushall()

    @rule()
    def redis_forgets_the_view(self):
        redis_client().delete(rediskeys.view(self.sale_id))

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused):
        _try(sales.pause_sale if paused else sales.resume_sale, self.sale_id)

    @rule(stock=st.integers(1, 15))
    def restock(self, stock):
        _try(sales.patch_sale, self.sale_id, {"total_stock": stock}, actor_id=1)

    @rule()
    def end(self):
        _try(sales.end_sale, self.sale_id)

    @rule(choice=st.integers(0, 100), end=st.sampled_from([holds.checkout, holds.cancel]))
    def end_a_hold(self, choice, end):
        held = self.rows(Status.RESERVED)
        if held:
            hold = held[choice % len(held)]
            _try(end, self.sale_id, [hold.ticket], hold.user_id)

    @rule(user=USERS, key=st.none() | st.sampled_from("xy"))
    def check_out_the_product(self, user, key):
        units = sum(hold.quantity for hold in self.rows(Status.RESERVED) if hold.user_id == user) or 1
        total = PRICE * units
        try:
            bought = reservations.checkout_product(user, self.product_id, units, total, key=key)
        except DomainError:
            return
        tickets = [record.ticket for record in bought]
        assert all(record.user_id == user for record in bought)
        if key:
            assert self.receipts.setdefault((user, key), tickets) == tickets, "a key bought twice"

    @rule(user=USERS)
    def give_the_product_back(self, user):
        _try(reservations.cancel_product, user, self.product_id)
        assert not [hold for hold in self.rows(Status.RESERVED) if hold.user_id == user]

    @rule(choice=st.integers(0, 100))
    def a_hold_runs_out(self, choice):
        held = self.rows(Status.RESERVED)
        if held:
            with transaction() as session:
                session.execute(
                    text("UPDATE purchases SET expires_at = now() WHERE sale_id = :s AND ticket = :t"),
                    {"s": self.sale_id, "t": held[choice % len(held)].ticket},
                )
            holds.expire_due_holds()

    @rule(choice=st.integers(0, 100))
    def refund(self, choice):
        bought = self.rows(Status.CONFIRMED)
        if bought:
            _try(holds.refund, self.sale_id, bought[choice % len(bought)].ticket, actor_id=1, reason="a test")

    @rule()
    def sweep(self):
        sweep_lines()

    @invariant()
    def the_audit_agrees(self):
        audit = audit_sale(self.sale_id)
        assert audit.agrees, audit.checks

    @invariant()
    def no_outcome_is_ever_decided_again(self):
        for row in self.rows():
            assert row.user_id == self.accepted[row.ticket]
            claimed = row.status != Status.REJECTED
            assert self.outcomes.setdefault(row.ticket, (row.user_id, claimed)) == (row.user_id, claimed)

    def teardown(self):
        if not hasattr(self, "sale_id"):
            return
        for _ in range(50):
            if not self.waiting():
                break
            settling.settle_turn(self.sale_id)
        assert {row.ticket for row in self.rows()} == set(self.accepted), "an accepted request has no outcome"
        sweep_lines()
        view = redis_client().hgetall(rediskeys.view(self.sale_id))
        assert int(view["remaining"]) == get_sale(self.sale_id).remaining

    def waiting(self):
        return redis_client().xlen(rediskeys.mailbox(self.sale_id))

    def rows(self, status=None):
        with transaction() as session:
            query = session.query(Purchase).filter_by(sale_id=self.sale_id).order_by(Purchase.ticket)
            return (query.filter_by(status=status) if status else query).all()


def _begin_beside(_session, _statements, meanwhile):
    meanwhile()


def _crash_after(whole, step, first=lambda *_, **__: None):
    """The step as it is, so many times; then the process dies in it, when it has done what comes first."""
    left = [whole]

    def do(*args, **options):
        if not left[0]:
            first(*args, **options)
            raise CrashError
        left[0] -= 1
        return step(*args, **options)

    return do


def _try(action, *args, **kwargs):
    try:
        action(*args, **kwargs)
    except DomainError:
        return


def test_the_invariants_hold_in_any_order_of_events(make_sale):
    Store.make_sale = staticmethod(make_sale)

    run_state_machine_as_test(
        Store,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )
