-- question: Who looked around: many different kinds of reads within an hour?
-- group: defense evasion and discovery
-- technique: T1087.004 Account Discovery: Cloud Account
-- means: At least ten different Get, List and Describe operations in several services by one key
--   from one address within an hour of the clock.
-- limits: Consoles, inventory tools and scanners look around all day: compare with the same
--   principal on other days.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT date_trunc('hour', time) AS hour, coalesce(session_issuer, actor_arn) AS principal,
  access_key, src_ip, count(DISTINCT operation) AS operations, count(DISTINCT service) AS services,
  count(DISTINCT region) AS regions, count(*) AS calls,
  count(*) FILTER (WHERE status = 'Failure') AS failures, min(user_agent) AS a_user_agent,
  min(time) AS first_time, max(time) AS last_time
FROM events
WHERE class = 'api_activity' AND activity = 'Read' AND src_ip IS NOT NULL
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY date_trunc('hour', time), coalesce(session_issuer, actor_arn), access_key, src_ip
HAVING count(DISTINCT operation) >= 10 AND count(DISTINCT service) >= 3
ORDER BY failures DESC, operations DESC, first_time, access_key, src_ip, principal
LIMIT :limit
