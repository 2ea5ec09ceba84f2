#!/bin/sh
# Shows: which words Redis replaces in what it records of its commands, and that MONITOR leaves some commands out whole.
# With: Redis 7.0.15-1~deb12u10 (Debian 12, which must be installed: redis-server).
# Seen: both SLOWLOG and MONITOR show `(redacted)` for the words after AUTH, be it a command, a part of HELLO or of MIGRATE, and
#       for the user's name too. ACL SETUSER and CONFIG SET with a password are redacted in SLOWLOG and missing in MONITOR, as
#       are ACL DELUSER and CONFIG GET, which hold no password. A script's text is shown as it is, whatever it would call.
set -eu
cd "$(mktemp -d)"
trap 'kill $monitor $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
monitor=
redis-server --port 4379 --bind 127.0.0.1 --save '' --appendonly no --slowlog-log-slower-than 0 > server.log 2>&1 &
server=$!
until redis-cli -p 4379 ping > /dev/null 2>&1; do kill -0 $server; sleep 0.2; done
redis-cli -p 4379 monitor > monitor.log &
monitor=$!
until grep -q OK monitor.log; do sleep 0.2; done
redis-cli -p 4379 slowlog reset > /dev/null
redis-cli -p 4379 > answers.log <<'COMMANDS'
ACL SETUSER guest on >exampleone +@all ~*
AUTH guest exampleone
HELLO 3 AUTH guest exampleone
MIGRATE 127.0.0.1 4380 nokey 0 100 AUTH2 guest exampletwo
CONFIG SET masterauth examplethree
CONFIG GET maxmemory
EVAL "return 'ACL SETUSER guest >examplefour'" 0
ACL DELUSER nobody
SET last one
COMMANDS
until grep -q '"SET" "last"' monitor.log; do sleep 0.2; done
# Of an entry, its fourth part holds the words of the command.
redis-cli -p 4379 --json slowlog get 20 > slowlog.json
cat > compare.py <<'PYTHON'
import json, re, sys
hidden = "(redacted)"
slow = [" ".join(entry[3]) for entry in reversed(json.load(open("slowlog.json")))]
monitored = [" ".join(re.findall(r'"((?:[^"\\]|\\.)*)"', line)) for line in open("monitor.log") if "[" in line]
in_both = [
    f"AUTH {hidden} {hidden}",
    f"HELLO 3 AUTH {hidden} {hidden}",
    f"MIGRATE 127.0.0.1 4380 nokey 0 100 AUTH2 {hidden} {hidden}",
    "EVAL return 'ACL SETUSER guest >examplefour' 0",
    "SET last one",
]
in_slowlog = [
    "ACL SETUSER" + f" {hidden}" * 5,
    f"CONFIG SET masterauth {hidden}",
    "CONFIG GET maxmemory",
    "ACL DELUSER nobody",
]
status = 0
for words in in_both + in_slowlog:
    print("SLOWLOG" if words in slow else "-------", "MONITOR" if words in monitored else "-------", words)
    status |= words not in slow or (words in monitored) != (words in in_both)
seen = " ".join(slow + monitored)
sys.exit(status or any(word in seen for word in ("exampleone", "exampletwo", "examplethree")))
PYTHON
python3 compare.py
