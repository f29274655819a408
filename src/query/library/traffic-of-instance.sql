-- question: What went in and out of this instance?
-- group: network
-- technique: T1071 Application Layer Protocol
-- means: As traffic-of-interface, for the interfaces of the instance that flow logs, findings or
--   the answer to its start name.
-- limits: Flow logs of the default format do not name instances: an interface that was added
--   later and that no finding names is missing.
-- takes: instance, text, required
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
WITH interfaces AS (
  SELECT interface_uid FROM events WHERE instance_uid = :instance AND interface_uid IS NOT NULL
  UNION
  SELECT json_extract_scalar(response,
    '$.instancesSet.items[0].networkInterfaceSet.items[0].networkInterfaceId') AS interface_uid
  FROM events
  WHERE class = 'api_activity' AND operation = 'RunInstances'
    AND json_extract_scalar(response, '$.instancesSet.items[0].instanceId') = :instance
)
SELECT interface_uid, src_ip, dst_ip, dst_port, service AS protocol, direction, status AS outcome,
  count(*) AS flows, sum(packets) AS packets, sum(bytes) AS bytes, min(time) AS first_time,
  max(time) AS last_time
FROM events
WHERE class = 'network_activity' AND src_ip IS NOT NULL
  AND interface_uid IN (SELECT interface_uid FROM interfaces WHERE interface_uid IS NOT NULL)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY interface_uid, src_ip, dst_ip, dst_port, service, direction, status
ORDER BY bytes DESC NULLS LAST, first_time, src_ip, dst_ip, dst_port, protocol,
  outcome, interface_uid, direction
LIMIT :limit
