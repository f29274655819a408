//! What an intruder has left, as far as the logs tell.
//!
//! # Input
//! Calls of a story that succeeded; later calls of anybody that undo such things.
//! # Maps to
//! [`Standing`] things, with when they were made and by which call.
//! # Known gaps
//! From logs: verify live. A thing that is undone in another way than the table knows is still listed;
//! of rules of a security group the group is looked at.
//! # Reference
//! `OPERATIONS` is the table.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    document::{Call, text},
    issued::issued,
    story::{Story, time_text},
};

/// Something that may still be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// What it is, such as `access key`.
    pub what: String,
    /// Which one.
    pub which: String,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// When it was made or changed, as text.
    pub since: String,
    /// Until when it is valid, if it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When it was last used in this story.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
    /// The call.
    pub uid: String,
    /// What undoes it.
    pub undo: String,
}

/// How one kind of change is named and undone.
struct Change {
    operations: &'static [&'static str],
    what: &'static str,
    /// Paths of the request or response that together name the thing.
    names: &'static [&'static str],
    undone_by: &'static [&'static str],
}

const CHANGES: [Change; 17] = [
    Change {
        operations: &["CreateAccessKey"],
        what: "access key",
        names: &["accessKey.accessKeyId", "accessKeyId"],
        undone_by: &["DeleteAccessKey"],
    },
    Change {
        operations: &["CreateUser"],
        what: "user",
        names: &["userName"],
        undone_by: &["DeleteUser"],
    },
    Change {
        operations: &["CreateLoginProfile", "UpdateLoginProfile"],
        what: "console password",
        names: &["userName"],
        undone_by: &["DeleteLoginProfile", "DeleteUser"],
    },
    Change {
        operations: &["CreateRole", "UpdateAssumeRolePolicy"],
        what: "role trust",
        names: &["roleName"],
        undone_by: &["DeleteRole"],
    },
    Change {
        operations: &["AttachUserPolicy"],
        what: "policy on a user",
        names: &["userName", "policyArn"],
        undone_by: &["DetachUserPolicy"],
    },
    Change {
        operations: &["AttachRolePolicy"],
        what: "policy on a role",
        names: &["roleName", "policyArn"],
        undone_by: &["DetachRolePolicy"],
    },
    Change {
        operations: &["AttachGroupPolicy"],
        what: "policy on a group",
        names: &["groupName", "policyArn"],
        undone_by: &["DetachGroupPolicy"],
    },
    Change {
        operations: &["PutUserPolicy"],
        what: "inline policy on a user",
        names: &["userName", "policyName"],
        undone_by: &["DeleteUserPolicy"],
    },
    Change {
        operations: &["PutRolePolicy"],
        what: "inline policy on a role",
        names: &["roleName", "policyName"],
        undone_by: &["DeleteRolePolicy"],
    },
    Change {
        operations: &["AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress"],
        what: "open security group",
        names: &["groupId"],
        undone_by: &[
            "RevokeSecurityGroupIngress",
            "RevokeSecurityGroupEgress",
            "DeleteSecurityGroup",
        ],
    },
    Change {
        operations: &["StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors"],
        what: "trail stopped or changed",
        names: &["name", "trailName"],
        undone_by: &["StartLogging", "CreateTrail"],
    },
    Change {
        operations: &["UpdateDetector", "DeleteDetector"],
        what: "GuardDuty detector changed",
        names: &["detectorId"],
        undone_by: &["CreateDetector"],
    },
    Change {
        operations: &["StopConfigurationRecorder", "DeleteConfigurationRecorder"],
        what: "Config recorder stopped",
        names: &["configurationRecorderName"],
        undone_by: &["StartConfigurationRecorder", "PutConfigurationRecorder"],
    },
    Change {
        operations: &[
            "DeletePublicAccessBlock",
            "DeleteBucketPublicAccessBlock",
            "PutBucketAcl",
            "PutBucketPolicy",
        ],
        what: "bucket opened",
        names: &["bucketName"],
        undone_by: &[
            "PutBucketPublicAccessBlock",
            "PutPublicAccessBlock",
            "DeleteBucketPolicy",
            "DeleteBucket",
        ],
    },
    Change {
        operations: &["ModifySnapshotAttribute", "ModifyDBSnapshotAttribute"],
        what: "snapshot shared",
        names: &["snapshotId", "dBSnapshotIdentifier"],
        undone_by: &["DeleteSnapshot", "DeleteDBSnapshot"],
    },
    Change {
        operations: &["ModifyImageAttribute"],
        what: "image shared",
        names: &["imageId"],
        undone_by: &["DeregisterImage"],
    },
    Change {
        operations: &["RunInstances"],
        what: "instance",
        names: &["instancesSet.items.0.instanceId"],
        undone_by: &["TerminateInstances"],
    },
];

/// Operations that undo something.
pub fn undoing() -> BTreeSet<String> {
    let all = CHANGES.iter().flat_map(|change| change.undone_by).map(|name| (*name).to_owned());
    all.chain(["UpdateAccessKey".to_owned()]).collect()
}

/// What is left of the changes of a story. `later` are calls of [`undoing`] operations.
pub fn standing(story: &Story, later: &[Call]) -> Vec<Standing> {
    let mut all: Vec<Standing> = Vec::new();
    for included in story.calls.values().filter(|one| one.call.error().is_none()) {
        let call = &included.call;
        let change = CHANGES.iter().find(|change| change.operations.contains(&call.operation()));
        if let Some(change) = change {
            let names = names(change, call);
            if !later.iter().any(|other| is_undone(change, call, &names, other)) {
                all.push(of_change(story, change, call, &names));
            }
        } else {
            // Both accounts log who assumes a role across them; of sign-ins the last one counts.
            let session = session(story, call).or_else(|| console_session(call));
            if let Some(session) = session {
                all.retain(|one| (&one.what, &one.which) != (&session.what, &session.which));
                all.push(session);
            }
        }
    }
    all
}

fn of_change(story: &Story, change: &Change, call: &Call, names: &[String]) -> Standing {
    let key = names.first().filter(|_| change.what == "access key");
    Standing {
        what: change.what.to_owned(),
        which: names.join(" "),
        account: call.account().to_owned(),
        region: call.region().to_owned(),
        since: time_text(call.time),
        until: None,
        last_used: key.and_then(|key| last_used(story, key)),
        uid: call.uid.clone(),
        undo: change.undone_by.first().copied().unwrap_or_default().to_owned(),
    }
}

/// A session that may still be valid.
fn session(story: &Story, call: &Call) -> Option<Standing> {
    let key = issued(call)?.key?;
    let seconds = super::document::at(&call.request, "durationSeconds")
        .and_then(serde_json::Value::as_i64)
        .unwrap_or(if call.operation().starts_with("AssumeRole") { 3600 } else { 43_200 });
    Some(Standing {
        what: "session".to_owned(),
        which: key.clone(),
        account: call.account().to_owned(),
        region: call.region().to_owned(),
        since: time_text(call.time),
        until: Some(time_text(call.time + seconds * 1000)),
        last_used: last_used(story, &key),
        uid: call.uid.clone(),
        undo: "revoke the sessions of its role".to_owned(),
    })
}

/// Hours after which everybody has to sign in to the console again.
const CONSOLE_HOURS: i64 = 12;

/// A session of the console, which has no key in the logs.
fn console_session(call: &Call) -> Option<Standing> {
    (call.operation() == "ConsoleLogin").then(|| Standing {
        what: "console session".to_owned(),
        which: call.who().to_owned(),
        account: call.account().to_owned(),
        region: call.region().to_owned(),
        since: time_text(call.time),
        until: Some(time_text(call.time + CONSOLE_HOURS * 3_600_000)),
        last_used: None,
        uid: call.uid.clone(),
        undo: "deny what older sessions do (aws:TokenIssueTime)".to_owned(),
    })
}

fn last_used(story: &Story, key: &str) -> Option<String> {
    let used = story.calls.values().rev().find(|one| one.call.key() == Some(key))?;
    Some(time_text(used.call.time))
}

/// The thing that a call is about.
fn names(change: &Change, call: &Call) -> Vec<String> {
    let value = |path: &&str| {
        let found = pointer(&call.response, path).or_else(|| pointer(&call.request, path));
        found.map(str::to_owned)
    };
    let mut names: Vec<String> = change.names.iter().filter_map(value).collect();
    names.dedup();
    names
}

/// A text at a path of dots, through lists too.
fn pointer<'v>(value: &'v serde_json::Value, path: &str) -> Option<&'v str> {
    text(value, path).or_else(|| value.pointer(&format!("/{}", path.replace('.', "/")))?.as_str())
}

fn is_undone(change: &Change, call: &Call, which: &[String], other: &Call) -> bool {
    if other.time < call.time || other.account() != call.account() || other.error().is_some() {
        return false;
    }
    let said = other.request.to_string();
    let is_about = || which.iter().all(|name| said.contains(name.as_str()));
    let deactivated = change.what == "access key"
        && other.operation() == "UpdateAccessKey"
        && other.asked("status") == Some("Inactive");
    (deactivated || change.undone_by.contains(&other.operation())) && is_about()
}
