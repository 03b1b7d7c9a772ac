"""`python -m ops.demo`: what a first visitor finds: two accounts, a shoe, and a sale of it that is about to open.

`make run` calls this at every start. It fills an empty database once, and leaves every other one alone.
"""

import secrets
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from models.database import database_now, transaction
from models.passwords import hash_password
from models.product import Category, Product
from models.sale import FlashSale
from models.sales import ActiveSaleExistsError, NewSale, create_sale
from models.settings import settings
from models.user import Role, User
from ops.errors import OpsError

ADMIN_EMAIL = "admin@doorbuster.example"
CUSTOMER_EMAIL = "buyer@doorbuster.example"
PASSWORD_BYTES = 9

PRODUCT_SLUG = "doorbuster-one"
PRODUCT_NAME = "Doorbuster One"
PRICE = Decimal("120.00")
FLASH_PRICE = Decimal("60.00")
CURRENCY = "USD"
UNITS = 200
OPENS_IN = timedelta(seconds=15)

# PostgreSQL's advisory lock under which one process at a time fills a database; any number that nothing else uses.
SEED_LOCK = 4244


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of the demo's accounts: made up once, shown once, kept nowhere."""

    admin: str
    customer: str


def seed() -> str:
    """Fill an empty database; returns what to tell the operator.

    May be killed at any point and called again: accounts and product come in one transaction, and the sale is made
    whenever the product never had one. Raises OpsError in production.
    """
    if settings().environment == "production":
        raise OpsError("the demo is not for production: ENVIRONMENT=production")
    passwords = _seed_accounts_and_product()
    if passwords is None and not _is_demo():
        return "The database has users of its own: no demo was set up."
    sale = _make_first_sale()
    lines = []
    if passwords is not None:
        lines += [
            "Demo accounts (their passwords are shown this once):",
            f"  admin    {ADMIN_EMAIL}    {passwords.admin}",
            f"  buyer    {CUSTOMER_EMAIL}    {passwords.customer}",
        ]
    else:
        lines.append("The demo is there; its passwords were shown when it was made (`make reset` starts afresh).")
    if sale is not None:
        sale_id, starts_at = sale
        price = f"{FLASH_PRICE} {CURRENCY} instead of {PRICE}"
        opening = f"{starts_at.astimezone():%H:%M:%S}"  # in the operator's own zone
        lines.append(f"Sale {sale_id}: {UNITS} pairs of {PRODUCT_NAME} at {price}; it opens at {opening}")
    return "\n".join(lines)


def _seed_accounts_and_product() -> Passwords | None:
    """Accounts, category and product in one transaction; None where there are users already."""
    if _has_users():
        return None
    passwords = Passwords(secrets.token_urlsafe(PASSWORD_BYTES), secrets.token_urlsafe(PASSWORD_BYTES))
    admin_hash, customer_hash = hash_password(passwords.admin), hash_password(passwords.customer)
    with transaction() as session:
        session.execute(select(func.pg_advisory_xact_lock(SEED_LOCK)))
        if session.scalar(select(exists().select_from(User))):
            return None
        session.add_all(
            [
                User(name="Ada Admin", email=ADMIN_EMAIL, password_hash=admin_hash, role=Role.ADMIN),
                User(name="Bo Buyer", email=CUSTOMER_EMAIL, password_hash=customer_hash, role=Role.CUSTOMER),
            ]
        )
        _add_product(session)
    return passwords


def _add_product(session: Session) -> None:
    if session.scalar(select(exists().where(Product.slug == PRODUCT_SLUG))):
        return
    category = session.scalar(select(Category).where(Category.name == "Shoes"))
    session.add(
        Product(
            name=PRODUCT_NAME,
            slug=PRODUCT_SLUG,
            description="The running shoe that everybody wants and few will get.",
            images=["/static/shoe.svg"],
            price=PRICE,
            currency=CURRENCY,
            category=category or Category(name="Shoes", slug="shoes"),
        )
    )


def _has_users() -> bool:
    with transaction() as session:
        return bool(session.scalar(select(exists().select_from(User))))


def _is_demo() -> bool:
    with transaction() as session:
        return bool(session.scalar(select(exists().where(User.email == ADMIN_EMAIL, User.role == Role.ADMIN))))


def _make_first_sale() -> tuple[int, datetime] | None:
    """Make the sale of the demo's product and return its id and its start; None where the product had one before,
    whatever became of it, or is gone."""
    with transaction() as session:
        product = session.scalar(
            select(Product).where(
                Product.slug == PRODUCT_SLUG,
                Product.archived_at.is_(None),
                ~exists().where(FlashSale.product_id == Product.id),
            )
        )
        admin_id = session.scalar(select(User.id).where(User.email == ADMIN_EMAIL))
        starts_at = database_now(session) + OPENS_IN
    if product is None:
        return None
    new = NewSale(
        product_id=product.id,
        title=f"{PRODUCT_NAME}: half price, {UNITS} pairs",
        starts_at=starts_at,
        flash_price=FLASH_PRICE,
        total_stock=UNITS,
        featured=True,
    )
    try:
        return create_sale(new, actor_id=admin_id), starts_at
    except ActiveSaleExistsError:
        return None  # another start of the same demo was quicker


def main() -> None:
    print(seed(), flush=True)


if __name__ == "__main__":
    try:
        main()
    except OpsError as why:
        sys.exit(f"doorbuster: {why}")
