#!/bin/sh
# Makes the data folder where there is none, then databases, owners and passwords. It runs before every start, so that a
# changed secret takes effect with the next one, and needs no more of an image than Postgres (15 or newer) on the path.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # A start that was cut short leaves no more than the folder beside.
  rm -rf "$PGDATA.new"
  initdb --pgdata="$PGDATA.new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 --data-checksums --auth=reject
  mv "$PGDATA.new" "$PGDATA"
fi

settings=$(cd "$(dirname "$0")" && pwd)
# No port: nobody comes in before the passwords are set.
pg_ctl start --pgdata="$PGDATA" --wait --timeout=600 --options="-c listen_addresses='' \
  -c unix_socket_directories='$PGHOST' -c hba_file='$settings/pg_hba.conf'"
trap 'pg_ctl stop --pgdata="$PGDATA" --mode=fast --wait' EXIT
psql --username=postgres --dbname=postgres --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --file="$settings/databases.sql"
