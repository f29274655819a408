-- question: Was a root user used?
-- group: sign-ins
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: Every call and sign-in of a root user. There should be next to none, each one
--   announced.
-- limits: Calls that AWS made in the name of root (invoked_by) are left out.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, region, service, operation, status, error, src_ip, access_key,
  user_agent, request, uid, log_name
FROM events
WHERE actor_type = 'Root' AND invoked_by IS NULL
  AND class IN ('api_activity', 'account_change', 'authentication')
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
