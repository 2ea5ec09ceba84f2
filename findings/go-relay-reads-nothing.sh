#!/bin/sh
# Shows: a relay in Go never has what it relays in its memory, however little it is: its system calls show sizes alone.
# With: Go 1.19.8 (Debian 12: golang-1.19-go 1.19.8-2), strace 6.1, Linux 5.10 or later. Needs: root (a network namespace of
#       its own), Python 3, 500 MB in the temporary folder.
# Seen: `io.Copy` from one TCP connection to another moves also a message of 16 bytes by splice(2) through a pipe. No read
#       and no write of the process touches either connection. Who watches reads and writes of such a proxy sees nothing of
#       a request and its answer; client and server show them.
set -eu
cd "$(mktemp -d)"
trap 'chmod -R u+w "$PWD"; rm -rf "$PWD"' EXIT
apt-get download -qq golang-1.19-go=1.19.8-2 golang-1.19-src=1.19.8-2 strace=6.1-0.1 libunwind8=1.6.2-3
for package in *.deb; do dpkg-deb -x "$package" .; done
cat > relay.go <<'GO'
package main

import (
	"io"
	"net"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:4000")
	if err != nil {
		panic(err)
	}
	client, err := listener.Accept()
	if err != nil {
		panic(err)
	}
	server, err := net.Dial("tcp", "127.0.0.1:4001")
	if err != nil {
		panic(err)
	}
	go io.Copy(client, server)
	io.Copy(server, client)
}
GO
GOROOT="$PWD/usr/lib/go-1.19" GOCACHE="$PWD/cache" GOPATH="$PWD/path" GO111MODULE=off CGO_ENABLED=0 \
  usr/lib/go-1.19/bin/go build -o relay relay.go
cat > run.py <<'PYTHON'
import re, socket, subprocess, sys, time
subprocess.check_call(["ip", "link", "set", "lo", "up"])
server = socket.create_server(("127.0.0.1", 4001))
calls = "trace=network,read,readv,write,writev,splice"
relay = subprocess.Popen(["usr/bin/strace", "-f", "-y", "-o", "calls.txt", "-e", calls, "./relay"])
try:
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", 4000))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    behind, _ = server.accept()
    for number in range(10):
        client.sendall(b"a small question")
        asked = behind.recv(100)
        behind.sendall(b"its answer")
        told = client.recv(100)
        assert (asked, told) == (b"a small question", b"its answer"), (asked, told)
finally:
    client.close()
    behind.close()
    relay.terminate()
    relay.wait()
lines = open("calls.txt").read().splitlines()
moved = [line for line in lines if re.search(r"splice\(\d+<(TCP|socket):.* = (16|10)$", line)]
touched = [line for line in lines if re.search(r" (read|readv|write|writev|recvfrom|recvmsg|sendto|sendmsg)\(\d+<(TCP|socket):", line)]
print(len(moved), "small messages were taken by splice,", len(touched), "calls read or wrote a connection")
sys.exit(not (len(moved) >= 15 and not touched))
PYTHON
unshare --net env LD_LIBRARY_PATH="$PWD/usr/lib/x86_64-linux-gnu" python3 run.py
