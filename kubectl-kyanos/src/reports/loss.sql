SELECT session, node, stage, unit, MAX(total) AS lost
FROM losses
GROUP BY session, node, stage, unit
ORDER BY lost DESC
