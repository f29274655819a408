-- question: Did anybody switch off trails, detectors, recorders or flow logs?
-- group: defense evasion and discovery
-- technique: T1562.008 Impair Defenses: Disable or Modify Cloud Logs
-- means: Calls that stop, delete or weaken what would have seen the rest, also those that were
--   refused: a refused try is as telling. After one that succeeded, silence in the lake is no
--   proof.
-- limits: UpdateDetector, UpdateTrail and PutEventSelectors also strengthen: read the request.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT time, account, account_name, region, service, operation, status, error, actor_arn, access_key,
  src_ip, user_agent, request, uid
FROM events
WHERE operation IN ('StopLogging', 'DeleteTrail', 'UpdateTrail', 'PutEventSelectors',
    'DeleteEventDataStore', 'StopEventDataStoreIngestion', 'DeleteDetector', 'UpdateDetector',
    'DeletePublishingDestination', 'DisassociateFromMasterAccount',
    'DisassociateFromAdministratorAccount', 'DisassociateMembers', 'DeleteMembers',
    'StopMonitoringMembers', 'DisableOrganizationAdminAccount', 'CreateFilter', 'UpdateFilter',
    'CreateIPSet', 'UpdateIPSet', 'DisableSecurityHub', 'BatchDisableStandards',
    'StopConfigurationRecorder', 'DeleteConfigurationRecorder', 'DeleteDeliveryChannel',
    'DeleteFlowLogs', 'DeleteLogGroup', 'DeleteLogStream', 'DeleteAlarms', 'DisableAlarmActions',
    'DeleteSubscriptionFilter', 'DeleteAnalyzer', 'DisableMacie', 'DeleteDataLake',
    'LeaveOrganization', 'DeleteResolverQueryLogConfig', 'DeleteWebACL',
    'DeleteLoggingConfiguration')
  AND service IN ('cloudtrail.amazonaws.com', 'guardduty.amazonaws.com', 'securityhub.amazonaws.com',
    'config.amazonaws.com', 'ec2.amazonaws.com', 'logs.amazonaws.com', 'monitoring.amazonaws.com',
    'access-analyzer.amazonaws.com', 'macie2.amazonaws.com', 'securitylake.amazonaws.com',
    'organizations.amazonaws.com', 'route53resolver.amazonaws.com', 'wafv2.amazonaws.com')
  AND class IN ('api_activity', 'account_change')
  AND (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
ORDER BY time, uid
LIMIT :limit
