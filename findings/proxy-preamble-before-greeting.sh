#!/bin/sh
# Shows: behind a proxy that announces its client, a server whose greeting comes first is spoken to first.
# With: HAProxy 2.6.12-1+deb12u4 (Debian 12), PROXY protocol version 2. Needs: root (a network namespace of its own), Python 3.
# Seen: HAProxy sends the preamble, 28 bytes, by itself as soon as it has connected, before its client has sent a byte;
#       the greeting passes after it. Who speaks first does not tell the protocol, and the server's first read holds no
#       byte of the client.
set -eu
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
apt-get download -qq haproxy=2.6.12-1+deb12u4 liblua5.3-0=5.3.6-2 libopentracing-c-wrapper0=1.1.3-3+b1 libopentracing1=1.6.0-4 libstdc++6=12.2.0-14+deb12u1
for package in *.deb; do dpkg-deb -x "$package" .; done
LD_LIBRARY_PATH=$(dirname "$(find . -name 'liblua5.3.so*' | head -n 1)")
export LD_LIBRARY_PATH
cat > haproxy.cfg <<'CONFIG'
defaults
  mode tcp
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen database
  bind 127.0.0.1:4000
  server one 127.0.0.1:4001 send-proxy-v2
CONFIG
cat > run.py <<'PYTHON'
import socket, subprocess, sys, time
subprocess.check_call(["ip", "link", "set", "lo", "up"])
server = socket.create_server(("127.0.0.1", 4001))
proxy = subprocess.Popen(["./usr/sbin/haproxy", "-db", "-f", "haproxy.cfg"])
try:
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", 4000))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    behind, _ = server.accept()
    behind.settimeout(5)
    first = behind.recv(4096)
    behind.sendall(b"greeting")
    client.settimeout(5)
    greeting = client.recv(100)
    print("first read of the server:", len(first), "bytes,", first[:12], "then its client gets", greeting)
    sys.exit((len(first), first[:12], greeting) != (28, b"\r\n\r\n\0\r\nQUIT\n", b"greeting"))
finally:
    proxy.terminate()
    proxy.wait()
PYTHON
unshare --net python3 run.py
