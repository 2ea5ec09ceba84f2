SELECT start_time, protocol, side, comm, remote_addr, remote_port, operation, status,
       total_ns / 1e6 AS total_ms, network_ns / 1e6 AS network_ms, internal_ns / 1e6 AS internal_ms
FROM exchanges
ORDER BY total_ns DESC
LIMIT 20
