-- question: What was deleted: objects, buckets, databases, disks, backups?
-- group: data
-- technique: T1485 Data Destruction
-- means: By principal, address and operation, with the number of calls. Deletions of backups and
--   versions before those of data are the way of ransom.
-- limits: Single objects need S3 data events. Lifecycle rules delete without a call.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT account, account_name, region, operation, coalesce(session_issuer, actor_arn) AS principal,
  access_key, src_ip, count(*) AS calls, count(*) FILTER (WHERE status = 'Failure') AS failures,
  min(time) AS first_time, max(time) AS last_time,
  array_join(array_sort(array_agg(DISTINCT bucket)), ', ') AS buckets
FROM events
WHERE class = 'api_activity' AND invoked_by IS NULL
  AND (operation IN ('DeleteObject', 'DeleteObjects', 'DeleteBucket', 'DeleteDBInstance',
      'DeleteDBCluster', 'DeleteDBSnapshot', 'DeleteDBClusterSnapshot', 'DeleteSnapshot',
      'DeleteVolume',
      'DeregisterImage', 'TerminateInstances', 'DeleteTable', 'DeleteBackup', 'DeleteBackupVault',
      'DeleteRecoveryPoint', 'DeleteFileSystem', 'DeleteRepository', 'DeleteStack',
      'DeleteBucketLifecycle', 'PutBucketLifecycle', 'PutBucketLifecycleConfiguration')
    OR (operation = 'PutBucketVersioning' AND request LIKE '%Suspended%'))
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY account, account_name, region, operation, coalesce(session_issuer, actor_arn), access_key,
  src_ip
ORDER BY first_time, operation, principal, access_key, src_ip, account, region
LIMIT :limit
