-- question: Which machines sent the most to the internet, and where to?
-- group: network
-- technique: T1048 Exfiltration Over Alternative Protocol
-- means: Accepted bytes from inner to outer addresses, most first.
-- limits: A flow through a NAT gateway is seen at the machine and at the gateway. Traffic to
--   AWS's own services (S3 through the internet) is in it.
-- takes: account, text, optional
-- takes: address, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 100
SELECT account, account_name, region, interface_uid, src_ip, dst_ip, count(*) AS flows,
  sum(packets) AS packets, sum(bytes) AS bytes, count(DISTINCT dst_port) AS ports,
  min(time) AS first_time, max(time) AS last_time
FROM events
WHERE class = 'network_activity' AND status = 'Allowed'
  AND regexp_like(src_ip,
      '^(10|127|192[.]168|169[.]254|172[.](1[6-9]|2[0-9]|3[01]))[.]|^(f[cd]|fe80:)')
  AND NOT regexp_like(dst_ip,
      '^(10|127|192[.]168|169[.]254|172[.](1[6-9]|2[0-9]|3[01]))[.]|^(f[cd]|fe80:)')
  AND (:account IS NULL OR account = :account)
  AND (:address IS NULL OR src_ip = :address OR dst_ip = :address)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY account, account_name, region, interface_uid, src_ip, dst_ip
ORDER BY bytes DESC NULLS LAST, src_ip, dst_ip, interface_uid
LIMIT :limit
