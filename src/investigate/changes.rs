//! What intruders leave, and what undoes it.
//!
//! # Input
//! Operations.
//! # Maps to
//! [`CHANGES`], the table: what a call leaves, how that is named, and which call takes it away.
//! # Known gaps
//! Policies are not evaluated: one that allows something counts as opened, whatever its conditions say.
//! # Reference
//! The services' API references; <https://stratus-red-team.cloud/attack-techniques/AWS/>.

use serde_json::Value;

use super::document::Call;

/// How one kind of change is named and undone.
pub struct Change {
    /// Operations that make it.
    pub operations: &'static [&'static str],
    /// What it is.
    pub what: &'static str,
    /// Paths of the response or request that together name the thing.
    pub names: &'static [&'static str],
    /// Operations that undo it.
    pub undone_by: &'static [&'static str],
    /// What to do about it.
    pub undo: &'static str,
    /// Whether a call is one of these.
    pub is_it: fn(&Call) -> bool,
}

impl Change {
    const fn only(mut self, is_it: fn(&Call) -> bool) -> Self {
        self.is_it = is_it;
        self
    }
}

const fn change(
    operations: &'static [&'static str],
    what: &'static str,
    names: &'static [&'static str],
    undone_by: &'static [&'static str],
    undo: &'static str,
) -> Change {
    Change { operations, what, names, undone_by, undo, is_it: |_| true }
}

/// Operations that take a thing away with all that is on it.
pub const WHOLE: [&str; 7] = [
    "DeleteBucket",
    "DeleteDetector",
    "DeleteGroup",
    "DeleteRole",
    "DeleteSecurityGroup",
    "DeleteUser",
    "TerminateInstances",
];

/// The table.
pub static CHANGES: &[Change] = &[
    change(
        &["CreateAccessKey"],
        "access key",
        &["accessKey.accessKeyId"],
        &["DeleteAccessKey"],
        "UpdateAccessKey (Inactive), then DeleteAccessKey",
    ),
    change(&["CreateUser"], "user", &["userName"], &["DeleteUser"], "DeleteUser"),
    change(
        &["CreateLoginProfile", "UpdateLoginProfile"],
        "console password",
        &["userName"],
        &["DeleteLoginProfile"],
        "DeleteLoginProfile",
    ),
    change(&["CreateRole"], "role", &["roleName"], &["DeleteRole"], "DeleteRole"),
    change(
        &["UpdateAssumeRolePolicy"],
        "changed trust of a role",
        &["roleName"],
        &[],
        "UpdateAssumeRolePolicy (as it was before)",
    ),
    change(
        &["AttachUserPolicy"],
        "policy on a user",
        &["userName", "policyArn"],
        &["DetachUserPolicy"],
        "DetachUserPolicy",
    ),
    change(
        &["AttachRolePolicy"],
        "policy on a role",
        &["roleName", "policyArn"],
        &["DetachRolePolicy"],
        "DetachRolePolicy",
    ),
    change(
        &["AttachGroupPolicy"],
        "policy on a group",
        &["groupName", "policyArn"],
        &["DetachGroupPolicy"],
        "DetachGroupPolicy",
    ),
    change(
        &["PutUserPolicy"],
        "inline policy on a user",
        &["userName", "policyName"],
        &["DeleteUserPolicy"],
        "DeleteUserPolicy",
    ),
    change(
        &["PutRolePolicy"],
        "inline policy on a role",
        &["roleName", "policyName"],
        &["DeleteRolePolicy"],
        "DeleteRolePolicy",
    ),
    change(
        &["PutGroupPolicy"],
        "inline policy on a group",
        &["groupName", "policyName"],
        &["DeleteGroupPolicy"],
        "DeleteGroupPolicy",
    ),
    change(
        &["CreatePolicyVersion"],
        "changed policy",
        &["policyArn"],
        &["SetDefaultPolicyVersion", "DeletePolicy"],
        "SetDefaultPolicyVersion (as it was before)",
    )
    .only(|call| call.request["setAsDefault"] == true),
    change(
        &["AddUserToGroup"],
        "member of a group",
        &["userName", "groupName"],
        &["RemoveUserFromGroup"],
        "RemoveUserFromGroup",
    ),
    change(
        &["DeactivateMFADevice"],
        "second factor taken away",
        &["userName"],
        &["EnableMFADevice"],
        "EnableMFADevice",
    ),
    change(
        &["CreateSAMLProvider"],
        "identity provider",
        &["sAMLProviderArn", "name"],
        &["DeleteSAMLProvider"],
        "DeleteSAMLProvider",
    ),
    change(
        &["CreateOpenIDConnectProvider"],
        "identity provider",
        &["openIDConnectProviderArn"],
        &["DeleteOpenIDConnectProvider"],
        "DeleteOpenIDConnectProvider",
    ),
    change(
        &["CreateTrustAnchor"],
        "trust anchor of Roles Anywhere",
        &["trustAnchor.trustAnchorId"],
        &["DeleteTrustAnchor", "DisableTrustAnchor"],
        "DisableTrustAnchor",
    ),
    change(
        &["CreateProfile"],
        "profile of Roles Anywhere",
        &["profile.profileId"],
        &["DeleteProfile", "DisableProfile"],
        "DisableProfile",
    ),
    change(
        &["AuthorizeSecurityGroupIngress"],
        "open security group",
        &["groupId"],
        &["RevokeSecurityGroupIngress"],
        "RevokeSecurityGroupIngress",
    ),
    change(
        &["AuthorizeSecurityGroupEgress"],
        "way out of a security group",
        &["groupId"],
        &["RevokeSecurityGroupEgress"],
        "RevokeSecurityGroupEgress",
    ),
    change(&["StopLogging"], "stopped trail", &["name"], &["StartLogging"], "StartLogging"),
    change(&["DeleteTrail"], "deleted trail", &["name"], &["CreateTrail"], "CreateTrail"),
    change(
        &["UpdateTrail", "PutEventSelectors", "PutInsightSelectors"],
        "changed trail",
        &["name", "trailName"],
        &[],
        "set its bucket, regions and selectors as they were before",
    ),
    change(
        &["UpdateDetector"],
        "GuardDuty switched off",
        &["detectorId"],
        &[],
        "UpdateDetector (enable)",
    )
    .only(|call| call.request["enable"] != true),
    change(
        &["DeleteDetector"],
        "GuardDuty deleted",
        &["detectorId"],
        &["CreateDetector"],
        "CreateDetector",
    ),
    change(
        &["CreateFilter"],
        "GuardDuty findings archived by a filter",
        &["name"],
        &["DeleteFilter"],
        "DeleteFilter",
    )
    .only(|call| call.request["action"] == "ARCHIVE"),
    change(
        &["DisassociateFromMasterAccount", "DisassociateFromAdministratorAccount"],
        "GuardDuty taken from its administrator",
        &["detectorId"],
        &["AcceptInvitation", "AcceptAdministratorInvitation", "CreateMembers"],
        "invite the account again from the administrator",
    ),
    change(
        &["DisableSecurityHub"],
        "Security Hub switched off",
        &[],
        &["EnableSecurityHub"],
        "EnableSecurityHub",
    ),
    change(&["DeleteFlowLogs"], "deleted flow logs", &[], &["CreateFlowLogs"], "CreateFlowLogs"),
    change(
        &["StopConfigurationRecorder", "DeleteConfigurationRecorder"],
        "Config recorder stopped",
        &["configurationRecorderName"],
        &["StartConfigurationRecorder"],
        "StartConfigurationRecorder",
    ),
    change(
        &["DeletePublicAccessBlock", "DeleteBucketPublicAccessBlock"],
        "bucket without its block against public access",
        &["bucketName"],
        &["PutBucketPublicAccessBlock", "PutPublicAccessBlock"],
        "PutPublicAccessBlock",
    ),
    change(
        &["PutBucketPolicy"],
        "policy on a bucket",
        &["bucketName"],
        &["DeleteBucketPolicy"],
        "PutBucketPolicy (as it was before)",
    )
    .only(|call| plain(&call.request).contains(r#""Effect":"Allow""#)),
    change(&["PutBucketAcl"], "public bucket", &["bucketName"], &[], "PutBucketAcl (private)")
        .only(|call| {
            let text = plain(&call.request);
            ["global/", r#":"public-"#, "authenticated-read"].iter().any(|part| text.contains(part))
        }),
    change(
        &["ModifySnapshotAttribute"],
        "shared snapshot",
        &["snapshotId"],
        &["ResetSnapshotAttribute"],
        "ModifySnapshotAttribute (remove)",
    )
    .only(|call| plain(&call.request).contains(r#""add":"#)),
    change(
        &["ModifyDBSnapshotAttribute", "ModifyDBClusterSnapshotAttribute"],
        "shared snapshot",
        &["dBSnapshotIdentifier", "dBClusterSnapshotIdentifier"],
        &[],
        "valuesToRemove by the same operation",
    )
    .only(|call| call.request["valuesToAdd"].as_array().is_some_and(|all| !all.is_empty())),
    change(
        &["ModifyImageAttribute"],
        "shared image",
        &["imageId"],
        &["ResetImageAttribute"],
        "ModifyImageAttribute (remove)",
    )
    .only(|call| plain(&call.request).contains(r#""add":"#)),
    change(
        &["AddPermission20150331v2", "AddPermission20150331", "AddPermission"],
        "permission on a function",
        &["functionName", "statementId"],
        &["RemovePermission20150331v2", "RemovePermission20150331", "RemovePermission"],
        "RemovePermission",
    ),
    change(
        &["ScheduleKeyDeletion"],
        "KMS key that will be deleted",
        &["keyId"],
        &["CancelKeyDeletion"],
        "CancelKeyDeletion, then EnableKey",
    ),
    change(
        &["RunInstances"],
        "instance",
        &[],
        &["TerminateInstances"],
        "isolate it, take a snapshot, then TerminateInstances",
    ),
];

/// JSON without spaces, also of JSON within texts.
fn plain(value: &Value) -> String {
    let text = value.to_string().replace(r"\n", "").replace(r"\t", "");
    text.chars().filter(|c| !c.is_whitespace() && *c != '\\').collect()
}
