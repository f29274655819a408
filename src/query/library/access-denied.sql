-- question: What was refused, to whom?
-- group: defense evasion and discovery
-- technique: T1580 Cloud Infrastructure Discovery
-- means: Every call that was refused for lack of rights, oldest first: what an intruder wanted
--   and did not get.
-- limits: Other failures (limits, missing things) are left out. Roles that lack a right are
--   refused every day.
-- takes: address, text, optional
-- takes: key, text, optional
-- takes: principal, text, optional
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 10000
SELECT time, account, account_name, region, service, operation, error, message, actor_arn,
  access_key,  src_ip, src_domain, user_agent, uid
FROM events
WHERE status = 'Failure'
  AND class IN ('api_activity', 'account_change', 'authentication')
  AND (error IN ('AccessDenied', 'AccessDeniedException', 'UnauthorizedOperation',
      'Client.UnauthorizedOperation', 'Unauthorized', 'UnauthorizedAccess', 'AuthorizationError')
    OR error LIKE '%AccessDenied%' OR error LIKE '%UnauthorizedOperation%')
  AND (:address IS NULL OR src_ip = :address)
  AND (:key IS NULL OR access_key = :key)
  AND (:principal IS NULL OR actor_arn = :principal OR session_issuer = :principal)
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
