-- question: What did this user or role do?
-- group: keys and principals
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: Every call of the principal, oldest first: of a user by ARN, name or principal id, of a
--   role by its ARN, which all of its sessions have as issuer, of one session by the session's
--   ARN.
-- limits: A name is not unique across accounts; give an ARN, or --account as well.
-- takes: principal, text, required
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 10000
SELECT time, account, account_name, region, service, operation, status, error, actor_arn,
  session_issuer, access_key, src_ip, src_domain, user_agent, resource, request, uid, log_name
FROM events
WHERE (actor_arn = :principal OR actor_name = :principal OR session_issuer = :principal
    OR actor_id = :principal)
  AND class IN ('api_activity', 'account_change', 'authentication')
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
