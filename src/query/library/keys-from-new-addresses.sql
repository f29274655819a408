-- question: Which long-lived keys were used from an address that they had not been used from before?
-- group: keys and principals
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: The first call of each key from each address after its very first one; keys of users
--   only, whose addresses change seldom. With the failures of that address it is the shortest
--   list of keys that may be stolen.
-- limits: What the lake knows of a key begins with the first event that was loaded: a short
--   history makes old places look new. Reads everything before --until.
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: account, text, optional
-- takes: limit, integer, default 1000
WITH calls AS (
  SELECT time, access_key, actor_arn, src_ip, account, user_agent, status
  FROM events
  WHERE access_key LIKE 'AKIA%' AND src_ip IS NOT NULL
    AND class IN ('api_activity', 'account_change', 'authentication')
    AND (:account IS NULL OR account = :account)
    AND time < :until AND eventday <= :until_day
),
places AS (
  SELECT access_key, src_ip, min(actor_arn) AS actor_arn, min(account) AS account,
    min(time) AS first_time, max(time) AS last_time, count(*) AS calls,
    count(*) FILTER (WHERE status = 'Failure') AS failures, min(user_agent) AS a_user_agent
  FROM calls
  GROUP BY access_key, src_ip
),
ranked AS (
  SELECT *, min(first_time) OVER (PARTITION BY access_key) AS key_first_time,
    row_number() OVER (PARTITION BY access_key ORDER BY first_time, src_ip) AS place
  FROM places
)
SELECT first_time, last_time, account, actor_arn, access_key, src_ip, place, key_first_time, calls,
  failures, a_user_agent
FROM ranked
WHERE place > 1 AND first_time >= :since
ORDER BY first_time, access_key, src_ip
LIMIT :limit
