-- question: What was called, by whom, from this address?
-- group: keys and principals
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: Every call and sign-in from the address, and every finding whose first evidence names
--   it, oldest first. Several principals from an address that is not yours mean several stolen
--   credentials.
-- limits: An address may be shared: a gateway, a VPN, a scanner. For its packets ask address-in-
--   flows.
-- takes: address, text, required
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 10000
SELECT time, account, account_name, region, class, service, operation, status, error, actor_arn,
  access_key, new_key, user_agent, resource, title, request, uid, log_name
FROM events
WHERE src_ip = :address
  AND class <> 'network_activity'
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
