-- question: What went between these two addresses?
-- group: network
-- technique: T1041 Exfiltration Over C2 Channel
-- means: Flows, packets and bytes in both directions, by interface and outcome.
-- limits: A flow is seen at each interface that has a flow log: between two instances of yours
--   twice, through a gateway at the gateway too.
-- takes: address, text, required
-- takes: peer, text, required
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
SELECT src_ip, dst_ip, interface_uid, direction, status AS outcome, count(*) AS flows,
  sum(packets) AS packets, sum(bytes) AS bytes, min(time) AS first_time, max(time) AS last_time,
  array_join(array_sort(array_agg(DISTINCT account)), ', ') AS accounts
FROM events
WHERE class = 'network_activity'
  AND ((src_ip = :address AND dst_ip = :peer) OR (src_ip = :peer AND dst_ip = :address))
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY src_ip, dst_ip, interface_uid, direction, status
ORDER BY first_time, src_ip, interface_uid, outcome, direction
