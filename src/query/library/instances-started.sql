-- question: Which instances were started, where, and by whom?
-- group: compute
-- technique: T1578.002 Modify Cloud Compute Infrastructure: Create Cloud Instance
-- means: Every RunInstances, also failed ones (a run of limit errors over regions is somebody
--   who mines), with kind and number.
-- limits: Auto Scaling and other services start instances too: src_domain names them. Of several
--   instances in one call the first id is shown.
-- takes: account, text, optional
-- takes: region, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, region, status, error, actor_arn, access_key, src_ip, src_domain,
  json_extract_scalar(request, '$.instanceType') AS instance_type,
  json_extract_scalar(request, '$.instancesSet.items[0].maxCount') AS wanted,
  json_extract_scalar(response, '$.instancesSet.items[0].instanceId') AS instance,
  json_extract_scalar(request, '$.instancesSet.items[0].imageId') AS image, user_agent, uid
FROM events
WHERE class = 'api_activity' AND operation = 'RunInstances'
  AND (:account IS NULL OR account = :account)
  AND (:region IS NULL OR region = :region)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
