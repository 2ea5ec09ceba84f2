#!/bin/sh
# Shows: clients of Redis ask at connect for what many servers do not have, and go on after the errors.
# With: PyPI redis 8.1.0, npm redis 6.3.1, npm ioredis 6.0.0; Redis 7.0.15-1~deb12u10 (Debian 12, which must be installed:
#       redis-server). Needs: Node.
# Seen: for one PING, each sends CLIENT SETINFO twice, redis and node-redis also CLIENT MAINT_NOTIFICATIONS; the server
#       refuses them as unknown subcommands. The user's program sees no error, the server counts two or three a connection.
set -eu
cd "$(mktemp -d)"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check redis==8.1.0
npm install --silent --no-fund --no-audit redis@6.3.1 ioredis@6.0.0
redis-server --port 4379 --bind 127.0.0.1 --save '' --appendonly no > server.log 2>&1 &
server=$!
until redis-cli -p 4379 ping > /dev/null 2>&1; do sleep 0.2; done
cat > python.py <<'PYTHON'
import redis
assert redis.Redis(port=4379).ping()
PYTHON
cat > node-redis.mjs <<'NODE'
import { createClient } from 'redis';
const c = await createClient({ url: 'redis://127.0.0.1:4379' }).connect();
await c.ping();
await c.close();
NODE
cat > ioredis.mjs <<'NODE'
import Redis from 'ioredis';
const c = new Redis(4379, '127.0.0.1');
await c.ping();
c.disconnect();
NODE
status=0
for client in 'venv/bin/python python.py' 'node node-redis.mjs' 'node ioredis.mjs'; do
  redis-cli -p 4379 config resetstat > /dev/null
  $client
  errors=$(redis-cli -p 4379 info errorstats | tr -d '\r' | sed -n 's/^errorstat_ERR:count=//p')
  echo "$client: ${errors:-0} errors"
  [ "${errors:-0}" -ge 2 ] || status=1
done
exit $status
