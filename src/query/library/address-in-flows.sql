-- question: Whom did this address talk to, and what was let through?
-- group: network
-- technique: T1046 Network Service Discovery
-- means: Flows from and to the address, by account, interface, other side and outcome.
-- limits: The source port of the side that began is left out, so that answers show under the
--   port of the server only if the flow log's row began there. Needs VPC flow logs of the
--   network.
-- takes: address, text, required
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: account, text, optional
-- takes: limit, integer, default 1000
SELECT account, account_name, region, interface_uid, src_ip, dst_ip,
  CASE WHEN src_ip = :address THEN 'from' ELSE 'to' END AS from_or_to, service AS protocol,
  status AS outcome, count(*) AS flows, sum(packets) AS packets, sum(bytes) AS bytes,
  count(DISTINCT dst_port) AS ports, min(time) AS first_time, max(time) AS last_time
FROM events
WHERE class = 'network_activity'
  AND (src_ip = :address OR dst_ip = :address)
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY account, account_name, region, interface_uid, src_ip, dst_ip, service, status
ORDER BY first_time, src_ip, dst_ip, interface_uid, outcome, protocol
LIMIT :limit
