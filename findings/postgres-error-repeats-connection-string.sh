#!/bin/sh
# Shows: a PostgreSQL error can repeat words that stood inside a string of the statement, where a connection string is wrong.
# With: PostgreSQL 15.18-0+deb12u1 (Debian 12, which must be installed: postgresql-15). Needs: root.
# Seen: a value with a space and without quotes ends at the space; the error of CREATE SUBSCRIPTION names the word after it.
#       Of a connection address with a wrong `%` it repeats the whole field. What is hidden in the statement is to be hidden
#       in its answer too.
set -eu
cd "$(mktemp -d)"
chown postgres .
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
programs=/usr/lib/postgresql/15/bin
runuser -u postgres -- $programs/initdb -D data -A trust --no-locale -E UTF8 > initdb.log
runuser -u postgres -- $programs/postgres -D data -p 4432 -h 127.0.0.1 -k '' > server.log 2>&1 &
server=$!
until $programs/pg_isready -q -h 127.0.0.1 -p 4432; do kill -0 $server; sleep 0.2; done
status=0
check() {
  error=$(psql -X -q -h 127.0.0.1 -p 4432 -U postgres -c \
    "create subscription copy connection '$1' publication all_tables with (connect = false)" 2>&1) && status=1
  echo "$error"
  case "$error" in *"$2"*) ;; *) status=1 ;; esac
}
check 'host=shop.test password=two example' 'missing "=" after "example"'
check 'postgresql://user:exam%ple@shop.test/shop' 'percent-encoded token: "exam%ple"'
exit $status
