-- question: What happened in each account, day by day?
-- group: findings and events
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: Calls, failures, principals, addresses, sign-ins, findings and traffic of each day and
--   account: where to look first.
-- limits: Days are of UTC.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT eventday AS day, account, account_name,
  count(*) FILTER (WHERE class IN ('api_activity', 'account_change', 'authentication')) AS calls,
  count(*) FILTER (WHERE status = 'Failure') AS failures,
  count(*) FILTER (WHERE class = 'account_change') AS account_changes,
  count(*) FILTER (WHERE operation = 'ConsoleLogin') AS console_sign_ins,
  count(DISTINCT coalesce(session_issuer, actor_arn)) AS principals,
  count(DISTINCT src_ip) FILTER (WHERE class <> 'network_activity') AS addresses,
  count(DISTINCT finding_uid) AS findings,
  count(*) FILTER (WHERE class = 'network_activity') AS flows,
  sum(bytes) AS flow_bytes
FROM events
WHERE (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY eventday, account, account_name
ORDER BY day, account
LIMIT :limit
