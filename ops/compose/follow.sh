#!/bin/sh
# A standby: the first time it copies the primary, and every time it follows it. Runs as postgres.
# PRIMARY is its address as libpq reads it, PGPASSWORD its password, STANDBY_SLOT what the primary keeps its log for.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # A copy that was cut short is begun anew.
    rm -rf "$PGDATA" "$PGDATA.part"
    pg_basebackup --dbname "$PRIMARY" --pgdata "$PGDATA.part" --write-recovery-conf \
        --checkpoint fast --create-slot --slot "$STANDBY_SLOT" ||
        # The slot is there from a first try.
        pg_basebackup --dbname "$PRIMARY" --pgdata "$PGDATA.part" --write-recovery-conf \
            --checkpoint fast --slot "$STANDBY_SLOT"
    mv "$PGDATA.part" "$PGDATA"
fi
# With no fewer connections than the primary: a standby refuses to follow one that has more.
exec postgres -c timezone=UTC -c log_timezone=UTC -c max_connections=200 "$@"
