#!/bin/sh
# Once, as the primary's data directory is made: whoever has the password may copy it and follow it.
set -eu
echo "host replication doorbuster samenet scram-sha-256" >> "$PGDATA/pg_hba.conf"
