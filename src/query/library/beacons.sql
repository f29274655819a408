-- question: Which machines call home at regular intervals?
-- group: network
-- technique: T1071 Application Layer Protocol
-- means: Pairs of an inner and an outer address and a port with at least eight accepted
--   connections whose gaps hardly differ: unevenness is the standard deviation of the gaps over
--   their mean, below 0.25.
-- limits: Updates, metrics and time servers are regular too. Flow logs round times to their
--   window of one or ten minutes. A connection that stays open is one row for each window with
--   the same source port, and is left out.
-- takes: account, text, optional
-- takes: address, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 100
WITH starts AS (
  SELECT src_ip, dst_ip, dst_port, src_port, account, bytes, time,
    CAST(to_unixtime(time) AS bigint) - lag(CAST(to_unixtime(time) AS bigint)) OVER (
      PARTITION BY account, src_ip, dst_ip, dst_port ORDER BY time, uid) AS gap
  FROM events
  WHERE class = 'network_activity' AND status = 'Allowed'
    AND regexp_like(src_ip,
      '^(10|127|192[.]168|169[.]254|172[.](1[6-9]|2[0-9]|3[01]))[.]|^(f[cd]|fe80:)')
    AND NOT regexp_like(dst_ip,
      '^(10|127|192[.]168|169[.]254|172[.](1[6-9]|2[0-9]|3[01]))[.]|^(f[cd]|fe80:)')
    AND dst_port < 32768
    AND (:account IS NULL OR account = :account)
    AND (:address IS NULL OR src_ip = :address OR dst_ip = :address)
    AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
)
SELECT account, src_ip, dst_ip, dst_port, count(*) AS connections,
  round(avg(gap), 1) AS mean_gap_seconds,
  round(stddev_pop(gap) / avg(gap), 3) AS unevenness, sum(bytes) AS bytes_out,
  min(time) AS first_time, max(time) AS last_time
FROM starts
GROUP BY account, src_ip, dst_ip, dst_port
HAVING count(*) >= 8 AND count(DISTINCT src_port) * 2 > count(*) AND avg(gap) >= 10
  AND stddev_pop(gap) < 0.25 * avg(gap)
ORDER BY unevenness, src_ip, dst_ip, dst_port, account
LIMIT :limit
