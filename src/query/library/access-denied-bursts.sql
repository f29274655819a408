-- question: Who was refused many different things within an hour?
-- group: defense evasion and discovery
-- technique: T1580 Cloud Infrastructure Discovery
-- means: At least five different operations that were refused to one principal from one address
--   within an hour of the clock: somebody tries out what credentials can do.
-- limits: Scanners of your own look alike; a slow intruder does not show.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT date_trunc('hour', time) AS hour,
  coalesce(session_issuer, actor_arn, actor_id) AS principal, src_ip,
  count(DISTINCT operation) AS operations, count(*) AS refused,
  array_join(array_sort(array_agg(DISTINCT account)), ', ') AS accounts,
  array_join(array_sort(array_agg(DISTINCT operation)), ', ') AS refused_operations,
  min(time) AS first_time, max(time) AS last_time
FROM events
WHERE status = 'Failure'
  AND class IN ('api_activity', 'account_change', 'authentication')
  AND (error LIKE '%AccessDenied%' OR error LIKE '%Unauthorized%')
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY date_trunc('hour', time), coalesce(session_issuer, actor_arn, actor_id), src_ip
HAVING count(DISTINCT operation) >= 5
ORDER BY operations DESC, first_time, src_ip, principal
LIMIT :limit
