"""Users: who buys and who operates."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, RowId


class Role(StrEnum):
    CUSTOMER = "customer"
    ADMIN = "admin"


class User(Base):
    """A buyer or an operator. Addresses are kept in lower case, so that one person signs up once."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("email"),
        CheckConstraint("email = lower(email) AND length(email) BETWEEN 3 AND 254", name="email_is_normal"),
        CheckConstraint("length(name) BETWEEN 1 AND 100", name="name_has_a_length"),
        CheckConstraint("role IN ('customer', 'admin')", name="role_is_known"),
        Index(None, "tokens_refused_at", postgresql_where=text("tokens_refused_at IS NOT NULL")),
    )

    id: Mapped[RowId]
    name: Mapped[str]
    email: Mapped[str]
    # None: an account that cannot log in with a password, such as a demo's bulk buyers.
    password_hash: Mapped[str | None]
    role: Mapped[str] = mapped_column(server_default=Role.CUSTOMER)
    blocked_at: Mapped[datetime | None]
    # Every token names the generation that it was issued in; those of an earlier one are refused, whatever their time.
    token_generation: Mapped[int] = mapped_column(Integer, server_default="0")
    tokens_refused_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]

    @property
    def is_admin(self) -> bool:
        return self.role == Role.ADMIN
