-- question: Who took which role, with which credentials, and what did the session do then?
-- group: keys and principals
-- technique: T1548.005 Abuse Elevation Control Mechanism: Temporary Elevated Cloud Access
-- means: One row for each role that was asked for by a person or program: the caller, who had
--   given the caller its own session, the role, the session's key, and what was called with it.
--   Refused ones show who tried.
-- limits: A role of another account is recorded in both accounts: two rows with one session key.
--   Roles that AWS services take for themselves are left out.
-- takes: principal, text, optional
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
WITH given AS (
  SELECT new_key, min(coalesce(session_issuer, actor_arn)) AS giver
  FROM events
  WHERE class = 'authentication' AND new_key IS NOT NULL
  GROUP BY new_key
),
used AS (
  SELECT access_key, count(*) AS calls, count(*) FILTER (WHERE status = 'Failure') AS failures,
    max(time) AS last_call
  FROM events
  WHERE access_key LIKE 'ASIA%' AND class IN ('api_activity', 'account_change', 'authentication')
  GROUP BY access_key
)
SELECT taken.time, taken.account, taken.account_name, taken.region, taken.operation, taken.status,
  taken.error, given.giver AS before_caller, taken.actor_arn AS caller,
  taken.access_key AS caller_key, taken.src_ip, taken.src_domain, taken.resource AS role,
  taken.new_key AS session_key, used.calls,
  used.failures, used.last_call, taken.uid
FROM events AS taken
LEFT JOIN given ON given.new_key = taken.access_key
LEFT JOIN used ON used.access_key = taken.new_key
WHERE taken.class = 'authentication' AND taken.operation LIKE 'AssumeRole%'
  AND (taken.actor_type IS NULL OR taken.actor_type <> 'AWSService')
  AND (:principal IS NULL OR taken.actor_arn = :principal OR taken.session_issuer = :principal
    OR taken.resource = :principal)
  AND (:account IS NULL OR taken.account = :account)
  AND taken.time >= :since AND taken.time < :until
  AND taken.eventday BETWEEN :since_day AND :until_day
ORDER BY taken.time, taken.uid
LIMIT :limit
