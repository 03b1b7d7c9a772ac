"""Buyers by the thousand, for a demo and for nothing else."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import jwt
import psycopg
import pytest
from sqlalchemy import select, update

from models.database import transaction
from models.sale import FlashSale
from models.settings import Settings, settings
from models.user import User
from ops import demo
from ops.buyers import demo_database, make_buyers, write_tokens
from ops.errors import OpsError
from ops.rush.sales import untouched_demo_sale
from ops.stack import write_stack
from ops.state import DataDir

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo_settings(store: object) -> Settings:
    """The settings of a stack that is a demo."""
    known: Settings = settings().model_copy(update={"environment": "demo"})
    return known


def make_buyers_command(data_dir: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """`make buyers` for the stack in `data_dir`, as its own process."""
    return subprocess.run(
        [sys.executable, "-m", "ops.buyers", "--count", "3", "--out", str(out)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(data_dir)},
        timeout=240,
    )


def a_stack(data_dir: Path, environment: str) -> DataDir:
    """What a running stack leaves in its directory; it runs as long as the directory is locked."""
    here = DataDir.at(data_dir)
    here.create()
    known = settings()
    write_stack(
        here,
        {
            "ENVIRONMENT": environment,
            "DATABASE_URL": known.psycopg_url,
            "REDIS_URL": known.redis_url,
            "JWT_SECRET_KEY": known.jwt_secret_key,
            "DATA_DIR": str(data_dir),
        },
    )
    return here


def test_every_buyer_is_a_customer_without_password_and_has_a_token_for_a_day(demo_settings: Settings) -> None:
    demo.seed()

    with demo_database(demo_settings) as connection:
        buyers = make_buyers(connection, 12)

    with transaction() as session:
        users = {user.id: user for user in session.scalars(select(User).where(User.email.like("%@buyers.%")))}
    assert {buyer.user_id for buyer in buyers} == set(users)
    assert all(user.password_hash is None and user.role == "customer" for user in users.values())
    claims = jwt.decode(buyers[0].token, options={"verify_signature": False})
    assert int(claims["sub"]) == buyers[0].user_id
    assert claims["exp"] - claims["iat"] == 24 * 3600


def test_a_second_run_makes_other_buyers(demo_settings: Settings) -> None:
    demo.seed()

    with demo_database(demo_settings) as connection:
        first, second = make_buyers(connection, 3), make_buyers(connection, 3)

    assert len({buyer.user_id for buyer in (*first, *second)}) == 6


def test_more_buyers_than_one_statement_takes_are_all_made(
    demo_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.seed()
    monkeypatch.setattr("ops.buyers.COPY_ROWS", 4)

    with demo_database(demo_settings) as connection:
        buyers = make_buyers(connection, 10)

    assert len(buyers) == 10


def test_a_new_customer_signs_up_after_the_bulk_without_a_collision(demo_settings: Settings, make_user: object) -> None:
    demo.seed()
    with demo_database(demo_settings) as connection:
        buyers = make_buyers(connection, 5)

    user = make_user()  # type: ignore[operator]

    assert user.id > max(buyer.user_id for buyer in buyers)


@pytest.mark.parametrize("environment", ["development", "production"])
def test_outside_of_a_demo_there_are_no_buyers(store: object, environment: str) -> None:
    known = settings().model_copy(update={"environment": environment})

    with pytest.raises(OpsError, match="for a demo alone"), demo_database(known):
        pass


def test_a_database_without_the_demos_admin_gets_no_buyers(demo_settings: Settings) -> None:
    with pytest.raises(OpsError, match="has no admin@doorbuster"), demo_database(demo_settings):
        pass


def test_a_database_that_is_away_is_told_in_one_line(demo_settings: Settings) -> None:
    away = demo_settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/none"})

    with pytest.raises(OpsError) as refused, demo_database(away):
        pass
    assert "\n" not in str(refused.value)


def test_the_tokens_are_for_their_owner_alone_and_one_a_line(demo_settings: Settings, tmp_path: Path) -> None:
    demo.seed()
    with demo_database(demo_settings) as connection:
        buyers = make_buyers(connection, 3)

    write_tokens(tmp_path / "tokens", buyers)

    assert (tmp_path / "tokens").read_text().splitlines() == [buyer.token for buyer in buyers]
    assert stat.S_IMODE((tmp_path / "tokens").stat().st_mode) == 0o600


def test_tokens_do_not_take_the_place_of_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="no ordinary file"):
        write_tokens(tmp_path, [])


def test_make_buyers_works_on_a_running_demo(demo_settings: Settings, tmp_path: Path) -> None:
    demo.seed()
    here = a_stack(tmp_path / "data", "demo")

    with here.locked():
        done = make_buyers_command(here.path, tmp_path / "tokens")

    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "tokens").read_text().splitlines()) == 3


@pytest.mark.parametrize(("environment", "is_running"), [("development", True), ("demo", False), ("demo", True)])
def test_make_buyers_refuses_in_one_line_what_is_no_running_demo(
    store: object, tmp_path: Path, environment: str, is_running: bool
) -> None:
    here = a_stack(tmp_path / "data", environment)  # the database has no demo in it

    if is_running:
        with here.locked():
            done = make_buyers_command(here.path, tmp_path / "tokens")
    else:
        done = make_buyers_command(here.path, tmp_path / "tokens")

    assert done.returncode == 1
    assert is_one_line(done.stderr)
    assert not (tmp_path / "tokens").exists()


def is_one_line(text: str) -> bool:
    return text.startswith("doorbuster: ") and text.count("\n") == 1


def test_the_demos_sale_is_taken_for_a_rush_only_while_nobody_touched_it(demo_settings: Settings) -> None:
    demo.seed()

    def found(units: int = 200, quantity: int = 1) -> int | None:
        with psycopg.connect(demo_settings.psycopg_url) as connection:
            return untouched_demo_sale(connection, units=units, quantity=quantity)

    def change(**columns: object) -> None:
        with transaction() as session:
            session.execute(update(FlashSale).values(**columns))

    assert found() == 1
    assert found(units=100) is None
    change(max_per_user=1)
    assert found(quantity=2) is None
    change(paused=True)
    assert found() is None
    change(paused=False, settled_through=1)
    assert found() is None
