SELECT protocol, side, operation, status, SUM(sample_weight) AS exchanges, MAX(start_time) AS latest
FROM exchanges
WHERE error AND NOT handshake
GROUP BY protocol, side, operation, status
ORDER BY exchanges DESC
LIMIT 20
