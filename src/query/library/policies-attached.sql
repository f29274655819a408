-- question: Which managed policies were attached, and which of them give everything?
-- group: persistence and privileges
-- technique: T1098.003 Account Manipulation: Additional Cloud Roles
-- means: One row for each attachment; gives_everything is true for AWS's policies that make an
--   administrator.
-- limits: Policies of your own may give as much, and inline policies are in privilege-changes.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, operation, status, error, actor_arn, src_ip,
  coalesce(json_extract_scalar(request, '$.userName'), json_extract_scalar(request, '$.roleName'),
    json_extract_scalar(request, '$.groupName')) AS target,
  json_extract_scalar(request, '$.policyArn') AS policy,
  regexp_like(json_extract_scalar(request, '$.policyArn'),
    ':policy/(AdministratorAccess|PowerUserAccess|IAMFullAccess)$') AS gives_everything, uid
FROM events
WHERE operation IN ('AttachUserPolicy', 'AttachRolePolicy', 'AttachGroupPolicy')
  AND class = 'account_change'
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
