-- question: Which keys and sessions did this key give out, and what was done with them?
-- group: keys and principals
-- technique: T1098.001 Account Manipulation: Additional Cloud Credentials
-- means: Every call with a key or session that a call of this key made (CreateAccessKey,
--   AssumeRole, GetSessionToken, GetFederationToken and the like), and with those that these
--   made in turn. A key without a row was not used.
-- limits: Two steps: ask again with the keys of the last step. Console sessions have no key in
--   CloudTrail that the sign-in names.
-- takes: key, text, required
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 10000
WITH made AS (
  SELECT access_key, new_key, min(time) AS made_at, min(operation) AS made_by
  FROM events
  WHERE new_key IS NOT NULL AND access_key IS NOT NULL AND access_key <> new_key
  GROUP BY access_key, new_key
),
step_1 AS (
  SELECT 1 AS step, access_key, new_key, made_at, made_by FROM made WHERE access_key = :key
),
step_2 AS (
  SELECT 2 AS step, made.access_key, made.new_key, made.made_at, made.made_by
  FROM made JOIN step_1 ON made.access_key = step_1.new_key
  WHERE made.new_key <> :key
),
keys AS (
  SELECT new_key, min(step) AS step, min(access_key) AS from_key, min(made_at) AS made_at,
    min(made_by) AS made_by
  FROM (SELECT * FROM step_1 UNION ALL SELECT * FROM step_2) AS steps
  GROUP BY new_key
)
SELECT keys.step, keys.from_key, keys.made_by, keys.made_at, keys.new_key AS key, events.time,
  events.account, events.account_name, events.region, events.service, events.operation,
  events.status, events.error, events.actor_arn, events.src_ip, events.user_agent, events.resource,
  events.uid
FROM keys JOIN events ON events.access_key = keys.new_key
WHERE events.class IN ('api_activity', 'account_change', 'authentication')
  AND events.time >= :since AND events.time < :until
  AND events.eventday BETWEEN :since_day AND :until_day
ORDER BY events.time, events.uid
LIMIT :limit
