-- question: Which buckets, snapshots, images or functions were opened to others?
-- group: data
-- technique: T1537 Transfer Data to Cloud Account
-- means: Calls whose request opens something: public ACLs and policies, blocks against public
--   access taken away, snapshots and images shared, functions that anybody may call. What was
--   opened is in the request.
-- limits: Recognized by the text of the request: a policy with conditions may be less open than
--   it looks. Presigned addresses leave no trace.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
WITH calls AS (
  SELECT *,
    replace(replace(replace(replace(replace(request, '\n', ''), '\r', ''), '\t', ''), '\', ''), ' ', '')
      AS flat
  FROM events
  WHERE class = 'api_activity'
    AND (:account IS NULL OR account = :account)
    AND time >= :since AND time < :until
    AND eventday BETWEEN :since_day AND :until_day
)
SELECT time, account, account_name, region, service, operation, status, error, actor_arn, access_key,
  src_ip,
  coalesce(bucket, json_extract_scalar(request, '$.snapshotId'),
    json_extract_scalar(request, '$.imageId'),
    json_extract_scalar(request, '$.dBSnapshotIdentifier'),
    json_extract_scalar(request, '$.dBClusterSnapshotIdentifier'),
    json_extract_scalar(request, '$.functionName'),
    json_extract_scalar(request, '$.repositoryName'), json_extract_scalar(request, '$.secretId'),
    resource) AS opened, request, uid
FROM calls
WHERE (operation IN ('PutBucketAcl', 'PutObjectAcl', 'CreateBucket', 'PutObject', 'CopyObject',
        'CreateMultipartUpload')
      AND regexp_like(flat,
        'global/(All|Authenticated)Users|"x-amz-acl":[\[]?"(public|authenticated)-read'))
    OR (operation IN ('PutBucketPolicy', 'SetRepositoryPolicy', 'PutResourcePolicy', 'PutKeyPolicy')
      AND (regexp_like(flat, '"Effect":"Allow"[^{}]*'
          || '"Principal":("[*]"|[{][^{}]*"AWS":("|[\[][^\]]*")[*]")')
        OR regexp_like(flat, '"Principal":("[*]"|[{][^{}]*"AWS":("|[\[][^\]]*")[*]"[^{}]*[}])'
          || '[^{}]*"Effect":"Allow"')))
    OR operation IN ('DeleteBucketPublicAccessBlock', 'DeleteAccountPublicAccessBlock',
      'DisableSnapshotBlockPublicAccess', 'DisableImageBlockPublicAccess')
    OR (operation IN ('PutBucketPublicAccessBlock', 'PutAccountPublicAccessBlock')
      AND regexp_like(request, '(Acls|Policy|Buckets)":\s*"?false'))
    OR (operation IN ('ModifySnapshotAttribute', 'ModifyImageAttribute')
      AND regexp_like(request, '"add":.*"(group|userId)":'))
    OR (operation IN ('ModifyDBSnapshotAttribute', 'ModifyDBClusterSnapshotAttribute')
      AND regexp_like(request, '"valuesToAdd":\s*[\[]\s*"'))
    OR (operation LIKE 'AddPermission%' AND json_extract_scalar(request, '$.principal') = '*')
    OR (operation LIKE '%FunctionUrlConfig%'
      AND json_extract_scalar(request, '$.authType') = 'NONE')
ORDER BY time, uid
LIMIT :limit
