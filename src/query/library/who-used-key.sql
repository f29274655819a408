-- question: Who used this access key, from where, and for what?
-- group: keys and principals
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: Every call that was signed with the key, oldest first. What is not from the addresses
--   and programs of its owner is suspicious; an intruder on the owner's machine shares both.
-- limits: Calls that CloudTrail does not record (data events that are not switched on) are not
--   there. Calls of sessions that the key gave out have keys of their own: keys-made-by-key.
-- takes: key, text, required
-- takes: address, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 10000
SELECT time, account, account_name, region, service, operation, status, error, actor_arn, src_ip,
  src_domain, user_agent, resource, request, uid, log_name
FROM events
WHERE access_key = :key
  AND class IN ('api_activity', 'account_change', 'authentication')
  AND (:address IS NULL OR src_ip = :address)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
