"""Ranges of sales: the parts that purchases and stock movements lie in, so that a month of history can go by itself.

A range holds the ids of RANGE_SALES sales. When a month begins (UTC) the next sale's id moves up to where the next
range starts, so that a range holds the sales that were made in one month, and a busy month has several. The range of a
sale is there before the sale is: should no chore have made it, a trigger does, in the transaction that makes the sale
(docs/decisions/0028-ranges-of-sales.md).
"""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, MetaData, event, text
from sqlalchemy.orm import Session

from models.database import Base, database_now, transaction
from models.months import month_of

log = structlog.get_logger()

# The same number stands in make_sale_range.
RANGE_SALES = 10_000
# Ranges that stand ready beyond the one that the next sale falls into.
RANGES_AHEAD = 2
UTC_ZONE = ZoneInfo("UTC")

# The ranges that are part of the two tables. What is being taken out of them is no part any more.
RANGES_VIEW = r"""
CREATE VIEW sale_ranges AS
SELECT inhparent::regclass::text AS whole, part.relname::text AS part,
       coalesce(substring(bound FROM 'FROM \(''?(\d+)')::bigint, 0) AS first_sale_id,
       substring(bound FROM 'TO \(''?(\d+)')::bigint AS end_sale_id
FROM pg_inherits
JOIN pg_class AS part ON part.oid = inhrelid
CROSS JOIN LATERAL pg_get_expr(part.relpartbound, part.oid) AS bound
WHERE inhparent IN ('purchases'::regclass, 'stock_movements'::regclass) AND NOT inhdetachpending
"""
# Made beside the whole and then attached: no reader and no writer of it waits. With the search path of the migration:
# whoever restores a dump has none.
MAKE_RANGE = """
CREATE FUNCTION make_sale_range(sale bigint) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    width CONSTANT bigint := 10000;
    first_sale CONSTANT bigint := sale / width * width;
    whole_name text;
    part_name text;
    made boolean := false;
BEGIN
    FOREACH whole_name IN ARRAY ARRAY['purchases', 'stock_movements'] LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM sale_ranges WHERE whole = whole_name AND sale >= first_sale_id AND sale < end_sale_id);
        PERFORM pg_advisory_xact_lock(4243);
        CONTINUE WHEN EXISTS (
            SELECT FROM sale_ranges WHERE whole = whole_name AND sale >= first_sale_id AND sale < end_sale_id);
        part_name := format('%s_r%s', whole_name, first_sale);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING IDENTITY)', part_name, whole_name);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       whole_name, part_name, first_sale, first_sale + width);
        made := true;
    END LOOP;
    RETURN made;
END
$$
"""
KEEP_RANGE = """
CREATE FUNCTION keep_sale_range() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM make_sale_range(NEW.id);
    RETURN NEW;
END
$$
"""
# In the place of foreign keys: with them, every range that is made or dropped would lock flash_sales.
NO_SALE_GOES = """
CREATE FUNCTION refuse_to_delete_a_sale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'sale % is history and is never deleted', OLD.id USING ERRCODE = 'restrict_violation';
END
$$
"""
TRIGGERS = (
    """CREATE TRIGGER tr_flash_sales_has_a_range BEFORE INSERT ON flash_sales
       FOR EACH ROW EXECUTE FUNCTION keep_sale_range()""",
    """CREATE TRIGGER tr_flash_sales_is_never_deleted BEFORE DELETE ON flash_sales
       FOR EACH ROW EXECUTE FUNCTION refuse_to_delete_a_sale()""",
)


@event.listens_for(Base.metadata, "after_create")
def _make_beside_the_tables(_target: MetaData, connection: Connection, **_: Any) -> None:
    for statement in (RANGES_VIEW, MAKE_RANGE, KEEP_RANGE, NO_SALE_GOES, *TRIGGERS):
        connection.execute(text(statement))


# The id that the next sale gets.
NEXT_ID = text("SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM flash_sales_id_seq")
# The end of the range that a sale's id falls into, and when its oldest sale was made.
RANGE_OF = text("""
    SELECT end_sale_id,
           (SELECT created_at FROM flash_sales WHERE id >= first_sale_id AND id < end_sale_id ORDER BY id LIMIT 1)
    FROM sale_ranges WHERE whole = 'purchases' AND first_sale_id <= :sale_id AND end_sale_id > :sale_id
""")
# Nobody is given an id until this transaction ends. It changes nothing.
HOLD_IDS = text("ALTER SEQUENCE flash_sales_id_seq NO CYCLE")
MOVE_UP = text("SELECT setval('flash_sales_id_seq', :next_id, false)")
MAKE = text("SELECT make_sale_range(:sale_id)")


def keep_ranges(now: datetime | None = None) -> int:
    """Begin a range with the month, and have the next ones ready; returns how many were made.

    Safe if late, doubled or skipped. `now` (aware UTC) is PostgreSQL's time unless told.
    """
    with transaction() as session:
        moment = (now or database_now(session)).astimezone(UTC)
        if _end_of_last_month(session, moment) is not None:
            session.execute(HOLD_IDS)
            # Asked again: another chore was here, or somebody has made the last sale of the range.
            if (end := _end_of_last_month(session, moment)) is not None:
                session.execute(MOVE_UP, {"next_id": end})
                log.info("ranges.month_began", next_sale=end)
    return _make_ahead()


def _end_of_last_month(session: Session, moment: datetime) -> int | None:
    """Where the range of the next sale ends, if that range belongs to a month before this moment's."""
    found = session.execute(RANGE_OF, {"sale_id": session.execute(NEXT_ID).scalar_one()}).one_or_none()
    if found is None or found.created_at is None:
        return None
    is_over = month_of(found.created_at, UTC_ZONE) < month_of(moment, UTC_ZONE)
    return int(found.end_sale_id) if is_over else None


def _make_ahead() -> int:
    made = 0
    with transaction() as session:
        sale_id = int(session.execute(NEXT_ID).scalar_one())
        for _ in range(RANGES_AHEAD + 1):
            made += bool(session.execute(MAKE, {"sale_id": sale_id}).scalar_one())
            sale_id = int(session.execute(RANGE_OF, {"sale_id": sale_id}).one().end_sale_id)
    return made
