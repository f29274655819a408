-- question: What went through this network interface?
-- group: network
-- technique: T1071 Application Layer Protocol
-- means: Flows by other side, port and outcome, most bytes first.
-- limits: Needs the interface's flow log. Rows without data are left out.
-- takes: interface, text, required
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT src_ip, dst_ip, dst_port, service AS protocol, direction, status AS outcome,
  count(*) AS flows, sum(packets) AS packets, sum(bytes) AS bytes, min(time) AS first_time,
  max(time) AS last_time
FROM events
WHERE class = 'network_activity' AND interface_uid = :interface AND src_ip IS NOT NULL
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY src_ip, dst_ip, dst_port, service, direction, status
ORDER BY bytes DESC NULLS LAST, first_time, src_ip, dst_ip, dst_port, protocol,
  outcome, direction
LIMIT :limit
