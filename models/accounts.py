"""Accounts: who may sign up, log in and be listed."""

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError

from models import passwords
from models.constraints import violates
from models.database import snapshot, transaction
from models.errors import ConflictError, DomainError, ForbiddenError, NotFoundError
from models.settings import settings
from models.user import Role, User


class BadCredentialsError(DomainError):
    """The same words whether the address or the password is wrong, so that nobody learns who is a customer."""

    code = "BAD_CREDENTIALS"
    message = "Wrong e-mail address or password"


class EmailTakenError(ConflictError):
    code = "EMAIL_TAKEN"
    message = "There is an account with this e-mail address already"


class AccountBlockedError(ForbiddenError):
    code = "ACCOUNT_BLOCKED"
    message = "This account is blocked"


def sign_up(name: str, email: str, password: str, role: Role = Role.CUSTOMER) -> User:
    """Make an account. `email` must be in lower case.

    Raises EmailTakenError, and ForbiddenError for an admin where the settings do not allow admins to sign up.
    """
    if role is Role.ADMIN and not settings().allow_admin_signup:
        raise ForbiddenError("Nobody becomes an admin by signing up", code="ADMIN_SIGNUP_FORBIDDEN")
    return create_account(name, email, password, role)


def create_account(name: str, email: str, password: str, role: Role) -> User:
    """Make an account with any role: for operators, behind their own command. Raises EmailTakenError."""
    # Hashed before the transaction begins: no connection is held for it.
    user = User(name=name, email=email, password_hash=passwords.hash_password(password), role=role)
    try:
        with transaction() as session:
            session.add(user)
            session.flush()
            session.refresh(user)
    except IntegrityError as error:
        if violates(error, "uq_users_email"):
            raise EmailTakenError from error
        raise
    return user


def log_in(email: str, password: str) -> User:
    """The account of this address, if the password is right.

    Takes as long for an unknown address as for a wrong password. Raises BadCredentialsError, and AccountBlockedError
    to somebody who knows the password of a blocked account.
    """
    with transaction() as session:
        user = session.scalar(select(User).where(User.email == email))
    if not passwords.is_right_password(user.password_hash if user else None, password) or user is None:
        raise BadCredentialsError
    if user.blocked_at is not None:
        raise AccountBlockedError
    if user.password_hash and passwords.needs_rehash(user.password_hash):
        _rehash(user.id, user.password_hash, password)
    return user


def _rehash(user_id: int, old_hash: str, password: str) -> None:
    """Keep the password under today's parameters, unless it was changed meanwhile."""
    new_hash = passwords.hash_password(password)
    with transaction() as session:
        user = session.get(User, user_id, with_for_update=True)
        if user is not None and user.password_hash == old_hash:
            user.password_hash = new_hash


def active_user(user_id: int) -> User:
    """The account as it is now. Raises NotFoundError, and AccountBlockedError."""
    user = find_user(user_id)
    if user.blocked_at is not None:
        raise AccountBlockedError
    return user


def find_user(user_id: int) -> User:
    """Raises NotFoundError."""
    with transaction() as session:
        user = session.get(User, user_id)
    if user is None:
        raise NotFoundError("User not found", code="USER_NOT_FOUND")
    return user


def list_users(search: str | None, page: int, limit: int) -> tuple[list[User], int]:
    """One page of the accounts, newest first, and how many there are; `search` is a part of a name or address."""
    wanted = select(User)
    if search:
        wanted = wanted.where(
            or_(User.name.icontains(search, autoescape=True), User.email.icontains(search, autoescape=True))
        )
    with snapshot() as session:
        total = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
        rows = session.scalars(wanted.order_by(User.id.desc()).limit(limit).offset((page - 1) * limit))
        return list(rows), total
