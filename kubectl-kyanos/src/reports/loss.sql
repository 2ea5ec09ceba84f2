SELECT session, node, stage, MAX(total) AS lost
FROM losses
GROUP BY session, node, stage
ORDER BY lost DESC
