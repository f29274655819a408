-- question: Which addresses knocked at many doors?
-- group: network
-- technique: T1046 Network Service Discovery
-- means: Sources with rejected flows to at least ten different pairs of address and port, most
--   first. An inner source is a machine that looks around.
-- limits: The whole internet scans all of the time: what counts is a scanner that was let
--   through somewhere (accepted).
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 100
WITH doors AS (
  SELECT src_ip, dst_ip, dst_port, account, count(*) FILTER (WHERE status = 'Blocked') AS rejected,
    count(*) FILTER (WHERE status = 'Allowed') AS accepted, min(time) AS first_time,
    max(time) AS last_time
  FROM events
  WHERE class = 'network_activity' AND src_ip IS NOT NULL AND dst_ip IS NOT NULL
    AND (:account IS NULL OR account = :account)
    AND time >= :since AND time < :until
    AND eventday BETWEEN :since_day AND :until_day
  GROUP BY src_ip, dst_ip, dst_port, account
),
hosts AS (
  SELECT src_ip, dst_ip, account, count(*) FILTER (WHERE rejected > 0) AS doors,
    sum(rejected) AS rejected, sum(accepted) AS accepted, min(first_time) AS first_time,
    max(last_time) AS last_time
  FROM doors
  GROUP BY src_ip, dst_ip, account
)
SELECT src_ip, sum(doors) AS doors, count(*) AS addresses, sum(rejected) AS rejected,
  sum(accepted) AS accepted, array_join(array_sort(array_agg(DISTINCT account)), ', ') AS accounts,
  min(first_time) AS first_time, max(last_time) AS last_time
FROM hosts
GROUP BY src_ip
HAVING sum(doors) >= 10
ORDER BY doors DESC, src_ip
LIMIT :limit
