-- question: Which findings are about this key, instance or address?
-- group: findings and events
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: Every update of every finding that names one of those that are given, in any of its
--   evidences or resources.
-- limits: Give at least one of --key, --instance and --address. Addresses in the text of a
--   finding alone are not found.
-- takes: key, text, optional
-- takes: instance, text, optional
-- takes: address, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time_dt AS time, finding_info.uid AS finding_uid, element_at(finding_info.types, 1) AS type,
  finding_info.title AS title, severity, status, cloud.account.uid AS account, region,
  element_at(resources, 1).uid AS resource, metadata.uid AS uid
FROM detection_finding
WHERE (any_match(evidences, e -> (e).actor."user".credential_uid = :key
      OR (e).src_endpoint.ip = :address OR (e).dst_endpoint.ip = :address
      OR (e).src_endpoint.instance_uid = :instance OR (e).dst_endpoint.instance_uid = :instance)
    OR any_match(resources, r -> (r).uid = :key OR (r).name = :instance))
  AND time_dt >= :since AND time_dt < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time_dt, metadata.uid
LIMIT :limit
