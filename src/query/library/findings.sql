-- question: What did GuardDuty and CloudTrail Insights find?
-- group: findings and events
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: Each finding once, as its last update says, the gravest first.
-- limits: Findings that were archived by hand are not exported again; suppressed ones are not
--   exported at all.
-- takes: account, text, optional
-- takes: region, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
WITH updates AS (
  SELECT *,
    row_number() OVER (PARTITION BY finding_uid ORDER BY time DESC, uid DESC) AS nth,
    min(time) OVER (PARTITION BY finding_uid) AS first_update,
    count(*) OVER (PARTITION BY finding_uid) AS updates
  FROM events
  WHERE class = 'detection_finding'
    AND (:account IS NULL OR account = :account)
    AND (:region IS NULL OR region = :region)
    AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
)
SELECT time AS last_update, first_update, updates, severity_id, operation AS type, title, status,
  account, account_name, region, actor_arn, access_key, src_ip, dst_ip, instance_uid, resource,
  finding_uid, uid
FROM updates
WHERE nth = 1
ORDER BY severity_id DESC, last_update, finding_uid
LIMIT :limit
