#!/bin/sh
# Shows: the default database of a MariaDB connection can change by the execution of a prepared statement.
# With: PyPI mysql-connector-python 26.10.0; MariaDB 10.11.19-0+deb12u1 (Debian 12, which must be installed:
#       mariadb-server-core).
# Seen: the server prepares `USE two` like any statement. Preparing it changes nothing; executing it, by its number, changes the
#       database in which every later statement runs.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mysql-connector-python==26.10.0
mkdir data
mariadb-install-db --no-defaults --datadir="$PWD/data" --auth-root-authentication-method=normal --skip-test-db > install.log 2>&1
mariadbd --no-defaults --datadir="$PWD/data" --socket="$PWD/socket" --port=4306 --bind-address=127.0.0.1 --user="$(id -un)" > server.log 2>&1 &
server=$!
cat > use.py <<'PYTHON'
import sys, time
import mysql.connector
while True:
    try:
        client = mysql.connector.connect(host="127.0.0.1", port=4306, user="root", ssl_disabled=True, use_pure=True); break
    except mysql.connector.errors.InterfaceError:
        time.sleep(0.2)
def ask(statement):
    cursor = client.cursor()
    cursor.execute(statement)
    return cursor.fetchall() if cursor.description else None
for statement in ("create database one", "create database two", "use one"):
    ask(statement)
prepared = client.cmd_stmt_prepare(b"use two")
before = ask("select database()")
client.cmd_stmt_execute(prepared["statement_id"])
after = ask("select database()")
print("database once prepared:", before, "once executed:", after)
sys.exit((before, after) != ([("one",)], [("two",)]))
PYTHON
timeout 60 venv/bin/python use.py
