-- question: Who signed in to the console with a password alone?
-- group: sign-ins
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: Sign-ins of users and of root that succeeded without a second factor: a stolen password
--   was enough.
-- limits: Federated users are left out: their second factor is asked for elsewhere, and
--   CloudTrail says no for all of them.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, region, coalesce(actor_arn, actor_name) AS who, actor_type,
  src_ip, user_agent, uid, log_name
FROM events
WHERE class = 'authentication' AND operation = 'ConsoleLogin' AND status = 'Success'
  AND actor_type IN ('IAMUser', 'Root')
  AND (is_mfa IS NULL OR NOT is_mfa)
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
