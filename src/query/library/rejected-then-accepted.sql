-- question: Which traffic was refused first and let through later?
-- group: network
-- technique: T1562.007 Impair Defenses: Disable or Modify Cloud Firewall
-- means: Pairs of addresses and a port with flows that were rejected before others were
--   accepted: a firewall was opened in between. security-groups-opened says by whom.
-- limits: Late packets of closed connections are rejected too; those have high ports and few
--   bytes.
-- takes: address, text, optional
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT src_ip, dst_ip, dst_port, service AS protocol, min(account) AS account, min(region) AS region,
  min(interface_uid) AS interface_uid,
  count(*) FILTER (WHERE status = 'Blocked') AS rejected,
  count(*) FILTER (WHERE status = 'Allowed') AS accepted,
  min(time) FILTER (WHERE status = 'Blocked') AS first_rejected,
  max(time) FILTER (WHERE status = 'Blocked') AS last_rejected,
  min(time) FILTER (WHERE status = 'Allowed') AS first_accepted,
  sum(bytes) FILTER (WHERE status = 'Allowed') AS bytes_accepted
FROM events
WHERE class = 'network_activity' AND src_ip IS NOT NULL AND dst_ip IS NOT NULL
  AND (:address IS NULL OR src_ip = :address OR dst_ip = :address)
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY src_ip, dst_ip, dst_port, service
HAVING min(time) FILTER (WHERE status = 'Blocked') < min(time) FILTER (WHERE status = 'Allowed')
ORDER BY coalesce(sum(bytes) FILTER (WHERE status = 'Allowed'), 0) DESC, first_rejected, src_ip,
  dst_ip, dst_port, protocol
LIMIT :limit
