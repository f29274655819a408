-- question: From which addresses and with which programs was this key used, and since when?
-- group: keys and principals
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: One row for each address and program. A row that begins late, with many operations and
--   failures, is where the key was stolen to.
-- limits: An intruder on the owner's machine has the owner's address. User agents are what the
--   caller says.
-- takes: key, text, required
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
SELECT src_ip, src_domain, user_agent, min(time) AS first_time, max(time) AS last_time,
  count(*) AS calls, count(*) FILTER (WHERE status = 'Failure') AS failures,
  count(DISTINCT operation) AS operations, count(DISTINCT region) AS regions,
  array_join(array_sort(array_agg(DISTINCT account)), ', ') AS accounts
FROM events
WHERE access_key = :key
  AND class IN ('api_activity', 'account_change', 'authentication')
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY src_ip, src_domain, user_agent
ORDER BY first_time, calls DESC, user_agent, src_ip, src_domain
