#!/bin/sh
# Shows: an HTTP server answers a connection on which nobody has asked anything.
# With: HAProxy 2.6.12-1+deb12u4 (Debian 12), mode http. Needs: root (a network namespace of its own), Python 3.
# Seen: a client that connects and sends nothing gets `HTTP/1.1 408 Request Time-out` with a body when the proxy's
#       `timeout http-request` is over, and then the end. An answer without a request is no sign of a lost request.
set -eu
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
apt-get download -qq haproxy=2.6.12-1+deb12u4 liblua5.3-0=5.3.6-2 libopentracing-c-wrapper0=1.1.3-3+b1 libopentracing1=1.6.0-4 libstdc++6=12.2.0-14+deb12u1
for package in *.deb; do dpkg-deb -x "$package" .; done
LD_LIBRARY_PATH=$(dirname "$(find . -name 'liblua5.3.so*' | head -n 1)")
export LD_LIBRARY_PATH
cat > haproxy.cfg <<'CONFIG'
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  timeout http-request 1s
listen site
  bind 127.0.0.1:4000
  server one 127.0.0.1:4001
CONFIG
cat > run.py <<'PYTHON'
import socket, subprocess, sys, time
subprocess.check_call(["ip", "link", "set", "lo", "up"])
proxy = subprocess.Popen(["./usr/sbin/haproxy", "-db", "-f", "haproxy.cfg"])
try:
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", 4000))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    client.settimeout(10)
    answer = b""
    while part := client.recv(4096):
        answer += part
    print("a client that asked nothing got", answer.split(b"\r\n")[0])
    sys.exit(not answer.startswith(b"HTTP/1.1 408 "))
finally:
    proxy.terminate()
    proxy.wait()
PYTHON
unshare --net python3 run.py
