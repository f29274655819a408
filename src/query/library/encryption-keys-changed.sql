-- question: Which KMS keys were disabled, marked for deletion, or opened to others?
-- group: data
-- technique: T1486 Data Encrypted for Impact
-- means: Calls that take away or give away keys of KMS. A key that is marked for deletion can be
--   saved until its waiting period ends.
-- limits: Grants that AWS services make for themselves are left out.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, region, operation, status, error, actor_arn, access_key, src_ip,
  coalesce(json_extract_scalar(request, '$.keyId'), resource) AS key, request, uid
FROM events
WHERE class = 'api_activity' AND service = 'kms.amazonaws.com' AND invoked_by IS NULL
  AND operation IN ('DisableKey', 'ScheduleKeyDeletion', 'PutKeyPolicy', 'CreateGrant',
    'DeleteImportedKeyMaterial', 'ImportKeyMaterial', 'DisableKeyRotation', 'UpdateAlias',
    'DeleteAlias')
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
