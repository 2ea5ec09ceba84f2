#!/bin/sh
# Shows: the version in a MariaDB greeting is several words, and a setting makes it longer.
# With: MariaDB 11.8.9 (Debian 13, mariadb-server-core 1:11.8.9+ds-0+deb13u1). Needs: root, Python 3 and
#       debootstrap, which installs the newest version: the script fails at once when that is another.
# Seen: the version is `11.8.9-MariaDB-0+deb13u1 from Debian`, with spaces and without the `5.5.5-` that older ones put in
#       front; while the general log is on it ends with `-log`. The greeting is 108 bytes without and 112 with it.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
server=
debootstrap --variant=minbase --include=mariadb-server-core trixie root > debootstrap.log
[ "$(chroot root dpkg-query -W -f '${Version}' mariadb-server-core)" = 1:11.8.9+ds-0+deb13u1 ]
mkdir root/srv/data
cat > greeting.py <<'PYTHON'
import socket, sys, time
while True:
    try:
        client = socket.create_connection(("127.0.0.1", 4306)); break
    except ConnectionRefusedError:
        time.sleep(0.2)
client.settimeout(10)
greeting = client.recv(4096)
version = greeting[5:greeting.index(b"\0", 5)].decode()
print("greeting:", len(greeting), "bytes, version:", version)
words = "11.8.9-MariaDB-0+deb13u1 from Debian"
sys.exit((len(greeting), version) != {"OFF": (108, words), "ON": (112, words + "-log")}[sys.argv[1]])
PYTHON
for log in OFF ON; do
  chroot root mariadbd --no-defaults --datadir=/srv/data --socket=/srv/socket --user=root --port=4306 --bind-address=127.0.0.1 \
    --skip-grant-tables --general-log="$log" --general-log-file=/srv/general > server.log 2>&1 &
  server=$!
  timeout 60 python3 greeting.py "$log"
  kill $server
  wait $server
done
