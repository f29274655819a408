-- question: Which principals came with a program that they had not used before?
-- group: keys and principals
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: The first call of each user or role with each user agent after its very first one.
--   Tools of intruders show here: other SDKs, other systems, names such as kali.
-- limits: User agents are what the caller says, and change with every update of a program. What
--   the lake knows begins with the first event that was loaded. Reads everything before --until.
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: account, text, optional
-- takes: principal, text, optional
-- takes: limit, integer, default 1000
WITH agents AS (
  SELECT coalesce(session_issuer, actor_arn) AS principal, user_agent, min(account) AS account,
    min(time) AS first_time, max(time) AS last_time, count(*) AS calls,
    count(*) FILTER (WHERE status = 'Failure') AS failures,
    array_join(array_sort(array_agg(DISTINCT src_ip)), ', ') AS addresses
  FROM events
  WHERE user_agent IS NOT NULL AND actor_arn IS NOT NULL AND src_ip IS NOT NULL
    AND class IN ('api_activity', 'account_change', 'authentication')
    AND (actor_type IS NULL OR actor_type <> 'AWSService')
    AND (:account IS NULL OR account = :account)
    AND (:principal IS NULL OR actor_arn = :principal OR session_issuer = :principal)
    AND time < :until AND eventday <= :until_day
  GROUP BY coalesce(session_issuer, actor_arn), user_agent
),
ranked AS (
  SELECT *, row_number() OVER (PARTITION BY principal ORDER BY first_time, user_agent) AS nth
  FROM agents
)
SELECT first_time, last_time, account, principal, user_agent, nth, calls, failures, addresses
FROM ranked
WHERE nth > 1 AND first_time >= :since
ORDER BY first_time, principal, user_agent
LIMIT :limit
