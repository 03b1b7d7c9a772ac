#!/bin/sh
# Once: six servers become three shards with a replica each. Run again, it finds them joined and does nothing.
set -eu
export REDISCLI_AUTH="$REDIS_PASSWORD" VALKEYCLI_AUTH="$REDIS_PASSWORD"
if [ "$(valkey-cli -h redis-1 cluster info | tr -d '\r' | sed -n 's/^cluster_slots_assigned://p')" = 16384 ]; then
    exit 0
fi
# Servers are introduced by their addresses; they tell clients their names.
nodes=""
for number in 1 2 3 4 5 6; do
    nodes="$nodes $(getent hosts "redis-$number" | cut -d ' ' -f 1):6379"
done
# shellcheck disable=SC2086 # six words
valkey-cli --cluster create $nodes --cluster-replicas 1 --cluster-yes
