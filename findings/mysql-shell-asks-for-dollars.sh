#!/bin/sh
# Shows: MySQL's shell sends a statement that fails, before the one of its user, and says nothing of it.
# With: MySQL's `mysql` 9.7.4 (Debian sid, mysql-client-core 9.7.4-2); MariaDB 10.11.19-0+deb12u1 (Debian 12, which must be
#       installed: mariadb-server-core). Needs: root, Python 3 and debootstrap, which installs the newest version: the
#       script fails at once when that is another.
# Seen: after the log-in it asks for `@@version_comment`, then sends `select $$`, to which the server answers with an error;
#       then comes the user's statement, which succeeds.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
server=
debootstrap --variant=minbase --include=mysql-client-core sid root > debootstrap.log
[ "$(chroot root dpkg-query -W -f '${Version}' mysql-client-core)" = 9.7.4-2 ]
mkdir data
mariadb-install-db --no-defaults --datadir="$PWD/data" --auth-root-authentication-method=normal --skip-test-db > install.log 2>&1
mariadbd --no-defaults --datadir="$PWD/data" --socket="$PWD/socket" --port=4306 --bind-address=127.0.0.1 --user="$(id -un)" > server.log 2>&1 &
server=$!
cat > relay.py <<'PYTHON'
import socket, subprocess, sys, threading, time
while True:
    try:
        upstream = socket.create_connection(("127.0.0.1", 4306)); break
    except ConnectionRefusedError:
        time.sleep(0.2)
here = socket.create_server(("127.0.0.1", 4307))
client = subprocess.Popen(["chroot", "root", "mysql", "--no-defaults", "--host=127.0.0.1", "--port=4307", "--user=root", "--execute=select 7"])
down, _ = here.accept()
turns = []
def pump(source, sink, who):
    while part := source.recv(65536):
        turns.append((who, part))
        sink.sendall(part)
    sink.shutdown(socket.SHUT_WR)
threads = [threading.Thread(target=pump, args=args) for args in ((down, upstream, "client"), (upstream, down, "server"))]
[thread.start() for thread in threads]
status = client.wait()
[thread.join() for thread in threads]
asked = []
for (who, part), (_, answer) in zip(turns, turns[1:]):
    if who == "client" and part[3:5] == b"\0\x03":
        failed = answer[4] == 255
        asked.append((part[5:].decode(), int.from_bytes(answer[5:7], "little") if failed else 0))
print("exit status", status, "statements with their errors:", asked)
sys.exit((status, asked) != (0, [("select @@version_comment limit 1", 0), ("select $$", 1054), ("select 7", 0)]))
PYTHON
timeout 60 python3 relay.py
