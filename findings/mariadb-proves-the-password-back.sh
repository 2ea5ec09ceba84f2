#!/bin/sh
# Shows: the packet that ends a log-in to MariaDB holds a proof that the server knows the password, where readers expect a
#        message for people.
# With: MariaDB 11.8.9 (Debian 13, mariadb-server-core 1:11.8.9+ds-0+deb13u1). Needs: root, Python 3 and
#       debootstrap, which installs the newest version: the script fails at once when that is another.
# Seen: the text of the OK packet is a byte 1 and 64 hexadecimal digits, other ones at each log-in, though the connection is
#       not encrypted. A user without a password gets no text.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
server=
debootstrap --variant=minbase --include=mariadb-server-core,mariadb-client-core trixie root > debootstrap.log
[ "$(chroot root dpkg-query -W -f '${Version}' mariadb-server-core)" = 1:11.8.9+ds-0+deb13u1 ]
mkdir root/srv/data
chroot root mariadb-install-db --no-defaults --datadir=/srv/data --user=root --force --auth-root-authentication-method=normal \
  --skip-test-db > install.log 2>&1
echo "create user guest@localhost identified by 'example';" > root/srv/users
chroot root mariadbd --no-defaults --datadir=/srv/data --socket=/srv/socket --user=root --port=4306 --bind-address=127.0.0.1 \
  --init-file=/srv/users > server.log 2>&1 &
server=$!
cat > login.py <<'PYTHON'
import hashlib, re, socket, struct, sys, time
def sha1(*parts):
    return hashlib.sha1(b"".join(parts)).digest()
def login(user, password):
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", 4306)); break
        except ConnectionRefusedError:
            time.sleep(0.2)
    client.settimeout(10)
    greeting = client.recv(4096)
    version_end = greeting.index(b"\0", 5)
    nonce = greeting[version_end + 5:version_end + 13] + greeting[version_end + 32:version_end + 44]
    once = sha1(password)
    token = bytes(a ^ b for a, b in zip(once, sha1(nonce, sha1(once)))) if password else b""
    # Protocol 4.1, an answer of the length given, a named method.
    body = struct.pack("<IIB23x", 0x88200, 1 << 24, 45) + user + b"\0" + bytes([len(token)]) + token + b"mysql_native_password\0"
    client.sendall(struct.pack("<I", len(body) | 1 << 24) + body)
    answer = client.recv(4096)
    assert answer[4] == 0, answer
    return answer[11:]
first, second, none = login(b"guest", b"example"), login(b"guest", b"example"), login(b"root", b"")
proof = re.compile(rb"A\x01[0-9A-F]{64}")
print("text of the OK packet, its length first, with a password:", len(first), "bytes that differ:", first != second, "- without:", len(none), "bytes")
sys.exit(not (proof.fullmatch(first) and proof.fullmatch(second) and first != second and none == b""))
PYTHON
timeout 60 python3 login.py
