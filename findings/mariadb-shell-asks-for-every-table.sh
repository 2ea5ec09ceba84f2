#!/bin/sh
# Shows: the MariaDB shell on a terminal asks for the columns of every table before its user has typed a word.
# With: MariaDB 10.11.19-0+deb12u1 (Debian 12, which must be installed: mariadb-server-core, mariadb-client-core).
# Seen: opened on a database of three tables, it sends SHOW DATABASES, SHOW TABLES, a COM_FIELD_LIST (which is no statement) for
#       each table and a query for `@@version_comment`, then the statement of its user. Without a terminal it sends that only.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
mkdir data
mariadb-install-db --no-defaults --datadir="$PWD/data" --auth-root-authentication-method=normal --skip-test-db > install.log 2>&1
mariadbd --no-defaults --datadir="$PWD/data" --socket="$PWD/socket" --port=4306 --bind-address=127.0.0.1 --user="$(id -un)" \
  --general-log=ON --general-log-file="$PWD/general.log" > server.log 2>&1 &
server=$!
shell="mariadb --no-defaults --host=127.0.0.1 --port=4306 --user=root"
until echo 'select 1' | $shell > /dev/null 2>&1; do kill -0 $server; sleep 0.2; done
echo 'create database shop; use shop; create table one (n int); create table two (n int); create table three (n int)' | $shell
status=0
check() {
  seen=$(sed -n 's/.*[0-9] \(Query\|Field List\|Init DB\)\t\(.*[^ ]\) *$/\1 \2/p' general.log | tr '\n' ';')
  echo "$1: $seen"
  [ "$seen" = "$2" ] || status=1
}
: > general.log
(sleep 2; echo 'select 7;'; sleep 1; echo exit) | script -qc "$shell shop" /dev/null > shell.log
check 'on a terminal' 'Query show databases;Query show tables;Field List one;Field List three;Field List two;Query select @@version_comment limit 1;Query select 7;'
: > general.log
echo 'select 7;' | $shell shop > shell.log
check 'without one' 'Query select 7;'
exit $status
