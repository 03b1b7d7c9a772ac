"""Purchases and stock movements: in ranges of sales, so that a month of history can go without the others' notice.

The tables that are there become the first ranges. Nothing is copied, and nothing is read under a lock that a writer
waits for: that all rows lie below the range's end is proven before, beside the writers.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

from migrations.gently import lock_first

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Sales of one range; the same number stands in make_sale_range below.
RANGE_SALES = 10_000
WHOLES = ("purchases", "stock_movements")
BOUND = "ck_{}_first_range"
BEFORE = """
    SELECT CASE WHEN pg_sequence_last_value(pg_get_serial_sequence('flash_sales', 'id')) IS NULL THEN 0
                ELSE greatest((SELECT max(id) FROM flash_sales),
                              pg_sequence_last_value(pg_get_serial_sequence('flash_sales', 'id'))) END
"""

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


def upgrade() -> None:
    end = _prove_first_range()
    lock_first("flash_sales", *WHOLES)
    for whole in WHOLES:
        _make_first_range(whole, end)
    for statement in (RANGES_VIEW, MAKE_RANGE, KEEP_RANGE, NO_SALE_GOES, *TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    """Copies the purchases of every range but the first, while everybody waits: right after an upgrade that is nothing."""
    if op.get_bind().execute(sa.text("SELECT EXISTS (SELECT FROM history_archives)")).scalar():
        raise RuntimeError("history was archived: bring it back first (flask history restore)")
    lock_first("flash_sales", *WHOLES)
    parts = op.get_bind().execute(sa.text("SELECT whole, part FROM sale_ranges ORDER BY first_sale_id")).all()
    op.execute("DROP VIEW sale_ranges")
    for trigger in ("has_a_range", "is_never_deleted"):
        op.execute(f"DROP TRIGGER tr_flash_sales_{trigger} ON flash_sales")
    for whole in WHOLES:
        _make_one_table(whole, [part for of, part in parts if of == whole])
    for function in ("keep_sale_range()", "make_sale_range(bigint)", "refuse_to_delete_a_sale()"):
        op.execute(f"DROP FUNCTION {function}")


def _prove_first_range() -> int:
    """Prove, beside the writers, that every row belongs to a sale below the end of the first range; returns that end.

    Sales that are made meanwhile have a whole range of room. Repeated from the start after a failure.
    """
    with op.get_context().autocommit_block():
        last = int(op.get_bind().execute(sa.text(BEFORE)).scalar_one() or 0)
        end = (last // RANGE_SALES + (2 if last else 1)) * RANGE_SALES
        for whole in WHOLES:
            bound = BOUND.format(whole)
            op.execute(
                f"ALTER TABLE {whole} DROP CONSTRAINT IF EXISTS {bound},"
                f" ADD CONSTRAINT {bound} CHECK (sale_id < {end}) NOT VALID"
            )
            op.execute(f"ALTER TABLE {whole} VALIDATE CONSTRAINT {bound}")
    return end


def _make_first_range(whole: str, end: int) -> None:
    """Put the table under a new one of its name, its indexes under the new one's. Nothing is read."""
    part = f"{whole}_r0"
    # A foreign key would have every range that is made or dropped lock flash_sales (docs/decisions says why).
    op.drop_constraint(op.f(f"fk_{whole}_sale_id"), whole, type_="foreignkey")
    next_id = _give_up_identity(whole)
    op.rename_table(whole, part)
    op.execute(
        f"CREATE TABLE {whole} (LIKE {part} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY) PARTITION BY RANGE (sale_id)"
    )
    op.execute(f"ALTER TABLE {whole} DROP CONSTRAINT {BOUND.format(whole)}")
    _move_names(part, whole)
    if next_id is not None:
        _take_identity(whole, next_id)
    op.execute(f"ALTER TABLE {whole} ATTACH PARTITION {part} FOR VALUES FROM (MINVALUE) TO ({end})")
    op.execute(f"ALTER TABLE {part} DROP CONSTRAINT {BOUND.format(whole)}")


def _make_one_table(whole: str, parts: list[str]) -> None:
    """The first range is the table again, with the rows of all others copied into it."""
    part, *others = parts
    next_id = _give_up_identity(whole)
    names = (
        op.get_bind()
        .execute(
            sa.text(
                "SELECT inhparent::regclass::text, inhrelid::regclass::text FROM pg_inherits"
                " JOIN pg_index ON indexrelid = inhrelid WHERE indrelid = CAST(:part AS regclass)"
            ).bindparams(part=part)
        )
        .all()
    )
    for name in (part, *others):
        op.execute(f"ALTER TABLE {whole} DETACH PARTITION {name}")
    for name in others:
        op.execute(f"INSERT INTO {part} SELECT * FROM {name}")  # noqa: S608 # nosec B608 # names of the catalogue
        op.drop_table(name)
    op.drop_table(whole)
    op.rename_table(part, whole)
    for name, of_part in names:
        op.execute(f"ALTER INDEX {of_part} RENAME TO {name}")
    if next_id is not None:
        _take_identity(whole, next_id)
    # Every row was written under its sale's lock: none is read again here.
    op.execute(
        f"ALTER TABLE {whole} ADD CONSTRAINT fk_{whole}_sale_id FOREIGN KEY (sale_id) REFERENCES flash_sales (id) NOT VALID"
    )


def _give_up_identity(table: str) -> int | None:
    """The next id of a table that numbers its rows, which it does no longer; None of one that does not."""
    bind = op.get_bind()
    name = bind.execute(
        sa.text(
            "SELECT pg_get_serial_sequence(:table, 'id') FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND table_name = :table AND column_name = 'id'"
        ).bindparams(table=table)
    ).scalar()
    if name is None:
        return None
    next_id = bind.execute(
        sa.text(f"SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM {name}")  # noqa: S608 # nosec B608 # as above
    ).scalar_one()
    op.execute(f"ALTER TABLE {table} ALTER COLUMN id DROP IDENTITY")
    return int(next_id)


def _take_identity(table: str, next_id: int) -> None:
    op.execute(f"ALTER TABLE {table} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY")
    op.execute(
        sa.text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :next, false)").bindparams(
            table=table, next=next_id
        )
    )


def _move_names(part: str, whole: str) -> None:
    """Give the names of a table's indexes to the same indexes of another; its own have the range's name behind them."""
    indexes = op.get_bind().execute(
        sa.text(
            "SELECT relname, pg_get_indexdef(indexrelid), indisprimary FROM pg_index"
            " JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = CAST(:part AS regclass)"
        ).bindparams(part=part)
    )
    for name, definition, is_primary in indexes.all():
        op.execute(f"ALTER INDEX {name} RENAME TO {name}_r0")
        columns = definition.partition(" USING btree ")[2]
        if is_primary:
            op.execute(f"ALTER TABLE {whole} ADD CONSTRAINT {name} PRIMARY KEY {columns}")
        else:
            unique = "UNIQUE " if definition.startswith("CREATE UNIQUE") else ""
            op.execute(f"CREATE {unique}INDEX {name} ON {whole} {columns}")
