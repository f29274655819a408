-- question: Who read how much from which bucket?
-- group: data
-- technique: T1530 Data from Cloud Storage
-- means: Objects and bytes that S3 sent, by bucket, principal, key and address, most bytes
--   first.
-- limits: Needs S3 data events in CloudTrail, which are off by default. Bytes are those that S3
--   reports for each answer.
-- takes: bucket, text, optional
-- takes: address, text, optional
-- takes: key, text, optional
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 100
SELECT bucket, account, coalesce(session_issuer, actor_arn, actor_id) AS principal, access_key,
  src_ip, src_domain, count(*) AS reads,
  count(DISTINCT json_extract_scalar(request, '$.key')) AS objects,
  sum(bytes_out) AS bytes, count(*) FILTER (WHERE status = 'Failure') AS failures,
  min(time) AS first_time, max(time) AS last_time
FROM events
WHERE class = 'api_activity' AND service = 's3.amazonaws.com'
  AND operation IN ('GetObject', 'SelectObjectContent', 'CopyObject', 'GetObjectTorrent')
  AND (:bucket IS NULL OR bucket = :bucket)
  AND (:address IS NULL OR src_ip = :address)
  AND (:key IS NULL OR access_key = :key)
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY bucket, account, coalesce(session_issuer, actor_arn, actor_id), access_key, src_ip,
  src_domain
ORDER BY bytes DESC NULLS LAST, reads DESC, bucket, principal, src_ip,
  access_key, src_domain, account
LIMIT :limit
