-- question: Whose second factor was taken away or replaced?
-- group: persistence and privileges
-- technique: T1556.006 Modify Authentication Process: Multi-Factor Authentication
-- means: Devices that were deactivated, deleted or newly enabled. One that is removed and
--   followed by another belongs to somebody else now.
-- limits: The second factor of an identity provider outside of AWS is not there.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, service, operation, status, error, actor_arn, src_ip,
  coalesce(json_extract_scalar(request, '$.userName'), json_extract_scalar(request, '$.userId'),
    resource) AS target, user_agent, uid
FROM events
WHERE operation IN ('DeactivateMFADevice', 'DeleteVirtualMFADevice', 'EnableMFADevice',
    'ResyncMFADevice', 'DeleteMfaDeviceForUser', 'CompleteVirtualMfaDeviceRegistration',
    'CompleteWebAuthnDeviceRegistration', 'UpdateMfaDeviceManagementForDirectory')
  AND class IN ('api_activity', 'account_change')
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
