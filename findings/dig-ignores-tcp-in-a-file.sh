#!/bin/sh
# Shows: `dig -f FILE` takes most options in a line of the file, but not the one that chooses TCP.
# With: dig 9.18.49-1~deb12u3 (Debian 12, which must be installed: bind9-dnsutils). Needs: Python 3.
# Seen: `+norecurse` and `-t TXT` in a line hold for that line and not for the next. `+tcp` in a line is taken without a word, and
#       the query goes by UDP; `+notcp` in a line does not undo the `+tcp` of the command, which holds for every line.
set -eu
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
cat > listen.py <<'PYTHON'
import socket, struct, subprocess, sys, threading
by_udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
by_udp.bind(("127.0.0.1", 4053))
by_tcp = socket.create_server(("127.0.0.1", 4053))
seen = []
def answer(transport, query):
    flags, = struct.unpack("!H", query[2:4])
    end = query.index(b"\0", 12) + 5
    kind, = struct.unpack("!H", query[end - 4:end - 2])
    name = query[13:13 + query[12]].decode()
    seen.append((name, transport, "recursive" if flags & 0x100 else "not recursive", kind))
    return query[:2] + struct.pack("!HHHHH", 0x8180, 1, 0, 0, 0) + query[12:end]
def serve_udp():
    while True:
        query, client = by_udp.recvfrom(4096)
        by_udp.sendto(answer("UDP", query), client)
def serve_tcp():
    while True:
        client, _ = by_tcp.accept()
        with client, client.makefile("rb") as reader:
            while length := reader.read(2):
                reply = answer("TCP", reader.read(int.from_bytes(length, "big")))
                client.sendall(struct.pack("!H", len(reply)) + reply)
for serve in (serve_udp, serve_tcp):
    threading.Thread(target=serve, daemon=True).start()
def dig(lines, *options):
    seen.clear()
    with open("lines", "w") as file:
        file.write("\n".join(lines) + "\n")
    subprocess.run(["dig", "-r", "@127.0.0.1", "-p", "4053", "+tries=1", *options, "-f", "lines"], stdout=subprocess.DEVNULL, check=True)
    for query in seen:
        print(*query)
    return list(seen)
in_lines = dig(["one.test +norecurse", "two.test -t TXT", "three.test", "four.test +tcp"])
in_command = dig(["five.test", "six.test +notcp"], "+tcp")
sys.exit((in_lines, in_command) != (
    [("one", "UDP", "not recursive", 1), ("two", "UDP", "recursive", 16), ("three", "UDP", "recursive", 1), ("four", "UDP", "recursive", 1)],
    [("five", "TCP", "recursive", 1), ("six", "TCP", "recursive", 1)]))
PYTHON
python3 listen.py
