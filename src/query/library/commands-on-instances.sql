-- question: Who ran commands or opened sessions on instances?
-- group: compute
-- technique: T1651 Cloud Administration Command
-- means: Commands and sessions of Systems Manager, keys pushed by EC2 Instance Connect, serial
--   consoles, and changes of user data, which run at the next start.
-- limits: What was typed in a session is in its own log, if one was set up.
-- takes: account, text, optional
-- takes: instance, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, region, service, operation, status, error, actor_arn, access_key,
  src_ip,
  coalesce(json_extract_scalar(request, '$.target'),
    json_extract_scalar(request, '$.instanceId'),
    json_extract_scalar(request, '$.instanceIds[0]')) AS target,
  json_extract_scalar(request, '$.documentName') AS document, request, uid
FROM events
WHERE class = 'api_activity'
  AND (operation IN ('SendCommand', 'StartSession', 'ResumeSession', 'StartAutomationExecution',
      'CreateAssociation', 'SendSSHPublicKey', 'SendSerialConsoleSSHPublicKey', 'ExecuteCommand',
      'EnableSerialConsoleAccess', 'GetPasswordData')
    OR (operation = 'ModifyInstanceAttribute' AND request LIKE '%userData%'))
  AND (:account IS NULL OR account = :account)
  AND (:instance IS NULL OR request LIKE '%' || :instance || '%')
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
