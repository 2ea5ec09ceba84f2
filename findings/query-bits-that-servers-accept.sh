#!/bin/sh
# Shows: a DNS query may set header bits that belong to answers, and name servers answer it as if they were not there.
# With: PyPI dnspython 2.9.2; dnsmasq 2.90-4~deb12u2 (Debian 12, which must be installed: dnsmasq-base).
# Seen: with AA, TC, RA, Z, AD, CD or a response code set in the query, dnsmasq answers with the same records and NOERROR
#       as without. Such a query is a query.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dnspython==2.9.2
dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --port=4053 --listen-address=127.0.0.1 --bind-interfaces \
  --address=/shop.test/192.0.2.7 --log-facility="$PWD/log" > output.log 2>&1 &
server=$!
cat > ask.py <<'PYTHON'
import socket, sys, time
import dns.message, dns.rrset
time.sleep(1)
bits = {"plain": 0, "AA": 0x0400, "TC": 0x0200, "RA": 0x0080, "Z": 0x0040, "AD": 0x0020, "CD": 0x0010, "rcode 3": 3}
seen = {}
for name, bit in bits.items():
    query = dns.message.make_query("shop.test", "A")
    query.flags |= bit
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1)
        asking.sendto(query.to_wire(), ("127.0.0.1", 4053))
        try:
            answer = dns.message.from_wire(asking.recv(4096))
            seen[name] = (answer.rcode(), [str(rr) for rr in answer.answer])
        except TimeoutError:
            seen[name] = None
for name, what in seen.items():
    print(name, what)
good = seen["plain"]
sys.exit(not (good and good[0] == 0 and all(what == good for what in seen.values())))
PYTHON
venv/bin/python ask.py
