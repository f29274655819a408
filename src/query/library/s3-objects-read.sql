-- question: Which objects of this bucket were read, by whom?
-- group: data
-- technique: T1530 Data from Cloud Storage
-- means: One row for each object that was sent or refused, oldest first: the list for those
--   whose data it is.
-- limits: Needs S3 data events in CloudTrail, which are off by default.
-- takes: bucket, text, required
-- takes: address, text, optional
-- takes: key, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 100000
SELECT time, account, region, operation, status, error,
  json_extract_scalar(request, '$.key') AS object, bytes_out AS bytes, actor_arn,
  access_key, src_ip, src_domain, user_agent, uid
FROM events
WHERE class = 'api_activity' AND service = 's3.amazonaws.com'
  AND operation IN ('GetObject', 'SelectObjectContent', 'CopyObject', 'GetObjectTorrent')
  AND bucket = :bucket
  AND (:address IS NULL OR src_ip = :address)
  AND (:key IS NULL OR access_key = :key)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
