#!/bin/sh
# Shows: a client of PostgreSQL goes on to use prepared statements that the server was told to forget.
# With: npm pg 8.23.1; PostgreSQL 15.18-0+deb12u1 (Debian 12, which must be installed: postgresql-15). Needs: root, Node.
# Seen: after `DISCARD ALL`, which its user sent as a statement, every use of a name prepared before fails with 26000, not
#       only the first: the client never sends the text of that name again. A binding may name what nobody has prepared.
set -eu
cd "$(mktemp -d)"
chown postgres .
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$PWD"' EXIT
npm install --silent --no-fund --no-audit pg@8.23.1
programs=/usr/lib/postgresql/15/bin
runuser -u postgres -- $programs/initdb -D data -A trust --no-locale -E UTF8 > initdb.log
runuser -u postgres -- $programs/postgres -D data -p 4432 -h 127.0.0.1 -k '' > server.log 2>&1 &
server=$!
until $programs/pg_isready -q -h 127.0.0.1 -p 4432; do kill -0 $server; sleep 0.2; done
cat > client.js <<'NODE'
const { Client } = require('pg');
(async () => {
  const client = new Client({ host: '127.0.0.1', port: 4432, user: 'postgres' });
  await client.connect();
  const seen = [];
  const use = async () => {
    const query = { name: 'one', text: 'select $1::int as n', values: [7] };
    await client.query(query).then((result) => seen.push(result.rows[0].n), (error) => seen.push(error.code));
  };
  await use();
  await client.query('discard all');
  for (let i = 0; i < 3; i++) await use();
  await client.end();
  console.log('results and errors:', seen.join(' '));
  process.exitCode = seen.join(' ') === '7 26000 26000 26000' ? 0 : 1;
})();
NODE
node client.js
