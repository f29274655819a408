-- question: Who signed in, from where, and with which outcome?
-- group: sign-ins
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: Sign-ins to the console and to IAM Identity Center, also failed ones, with the second
--   factor where the event tells it.
-- limits: Federated users prove their second factor elsewhere, so that it reads false. Names of
--   unknown users are hidden by AWS, since people type passwords there.
-- takes: account, text, optional
-- takes: address, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, region, operation, status, error, message,
  coalesce(actor_arn, actor_name, actor_id) AS who, actor_type, is_mfa, src_ip, user_agent, uid
FROM events
WHERE class = 'authentication'
  AND operation IN ('ConsoleLogin', 'UserAuthentication', 'ExternalIdPDirectoryLogin')
  AND (:account IS NULL OR account = :account)
  AND (:address IS NULL OR src_ip = :address)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
