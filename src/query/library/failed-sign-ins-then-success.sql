-- question: Whose password was guessed: failed sign-ins, then one that succeeded?
-- group: sign-ins
-- technique: T1110 Brute Force
-- means: Sign-ins with failed ones within the hour before, in the same account, from the same
--   address or of the same name. Many failures, then a success from one address, is a guessed or
--   sprayed password.
-- limits: People mistype: one or two failures are usual. Guessing from many addresses shows by
--   the name only, and AWS hides names that do not exist.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
WITH attempts AS (
  SELECT time, account, operation, status, src_ip, uid, user_agent,
    coalesce(actor_arn, actor_name, actor_id) AS who, actor_name
  FROM events
  WHERE class = 'authentication'
    AND operation IN ('ConsoleLogin', 'UserAuthentication', 'CredentialVerification')
    AND (:account IS NULL OR account = :account)
    AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
)
SELECT good.time, good.account, good.operation, good.who, good.src_ip, count(*) AS failures,
  min(bad.time) AS first_failure, max(bad.time) AS last_failure,
  array_join(array_sort(array_agg(DISTINCT bad.src_ip)), ', ') AS failed_from, good.user_agent,
  good.uid
FROM attempts AS good
JOIN attempts AS bad ON bad.account = good.account
WHERE good.status = 'Success' AND bad.status = 'Failure'
  AND good.operation IN ('ConsoleLogin', 'UserAuthentication')
  AND (bad.src_ip = good.src_ip OR bad.who = good.who OR bad.actor_name = good.actor_name)
  AND bad.time < good.time AND bad.time >= good.time - INTERVAL '1' HOUR
GROUP BY good.time, good.account, good.operation, good.who, good.src_ip, good.user_agent, good.uid
ORDER BY good.time, good.uid
LIMIT :limit
