#!/bin/sh
# Shows: a NetBIOS node status query (port 137) is a DNS message whose type, 33, is SRV's in DNS.
# With: nbtscan 1.7.2-2 (Debian 12). Needs: root (it listens on port 137 of a network namespace of its own), Python 3.
# Seen: nbtscan sends 50 bytes: one question, the name `*` as 32 letters `CKAAA…`, type 33, class 1. Every reader of
#       DNS takes it for a well-formed SRV query; only the port and the form of the name tell the two apart.
set -eu
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
apt-get download -qq nbtscan=1.7.2-2
dpkg-deb -x nbtscan_*.deb .
cat > listen.py <<'PYTHON'
import socket, struct, subprocess, sys
subprocess.check_call(["ip", "link", "set", "lo", "up"])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 137))
server.settimeout(10)
client = subprocess.Popen(["./usr/bin/nbtscan", "-t", "500", "127.0.0.1"], stdout=subprocess.DEVNULL)
query, _ = server.recvfrom(2000)
client.wait()
questions, answers = struct.unpack("!HH", query[4:8])
name, kind, klass = query[13:45], *struct.unpack("!HH", query[46:50])
print("bytes", len(query), "questions", questions, "answers", answers, "name", name.decode(), "type", kind, "class", klass)
sys.exit((len(query), questions, answers, name, kind, klass) != (50, 1, 0, b"CK" + b"A" * 30, 33, 1))
PYTHON
unshare --net python3 listen.py
