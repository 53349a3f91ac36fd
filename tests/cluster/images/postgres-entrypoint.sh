#!/bin/sh
# Makes a database on first start as docker.io/library/postgres does, then runs the server: POSTGRES_USER (postgres),
# POSTGRES_PASSWORD (needed), POSTGRES_DB (the user's name), each also as NAME_FILE; PGDATA; *.sql and *.sh in
# /docker-entrypoint-initdb.d, in the order of their names. Runs as one user, on a read-only root file system.
set -eu
umask 077

# The value of a variable, or of the file that NAME_FILE names.
given() {
  eval "value=\${$1:-} file=\${$1_FILE:-}"
  if [ -n "$value" ] && [ -n "$file" ]; then
    echo "both $1 and $1_FILE are set: give one" >&2
    exit 1
  fi
  if [ -n "$file" ]; then cat "$file"; else printf '%s' "${value:-$2}"; fi
}

[ "${1#-}" = "$1" ] || set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=$(given POSTGRES_USER postgres)
  password=$(given POSTGRES_PASSWORD "")
  database=$(given POSTGRES_DB "$user")
  if [ -z "$password" ]; then
    echo "a new database needs a superuser's password: set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2
    exit 1
  fi
  mkdir -p "$PGDATA"
  secret=$(mktemp)
  printf '%s\n' "$password" > "$secret"
  initdb --username="$user" --pwfile="$secret" --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8
  rm -f "$secret"
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  # Until all is set up nobody can connect from outside.
  sockets=$(mktemp -d)
  pg_ctl --wait start -o "-c listen_addresses='' -c unix_socket_directories=$sockets"
  export PGHOST="$sockets" PGUSER="$user"
  [ "$database" = postgres ] || psql --quiet --dbname=postgres -c "CREATE DATABASE \"$database\""
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh) sh -eu "$file" ;;
      *.sql) psql --quiet --set=ON_ERROR_STOP=1 --dbname="$database" --file="$file" ;;
    esac
  done
  pg_ctl --wait --mode=fast stop
  unset PGHOST PGUSER
  rmdir "$sockets"
fi
exec "$@" -c listen_addresses='*'
