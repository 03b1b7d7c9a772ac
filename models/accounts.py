"""Accounts: who may sign up, log in and be listed, and what admins may do with them.

Whatever ends the right that a token was given out for (a block, another role, a new password, a theft) raises the
account's `token_generation` in the same transaction, and Redis is told after the commit: see models/revocations.py.
"""

from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError
from sqlalchemy import and_, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import passwords
from models.constraints import violates
from models.database import database_now, snapshot, transaction
from models.errors import ConflictError, DomainError, ForbiddenError, NotFoundError
from models.revocations import tell_generation
from models.settings import settings
from models.user import Role, User

log = structlog.get_logger()


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


class UserNotFoundError(NotFoundError):
    code = "USER_NOT_FOUND"
    message = "User not found"


class OwnAccountError(ForbiddenError):
    """So the last admin who is not blocked stays one: whoever changes another is an admin, at that very moment."""

    code = "OWN_ACCOUNT"
    message = "Nobody blocks themselves or takes their own role away: ask another admin"


class WrongPasswordError(ForbiddenError):
    """Not BadCredentialsError: whoever asks is logged in, and stays so."""

    code = "WRONG_PASSWORD"
    message = "The old password is wrong"


@dataclass(frozen=True, slots=True)
class Changed:
    """An account after a change. `is_told`: Redis knows which of its tokens are refused; if not, a chore tells it as
    soon as Redis is there."""

    user: User
    is_told: bool


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
    """The account as it is now. Raises UserNotFoundError, and AccountBlockedError."""
    user = find_user(user_id)
    if user.blocked_at is not None:
        raise AccountBlockedError
    return user


def find_user(user_id: int) -> User:
    """Raises UserNotFoundError."""
    with transaction() as session:
        user = session.get(User, user_id)
    if user is None:
        raise UserNotFoundError
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


def block(user_id: int, by: int) -> Changed:
    """Let somebody in no more: no log-in, and every token that they have is refused. Twice is once.

    `by` is the admin who does it. Raises UserNotFoundError, OwnAccountError, and ForbiddenError where `by` is no admin
    any more.
    """
    with transaction() as session:
        user = _lock_for(session, user_id, by)
        if user.id == by:
            raise OwnAccountError
        if user.blocked_at is None:
            user.blocked_at = database_now(session)
            _refuse_tokens(session, user)
    return _tell(user)


def unblock(user_id: int, by: int) -> Changed:
    """Let somebody log in again; what they had before stays refused. Twice is once. Raises as `block` does."""
    with transaction() as session:
        user = _lock_for(session, user_id, by)
        user.blocked_at = None
    return _tell(user)


def change_account(user_id: int, by: int, *, name: str | None = None, role: Role | None = None) -> Changed:
    """Another name, another role, or both. With another role the account's tokens, which name the old one, are refused.

    Raises as `block` does; OwnAccountError for one's own role alone.
    """
    with transaction() as session:
        user = _lock_for(session, user_id, by)
        user.name = name or user.name
        if role is not None and role != user.role:
            if user.id == by:
                raise OwnAccountError
            user.role = role
            _refuse_tokens(session, user)
    return _tell(user)


def change_password(user_id: int, old: str, new: str) -> Changed:
    """Another password for whoever knows the old one; every token from before is refused, the asker's too.

    Raises UserNotFoundError, AccountBlockedError, WrongPasswordError, and ConflictError where another change was first.
    """
    known = active_user(user_id)
    if not passwords.is_right_password(known.password_hash, old):
        raise WrongPasswordError
    new_hash = passwords.hash_password(new)
    with transaction() as session:
        user = _lock(session, user_id)
        if user.blocked_at is not None:
            raise AccountBlockedError
        if user.password_hash != known.password_hash:
            raise ConflictError("The password was changed at the same moment", code="PASSWORD_CHANGED")
        user.password_hash = new_hash
        _refuse_tokens(session, user)
    return _tell(user)


def refuse_tokens(user_id: int) -> Changed:
    """Log somebody out everywhere. Raises UserNotFoundError."""
    with transaction() as session:
        user = _lock(session, user_id)
        _refuse_tokens(session, user)
    return _tell(user)


def _lock_for(session: Session, user_id: int, by: int) -> User:
    """The account's row and those of all admins who are not blocked, under their locks.

    Always in the order of their ids: two admins who change each other at once wait for one another, and the second
    finds that it is an admin no more. Without the admins' rows both would go through, and nobody would be left.
    """
    may_act = and_(User.role == Role.ADMIN, User.blocked_at.is_(None))
    query = select(User).where(or_(User.id == user_id, may_act)).order_by(User.id)
    # NO KEY: whoever inserts a row that refers to an account does not wait for this.
    locked = {user.id: user for user in session.scalars(query.with_for_update(key_share=True))}
    actor = locked.get(by)
    if actor is None or not actor.is_admin or actor.blocked_at is not None:
        raise ForbiddenError("Only admins may do this")
    if user_id not in locked:
        raise UserNotFoundError
    return locked[user_id]


def _lock(session: Session, user_id: int) -> User:
    user = session.scalar(select(User).where(User.id == user_id).with_for_update(key_share=True))
    if user is None:
        raise UserNotFoundError
    return user


def _refuse_tokens(session: Session, user: User) -> None:
    user.token_generation += 1
    user.tokens_refused_at = database_now(session)


def _tell(user: User) -> Changed:
    """After the commit, and also where nothing changed: asked again, it is told again."""
    try:
        tell_generation(user.id, user.token_generation)
    except RedisError as error:
        log.warning("tokens.untold", user=user.id, generation=user.token_generation, error=type(error).__name__)
        return Changed(user, is_told=False)
    return Changed(user, is_told=True)
