//! Which credentials a call gave out.
//!
//! # Input
//! Calls.
//! # Maps to
//! Keys, sessions and users that did not exist, or could not sign in, before.
//! # Known gaps
//! Secrets that are read (from Secrets Manager, from user data) are credentials too, of other systems.
//! # Reference
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html>.

use super::document::Call;

/// What a call gave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issued {
    /// A key, permanent or of a session.
    pub key: Option<String>,
    /// The ARN that acts with it.
    pub principal: Option<String>,
    /// When it ends, as the response says it.
    pub expires: Option<String>,
}

/// Operations that give out credentials.
pub const OPERATIONS: [&str; 11] = [
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "CreateAccessKey",
    "CreateLoginProfile",
    "CreateRole",
    "CreateUser",
    "GetFederationToken",
    "GetSessionToken",
    "UpdateLoginProfile",
];

/// What a call gave out; None if it failed or gave nothing.
pub fn issued(call: &Call) -> Option<Issued> {
    if call.error().is_some() || !OPERATIONS.contains(&call.operation()) {
        return None;
    }
    let own = |text: Option<&str>| text.map(str::to_owned);
    let session_key =
        call.text("session.credential_uid").or_else(|| call.answered("credentials.accessKeyId"));
    let issued = match call.operation() {
        "CreateAccessKey" => Issued {
            key: own(call.answered("accessKey.accessKeyId")),
            principal: user_arn(call, call.answered("accessKey.userName")),
            expires: None,
        },
        "CreateUser" => Issued {
            key: None,
            principal: own(call.answered("user.arn"))
                .or_else(|| user_arn(call, call.asked("userName"))),
            expires: None,
        },
        "CreateRole" => {
            Issued { key: None, principal: own(call.answered("role.arn")), expires: None }
        }
        "CreateLoginProfile" | "UpdateLoginProfile" => {
            Issued { key: None, principal: user_arn(call, call.asked("userName")), expires: None }
        }
        "GetFederationToken" => Issued {
            key: own(session_key),
            principal: own(call.answered("federatedUser.arn")),
            expires: own(call.answered("credentials.expiration")),
        },
        // The session acts as who asked for it.
        "GetSessionToken" => Issued {
            key: own(session_key),
            principal: None,
            expires: own(call.answered("credentials.expiration")),
        },
        _ => Issued {
            key: own(session_key),
            principal: own(call
                .text("session.uid")
                .or_else(|| call.answered("assumedRoleUser.arn"))),
            expires: own(call.answered("credentials.expiration")),
        },
    };
    (issued.key.is_some() || issued.principal.is_some()).then_some(issued)
}

fn user_arn(call: &Call, name: Option<&str>) -> Option<String> {
    let name = name?;
    let partition = call.arn().and_then(|arn| arn.split(':').nth(1)).unwrap_or("aws");
    Some(format!("arn:{partition}:iam::{}:user/{name}", call.account()))
}

/// Instances that a call has started.
pub fn started(call: &Call) -> Vec<String> {
    if call.operation() != "RunInstances" || call.error().is_some() {
        return Vec::new();
    }
    let items = call.response.pointer("/instancesSet/items").and_then(|items| items.as_array());
    let ids = items.into_iter().flatten().filter_map(|item| item.get("instanceId")?.as_str());
    ids.map(str::to_owned).collect()
}

/// The instance whose role a session is of: its name is the id of the instance.
pub fn instance_of(call: &Call) -> Option<&str> {
    let session = call.arn()?.rsplit('/').next()?;
    (session.starts_with("i-") && session.len() >= 10).then_some(session)
}
