SELECT namespace, workload, remote, port, protocol, side, segment,
       observed, exchanges - observed AS not_observed, segment_sum / 1e6 AS sum_ms,
       CASE WHEN total_sum > 0 THEN 1e2 * segment_sum / total_sum END AS percent
FROM (
    SELECT pairs.*, parts.place, parts.segment,
           CASE parts.place WHEN 1 THEN send_known WHEN 2 THEN network_known WHEN 3 THEN transfer_known
                WHEN 4 THEN receive_known WHEN 5 THEN queue_known WHEN 6 THEN internal_known
                ELSE read_known END AS observed,
           CASE parts.place WHEN 1 THEN send_sum WHEN 2 THEN network_sum WHEN 3 THEN transfer_sum
                WHEN 4 THEN receive_sum WHEN 5 THEN queue_sum WHEN 6 THEN internal_sum
                ELSE read_sum END AS segment_sum
    FROM (
        SELECT namespace, COALESCE(workload, comm) AS workload,
               COALESCE(remote_service, remote_pod, remote_addr) AS remote,
               CASE WHEN side = 'client' THEN remote_port ELSE local_port END AS port, protocol, side,
               SUM(sample_weight) AS exchanges, SUM(total_ns * sample_weight) AS total_sum,
               SUM(send_ns * sample_weight) AS send_sum, SUM(network_ns * sample_weight) AS network_sum,
               SUM(transfer_ns * sample_weight) AS transfer_sum, SUM(receive_ns * sample_weight) AS receive_sum,
               SUM(queue_ns * sample_weight) AS queue_sum, SUM(internal_ns * sample_weight) AS internal_sum,
               SUM(read_ns * sample_weight) AS read_sum,
               SUM(CASE WHEN send_ns IS NULL THEN 0 ELSE sample_weight END) AS send_known,
               SUM(CASE WHEN network_ns IS NULL THEN 0 ELSE sample_weight END) AS network_known,
               SUM(CASE WHEN transfer_ns IS NULL THEN 0 ELSE sample_weight END) AS transfer_known,
               SUM(CASE WHEN receive_ns IS NULL THEN 0 ELSE sample_weight END) AS receive_known,
               SUM(CASE WHEN queue_ns IS NULL THEN 0 ELSE sample_weight END) AS queue_known,
               SUM(CASE WHEN internal_ns IS NULL THEN 0 ELSE sample_weight END) AS internal_known,
               SUM(CASE WHEN read_ns IS NULL THEN 0 ELSE sample_weight END) AS read_known
        FROM exchanges
        GROUP BY namespace, COALESCE(workload, comm), COALESCE(remote_service, remote_pod, remote_addr),
                 CASE WHEN side = 'client' THEN remote_port ELSE local_port END, protocol, side
    ) AS pairs
    CROSS JOIN (
        SELECT 1 AS place, 'send' AS segment UNION ALL SELECT 2, 'network' UNION ALL SELECT 3, 'transfer'
        UNION ALL SELECT 4, 'receive' UNION ALL SELECT 5, 'queue' UNION ALL SELECT 6, 'internal'
        UNION ALL SELECT 7, 'read'
    ) AS parts
) AS timed
WHERE observed > 0
ORDER BY total_sum DESC, namespace, workload, remote, port, protocol, side, place
LIMIT 140
