-- question: Which principals of one account acted in another?
-- group: keys and principals
-- technique: T1199 Trusted Relationship
-- means: One row for each pair of accounts and principal. Accounts that are not of the
--   organization (without a name, if --accounts was given to the load) are the first to look at.
-- limits: A session acts as its role's account: who took the role is in assume-role-chains.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT actor_account, account, account_name,
  coalesce(session_issuer, actor_arn, actor_id) AS principal,
  actor_type, min(time) AS first_time, max(time) AS last_time, count(*) AS calls,
  count(*) FILTER (WHERE status = 'Failure') AS failures,
  array_join(array_sort(array_agg(DISTINCT operation)), ', ') AS operations,
  array_join(array_sort(array_agg(DISTINCT src_ip)), ', ') AS addresses
FROM events
WHERE class IN ('api_activity', 'account_change', 'authentication')
  AND actor_account IS NOT NULL AND actor_account <> account
  AND (actor_type IS NULL OR actor_type <> 'AWSService')
  AND (:account IS NULL OR account = :account OR actor_account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY actor_account, account, account_name, coalesce(session_issuer, actor_arn, actor_id),
  actor_type
ORDER BY first_time, actor_account, account, principal, actor_type
LIMIT :limit
