#!/bin/sh
# Shows: one DNS query can have several answers, and only the first of them says what was asked.
# With: BIND 9.18.49-1~deb12u3 (Debian 12, which must be installed: bind9). Needs: Python 3.
# Seen: a transfer of a zone of 2000 names comes in 3 messages that all have the number of the query; the first repeats the
#       question, in the others the count of questions is 0.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
cat > zone <<'ZONE'
$TTL 60
@ SOA ns admin 1 60 60 600 60
@ NS ns
ns A 192.0.2.1
$GENERATE 1-2000 h$ A 192.0.2.7
ZONE
cat > named.conf <<CONFIG
options {
  directory "$PWD"; pid-file none; session-keyfile none; recursion no; allow-transfer { any; };
  listen-on port 4053 { 127.0.0.1; }; listen-on-v6 { none; };
};
controls { };
zone "shop.test" { type primary; file "zone"; };
CONFIG
named -g -c "$PWD/named.conf" > server.log 2>&1 &
server=$!
cat > transfer.py <<'PYTHON'
import socket, struct, sys, time
while True:
    try:
        client = socket.create_connection(("127.0.0.1", 4053)); break
    except ConnectionRefusedError:
        time.sleep(0.2)
client.settimeout(10)
query = struct.pack("!HHHHHH", 0x1234, 0, 1, 0, 0, 0) + b"\4shop\4test\0" + struct.pack("!HH", 252, 1)
client.sendall(struct.pack("!H", len(query)) + query)
reader = client.makefile("rb")
seen, records = [], 0
# The SOA record, two of the name server, one a name and the SOA record once more.
while records < 2004:
    message = reader.read(int.from_bytes(reader.read(2), "big"))
    number, _, questions, answers = struct.unpack("!HHHH", message[:8])
    records += answers
    seen.append((number, questions))
print("numbers and questions of the answers:", [(hex(number), questions) for number, questions in seen])
sys.exit(seen != [(0x1234, 1), (0x1234, 0), (0x1234, 0)])
PYTHON
timeout 60 python3 transfer.py
