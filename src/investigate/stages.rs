//! Which stage of an intrusion a call belongs to.
//!
//! # Input
//! Calls.
//! # Maps to
//! ATT&CK tactics, in their order.
//! # Known gaps
//! One tactic for a call, its most telling one. What is not in the table is discovery if it reads and
//! impact if it deletes, else execution.
//! # Reference
//! <https://attack.mitre.org/matrices/enterprise/cloud/>; where AWS's calls belong:
//! <https://center-for-threat-informed-defense.github.io/mappings-explorer/external/aws/>.

use super::document::Call;

/// Tactics in the order of the matrix.
pub const TACTICS: [&str; 12] = [
    "Initial Access",
    "Execution",
    "Persistence",
    "Privilege Escalation",
    "Defense Evasion",
    "Credential Access",
    "Discovery",
    "Lateral Movement",
    "Collection",
    "Command and Control",
    "Exfiltration",
    "Impact",
];

/// What changes something and belongs to no tactic by its name alone; it comes last.
const OTHER: &str = "Other changes";

/// Operations and their tactic.
const OPERATIONS: [(&str, &[&str]); 10] = [
    (
        "Initial Access",
        &["ConsoleLogin", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "UserAuthentication"],
    ),
    (
        "Execution",
        &[
            "CreateFunction20150331",
            "Invoke",
            "RunInstances",
            "RunTask",
            "SendCommand",
            "SendSSHPublicKey",
            "StartInstances",
            "StartSession",
            "UpdateFunctionCode20150331v2",
        ],
    ),
    (
        "Persistence",
        &[
            "AddPermission20150331v2",
            "ChangePassword",
            "CreateAccessKey",
            "CreateLoginProfile",
            "CreateRole",
            "CreateUser",
            "CreateKeyPair",
            "CreateOpenIDConnectProvider",
            "CreateSAMLProvider",
            "CreateProfile",
            "CreateServiceSpecificCredential",
            "CreateTrustAnchor",
            "EnableMFADevice",
            "ImportKeyPair",
            "UpdateAccessKey",
            "UpdateAssumeRolePolicy",
            "UpdateLoginProfile",
            "UpdateSAMLProvider",
            "UploadSigningCertificate",
        ],
    ),
    (
        "Privilege Escalation",
        &[
            "AddRoleToInstanceProfile",
            "AddUserToGroup",
            "AssociateIamInstanceProfile",
            "AttachGroupPolicy",
            "AttachRolePolicy",
            "AttachUserPolicy",
            "CreatePolicyVersion",
            "DeleteRolePermissionsBoundary",
            "DeleteUserPermissionsBoundary",
            "PutGroupPolicy",
            "PutRolePolicy",
            "PutUserPolicy",
            "SetDefaultPolicyVersion",
        ],
    ),
    (
        "Defense Evasion",
        &[
            "AuthorizeSecurityGroupEgress",
            "AuthorizeSecurityGroupIngress",
            "CreateFilter",
            "DeactivateMFADevice",
            "DeleteConfigRule",
            "DeleteConfigurationRecorder",
            "DeleteDetector",
            "DeleteEventDataStore",
            "DeleteFlowLogs",
            "DeleteLogGroup",
            "DeletePublicAccessBlock",
            "DeleteResolverQueryLogConfig",
            "DeleteTrail",
            "DisableAlarmActions",
            "DisableOrganizationAdminAccount",
            "DisableSecurityHub",
            "DisassociateFromAdministratorAccount",
            "DisassociateFromMasterAccount",
            "LeaveOrganization",
            "PutBucketPublicAccessBlock",
            "PutEventSelectors",
            "StopConfigurationRecorder",
            "StopLogging",
            "UpdateDetector",
            "UpdateTrail",
        ],
    ),
    (
        "Credential Access",
        &[
            "BatchGetSecretValue",
            "GetParameter",
            "GetParameters",
            "GetParametersByPath",
            "GetPasswordData",
            "GetSecretValue",
        ],
    ),
    (
        "Lateral Movement",
        &["AssumeRole", "AssumeRoot", "GetFederationToken", "GetSessionToken", "SwitchRole"],
    ),
    (
        "Impact",
        &["InvokeModel", "InvokeModelWithResponseStream", "RebootInstances", "StopInstances"],
    ),
    ("Collection", &["CreateSnapshot", "CreateSnapshots", "CreateImage", "CreateDBSnapshot"]),
    (
        "Exfiltration",
        &[
            "CopyObject",
            "GetObject",
            "ModifyDBSnapshotAttribute",
            "ModifyImageAttribute",
            "ModifySnapshotAttribute",
            "PutBucketAcl",
            "PutBucketPolicy",
            "PutBucketReplication",
            "SharedSnapshotVolumeCreated",
        ],
    ),
];

/// The tactic of a call.
pub fn stage(call: &Call) -> &'static str {
    let operation = call.operation();
    let known = OPERATIONS.iter().find(|(_, operations)| operations.contains(&operation));
    match known {
        Some((tactic, _)) => tactic,
        None if call.is_read() => "Discovery",
        None if ["Delete", "Terminate", "Schedule"]
            .iter()
            .any(|verb| operation.starts_with(verb)) =>
        {
            "Impact"
        }
        None => OTHER,
    }
}

/// Its place in the order of [`TACTICS`].
pub fn order(tactic: &str) -> usize {
    TACTICS.iter().position(|one| *one == tactic).unwrap_or(TACTICS.len())
}
