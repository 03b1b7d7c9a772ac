"""Faults of time's messenger: beat is stopped while a sale starts, while one ends, and while a month begins."""

import asyncio
import secrets
from contextlib import suppress
from typing import Any

import psutil

from tests.faults.kinds import Site, fault, until

AFTERWARDS_SECONDS_MAX = 90

STATES = "SELECT id, state FROM flash_sales WHERE id = ANY(%s)"
DUE_AND_NOT_ON = """
    SELECT count(*) AS late FROM flash_sales
    WHERE id = ANY(%s) AND ((state = 'scheduled' AND starts_at <= now()) OR (state = 'live' AND ends_at <= now()))
"""
PRODUCT = "INSERT INTO products (name, slug, price) VALUES (%(name)s, %(name)s, 9.99) RETURNING id"
# A series as it stands after five weeks in which nothing ran.
SERIES = """
    INSERT INTO series (product_id, title, rule, starts_local, zone, planned_from, stock_per_run, hold_seconds,
                        created_at)
    VALUES (%(product)s, %(name)s, 'FREQ=YEARLY', localtimestamp + interval '300 days', 'UTC', now(), 1, 600,
            now() - interval '35 days')
    RETURNING id
"""
MONTHS = "SELECT month, count(*) AS times FROM series_resets WHERE series_id = %s GROUP BY month"
END_SERIES = "UPDATE series SET ended_at = now() WHERE id = %s"


async def _nothing_is_late(site: Site) -> list[str]:
    def late() -> bool:
        with site.stack.sql() as connection:
            row = connection.execute(DUE_AND_NOT_ON, (site.sale_ids,)).fetchone()
        return row is not None and row["late"] == 0

    is_well = await until(late, AFTERWARDS_SECONDS_MAX)
    return [] if is_well else ["a sale whose start or end has come was not opened or ended after beat was back"]


@fault("beat-away", "beat stopped while sales start and end", check=_nothing_is_late)
async def beat_away(site: Site) -> None:
    await _stop(site, 5.0, 7.0)


async def _stop(site: Site, least: float, most: float) -> None:
    beat = await asyncio.to_thread(site.stack.process, "beat")
    if beat is not None:
        beat.suspend()
    await site.hold(least, most)
    if beat is not None:
        with suppress(psutil.NoSuchProcess):
            beat.resume()


async def _each_month_once(site: Site) -> list[str]:
    months: list[dict[str, Any]] = []

    def written() -> bool:
        with site.stack.sql() as connection:
            months[:] = connection.execute(MONTHS, (site.memory["series"],)).fetchall()
        return bool(months)

    is_written = await until(written, AFTERWARDS_SECONDS_MAX)
    with site.stack.sql(autocommit=True) as connection:
        connection.execute(END_SERIES, (site.memory["series"],))
    if not is_written:
        return ["the month that began while beat was away was never written down"]
    return [f"month {each['month']} was written down {each['times']} times" for each in months if each["times"] != 1]


@fault("beat-away-month", "beat stopped while a month begins", check=_each_month_once)
async def beat_away_month(site: Site) -> None:
    """PostgreSQL's clock says which month it is, so not the clock is moved but the series: it was made last month."""
    stopping = asyncio.create_task(_stop(site, 3.0, 4.0))
    with site.stack.sql(autocommit=True) as connection:
        named = {"name": f"faults-{secrets.token_hex(4)}"}
        product = connection.execute(PRODUCT, named).fetchone()
        series = connection.execute(SERIES, named | {"product": product and product["id"]}).fetchone()
    site.memory["series"] = series and series["id"]
    await stopping
