SELECT protocol, side, comm, operation, SUM(sample_weight) AS exchanges, SUM(error AND NOT handshake) AS errors,
       AVG(total_ns) / 1e6 AS average_ms, MAX(total_ns) / 1e6 AS largest_ms
FROM exchanges
GROUP BY protocol, side, comm, operation
ORDER BY exchanges DESC
LIMIT 20
