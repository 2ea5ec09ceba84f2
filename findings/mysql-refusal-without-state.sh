#!/bin/sh
# Shows: a server of MySQL's protocol that refuses a connection sends an error in place of its greeting, and in another form
#        than any later error.
# With: MariaDB 10.11.19-0+deb12u1 (Debian 12, which must be installed: mariadb-server-core). Needs: Python 3.
# Seen: with all connections taken, the first packet is error 1040 and goes from its number straight to the text; an error
#       after the greeting has `#` and five characters of SQL state between the two.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
mkdir data
mariadb-install-db --no-defaults --datadir="$PWD/data" --auth-root-authentication-method=normal --skip-test-db > install.log 2>&1
mariadbd --no-defaults --datadir="$PWD/data" --socket="$PWD/socket" --port=4306 --bind-address=127.0.0.1 --user="$(id -un)" \
  --max-connections=10 > server.log 2>&1 &
server=$!
cat > refused.py <<'PYTHON'
import socket, struct, sys, time
def first(connections=[]):
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", 4306)); break
        except ConnectionRefusedError:
            time.sleep(0.2)
    client.settimeout(10)
    connections.append(client)
    return client, client.recv(4096)
def error(packet):
    return int.from_bytes(packet[5:7], "little"), packet[7:].decode()
client, greeting = first()
body = struct.pack("<IIB23x", 0x88200, 1 << 24, 45) + b"stranger\0" + b"\0" + b"mysql_native_password\0"
client.sendall(struct.pack("<I", len(body) | 1 << 24) + body)
later = error(client.recv(4096))
packets = [first()[1] for _ in range(20)]
refused = [error(packet) for packet in packets if packet[4] == 255]
print("after the greeting:", later, "in place of it:", refused[-1])
sys.exit(not (greeting[4] == 10 and later[0] == 1045 and later[1].startswith("#28000") and refused
              and all(code == 1040 and text.startswith("Too many") for code, text in refused)))
PYTHON
timeout 60 python3 refused.py
