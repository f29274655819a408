-- question: Who was given more rights, and by whom?
-- group: persistence and privileges
-- technique: T1098.003 Account Manipulation: Additional Cloud Roles
-- means: Policies attached, written or put in force, groups joined, boundaries removed, trust of
--   roles widened, roles given to instances, permission sets and assignments of IAM Identity
--   Center, service control policies taken off.
-- limits: Names the change, not what it allows: read the policy in the request.
-- takes: principal, text, optional
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, service, operation, status, error, actor_arn, access_key, src_ip,
  coalesce(json_extract_scalar(request, '$.userName'), json_extract_scalar(request, '$.roleName'),
    json_extract_scalar(request, '$.groupName'), json_extract_scalar(request, '$.targetId'),
    json_extract_scalar(request, '$.principalId'), resource) AS target,
  coalesce(json_extract_scalar(request, '$.policyArn'), json_extract_scalar(request, '$.policyName'),
    json_extract_scalar(request, '$.policyId'), json_extract_scalar(request, '$.permissionSetArn'))
    AS policy, request, uid
FROM events
WHERE operation IN ('AttachUserPolicy', 'AttachRolePolicy', 'AttachGroupPolicy', 'PutUserPolicy',
    'PutRolePolicy', 'PutGroupPolicy', 'AddUserToGroup', 'CreatePolicyVersion',
    'SetDefaultPolicyVersion', 'UpdateAssumeRolePolicy', 'PutUserPermissionsBoundary',
    'PutRolePermissionsBoundary', 'DeleteUserPermissionsBoundary', 'DeleteRolePermissionsBoundary',
    'AddRoleToInstanceProfile', 'AssociateIamInstanceProfile',
    'ReplaceIamInstanceProfileAssociation', 'CreateAccountAssignment', 'CreateGroupMembership',
    'AttachManagedPolicyToPermissionSet', 'PutInlinePolicyToPermissionSet',
    'AttachCustomerManagedPolicyReferenceToPermissionSet', 'DetachPolicy', 'DisablePolicyType')
  AND service IN ('iam.amazonaws.com', 'ec2.amazonaws.com', 'sso.amazonaws.com',
    'identitystore.amazonaws.com', 'organizations.amazonaws.com')
  AND class IN ('api_activity', 'account_change')
  AND (:principal IS NULL OR actor_arn = :principal OR session_issuer = :principal)
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
