-- question: Which secrets were read, by whom?
-- group: data
-- technique: T1555.006 Credentials from Password Stores: Cloud Secrets Management Stores
-- means: One row for each secret, principal and address: Secrets Manager, encrypted parameters
--   of SSM, passwords of Windows instances. What an intruder read is to be replaced.
-- limits: Secrets in batches (BatchGetSecretValue, GetParameters) are named in the request only.
-- takes: address, text, optional
-- takes: key, text, optional
-- takes: principal, text, optional
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT operation, coalesce(json_extract_scalar(request, '$.secretId'),
    json_extract_scalar(request, '$.name'), json_extract_scalar(request, '$.path'),
    json_extract_scalar(request, '$.instanceId'), request) AS secret, account, account_name, region,
  coalesce(session_issuer, actor_arn) AS principal, access_key, src_ip, src_domain,
  count(*) AS calls,
  count(*) FILTER (WHERE status = 'Failure') AS failures, min(time) AS first_time,
  max(time) AS last_time
FROM events
WHERE class = 'api_activity'
  AND (operation IN ('GetSecretValue', 'BatchGetSecretValue', 'GetPasswordData')
    OR (operation IN ('GetParameter', 'GetParameters', 'GetParametersByPath', 'GetParameterHistory')
      AND json_extract_scalar(request, '$.withDecryption') = 'true'))
  AND (:address IS NULL OR src_ip = :address)
  AND (:key IS NULL OR access_key = :key)
  AND (:principal IS NULL OR actor_arn = :principal OR session_issuer = :principal)
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY operation, coalesce(json_extract_scalar(request, '$.secretId'),
    json_extract_scalar(request, '$.name'), json_extract_scalar(request, '$.path'),
    json_extract_scalar(request, '$.instanceId'), request), account, account_name, region,
  coalesce(session_issuer, actor_arn), access_key, src_ip, src_domain
ORDER BY first_time, secret, principal, access_key, src_ip, operation, account, region
LIMIT :limit
