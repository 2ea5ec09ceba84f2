#!/bin/sh
# Shows: a MariaDB driver asks to execute a statement before the server has given it a number, and the server leaves out
#        the columns of a result that it has described before.
# With: npm mariadb 3.5.4; MariaDB 10.11.19-0+deb12u1 (Debian 12, which must be installed: mariadb-server-core). Needs: Node, Python 3.
# Seen: for a new statement the driver sends COM_STMT_PREPARE and, at once, COM_STMT_EXECUTE with the number 0xffffffff
#       ("the last prepared"). Both ends having agreed on the extended capability 1<<4, the answer to
#       a later execution goes from the column count straight to the rows: its description is the one of before, and
#       that was given under another number.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
npm install --silent --no-fund --no-audit mariadb@3.5.4
mkdir data
mariadb-install-db --no-defaults --datadir="$PWD/data" --auth-root-authentication-method=normal --skip-test-db > install.log 2>&1
mariadbd --no-defaults --datadir="$PWD/data" --socket="$PWD/socket" --port=4306 --bind-address=127.0.0.1 --user="$(id -un)" > server.log 2>&1 &
server=$!
cat > relay.py <<'PYTHON'
import json, socket, subprocess, sys, threading, time
while True:
    try:
        upstream = socket.create_connection(("127.0.0.1", 4306)); break
    except ConnectionRefusedError:
        time.sleep(0.2)
here = socket.create_server(("127.0.0.1", 4307))
client = subprocess.Popen(["node", "client.js"])
down, _ = here.accept()
writes, answers = [], []
def pump(source, sink, kept):
    while part := source.recv(65536):
        kept.append((time.monotonic(), part))
        sink.sendall(part)
    sink.shutdown(socket.SHUT_WR)
threads = [threading.Thread(target=pump, args=args) for args in ((down, upstream, writes), (upstream, down, answers))]
[thread.start() for thread in threads]
client.wait()
[thread.join() for thread in threads]
sent = b"".join(part for _, part in writes)
blind = b"\x17\xff\xff\xff\xff" in sent
executes = [at for at, part in writes if part[4:5] == b"\x17" or b"\x17\xff\xff\xff\xff" in part]
def packets(data):
    while data:
        length = int.from_bytes(data[:3], "little"); yield data[4:4 + length]; data = data[4 + length:]
results = []
for at in executes:
    later = min([other for other in executes if other > at] + [float("inf")])
    got = b"".join(part for when, part in answers if at < when < later)
    results.append([len(packet) for packet in packets(got)])
print("executes without knowing the number:", blind, "packets of the answers by length:", json.dumps(results))
sys.exit(not (blind and len(results) >= 2 and len(results[-1]) < len(results[0]) - 1))
PYTHON
cat > client.js <<'NODE'
const mariadb = require('mariadb');
(async () => {
  const c = await mariadb.createConnection({ host: '127.0.0.1', port: 4307, user: 'root', pipelining: true });
  for (const n of [1, 2]) console.log(JSON.stringify(await c.execute('select ? as a, "x" as b', [n])));
  await c.end();
})();
NODE
python3 relay.py
