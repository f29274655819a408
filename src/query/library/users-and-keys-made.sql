-- question: Which users, roles, keys and passwords were made?
-- group: persistence and privileges
-- technique: T1136.003 Create Account: Cloud Account
-- means: What an intruder makes to come back, also what was tried and refused. Whoever is not an
--   administrator or a deployment tool is to explain it.
-- limits: Who used a new key is in who-used-key and keys-made-by-key.
-- takes: principal, text, optional
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, operation, status, error, actor_arn, access_key, src_ip,
  coalesce(json_extract_scalar(request, '$.userName'), json_extract_scalar(request, '$.roleName'),
    resource) AS made_for, new_key, user_agent, uid
FROM events
WHERE operation IN ('CreateUser', 'CreateAccessKey', 'CreateLoginProfile', 'UpdateLoginProfile',
    'UpdateAccessKey', 'CreateRole', 'CreateServiceSpecificCredential', 'UploadSSHPublicKey',
    'UploadSigningCertificate', 'CreateVirtualMFADevice', 'CreateSAMLProvider', 'UpdateSAMLProvider',
    'CreateOpenIDConnectProvider', 'CreateProfile', 'CreateTrustAnchor', 'GetFederationToken')
  AND service IN ('iam.amazonaws.com', 'sts.amazonaws.com', 'rolesanywhere.amazonaws.com')
  AND class IN ('api_activity', 'account_change')
  AND (:principal IS NULL OR actor_arn = :principal OR session_issuer = :principal)
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
