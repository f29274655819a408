-- question: Which security groups were opened, and which of them to the world?
-- group: compute
-- technique: T1562.007 Impair Defenses: Disable or Modify Cloud Firewall
-- means: Rules that were added, in and out; to_world is true for 0.0.0.0/0 and ::/0. A rule for
--   one single address is as interesting: it may be the intruder's.
-- limits: Says what was asked for, not whether a rule was there before or was taken away later
--   (RevokeSecurityGroupIngress).
-- takes: account, text, optional
-- takes: address, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, region, operation, status, error, actor_arn, access_key, src_ip,
  coalesce(json_extract_scalar(request, '$.groupId'),
    json_extract_scalar(request, '$.ModifySecurityGroupRulesRequest.GroupId')) AS security_group,
  regexp_like(request, '"(0[.]0[.]0[.]0/0|::/0)"') AS to_world,
  json_extract_scalar(request, '$.ipPermissions.items[0].fromPort') AS from_port,
  json_extract_scalar(request, '$.ipPermissions.items[0].toPort') AS to_port, request, uid
FROM events
WHERE class = 'api_activity'
  AND operation IN ('AuthorizeSecurityGroupIngress', 'AuthorizeSecurityGroupEgress',
    'ModifySecurityGroupRules')
  AND (:account IS NULL OR account = :account)
  AND (:address IS NULL OR request LIKE '%"' || :address || '/%')
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
