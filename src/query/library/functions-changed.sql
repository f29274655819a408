-- question: Which Lambda functions were made or changed?
-- group: compute
-- technique: T1648 Serverless Execution
-- means: New code, settings, triggers and permissions of functions: a way to stay, and to run
--   with another role.
-- limits: Calls to functions need Lambda data events.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, region, operation, status, error, actor_arn, access_key, src_ip,
  json_extract_scalar(request, '$.functionName') AS function,
  json_extract_scalar(request, '$.role') AS role, user_agent, uid
FROM events
WHERE class = 'api_activity' AND service = 'lambda.amazonaws.com'
  AND (operation LIKE 'CreateFunction%' OR operation LIKE 'UpdateFunction%'
    OR operation LIKE 'AddPermission%' OR operation LIKE 'CreateEventSourceMapping%'
    OR operation LIKE 'PublishLayerVersion%')
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
