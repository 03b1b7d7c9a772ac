"""What is left of history that was archived: what each sale's audit counted before its purchases went, and which file.

A sale whose history was archived stays, with its totals. Nothing changes its stock any more, and whoever asks for its
purchases is told that they were archived, and what they came to.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.clock import to_iso
from models.database import Base, transaction
from models.errors import DomainError
from models.sale import FlashSale


class HistoryArchivedError(DomainError):
    """The sale's purchases and movements are in an archive; `data` has what they came to."""

    code = "HISTORY_ARCHIVED"
    message = "The purchases of this sale were archived"


class HistoryArchive(Base):
    """A range of sales whose purchases and movements were archived, and how many there were.

    `manifest` describes the files, once they have been read back; without it the rows are still in the database.
    """

    __tablename__ = "history_archives"
    __table_args__ = (CheckConstraint("first_sale_id >= 0 AND end_sale_id > first_sale_id", name="a_range_has_sales"),)

    first_sale_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    end_sale_id: Mapped[int]
    archived_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    sales: Mapped[int]
    purchases: Mapped[int]
    movements: Mapped[int]
    manifest: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class ArchivedBook(Base):
    """What the audit of a sale counted when its history was archived: by check, and by status."""

    __tablename__ = "archived_books"

    sale_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    counted: Mapped[dict[str, int]] = mapped_column(JSONB)
    tickets_by_status: Mapped[dict[str, int]] = mapped_column(JSONB)
    units_by_status: Mapped[dict[str, int]] = mapped_column(JSONB)


def refuse_archived(session: Session, sale: FlashSale | None) -> None:
    """Raises HistoryArchivedError if the history of this sale was archived."""
    if sale is None or sale.history_archived_at is None:
        return
    book = session.get_one(ArchivedBook, sale.id)
    raise HistoryArchivedError(
        data={
            "archivedAt": to_iso(sale.history_archived_at),
            "ticketsByStatus": book.tickets_by_status,
            "unitsByStatus": book.units_by_status,
        }
    )


def refuse_archived_sale(sale_id: int) -> None:
    """As above, for whoever has no more than the id; nothing for a sale that is not there."""
    with transaction() as session:
        refuse_archived(session, session.get(FlashSale, sale_id))
