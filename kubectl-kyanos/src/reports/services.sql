SELECT COALESCE(remote_service, remote_addr) AS service, remote_port AS port, protocol, side,
       SUM(sample_weight) AS exchanges, SUM(error AND NOT handshake) AS errors, AVG(total_ns) / 1e6 AS average_ms,
       MAX(total_ns) / 1e6 AS largest_ms
FROM exchanges
WHERE side = 'client'
GROUP BY COALESCE(remote_service, remote_addr), remote_port, protocol, side
ORDER BY exchanges DESC
LIMIT 50
