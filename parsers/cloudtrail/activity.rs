//! Which class and activity a CloudTrail event is.
//!
//! # Input
//! `eventSource`, `eventName`, `readOnly`.
//! # Maps to
//! A class and its `activity_id`.
//! # Known gaps
//! A new name is API Activity with the activity that its first word says, or Other.
//! # Reference
//! Mapping section 3.1, tables A1 to A3. Names are compared exactly.

/// The class of an event with its `activity_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Api(i32),
    Authentication(i32),
    AccountChange(i32),
}

const AUTHENTICATION_SOURCES: [&str; 3] =
    ["signin.amazonaws.com", "sts.amazonaws.com", "sso.amazonaws.com"];

/// Table A1.
const AUTHENTICATION: &[(i32, &[&str])] = &[
    (
        1,
        &[
            "ConsoleLogin",
            "ExternalIdPDirectoryLogin",
            "UserAuthentication",
            "AssumeRole",
            "AssumeRoleWithSAML",
            "AssumeRoleWithWebIdentity",
        ],
    ),
    (99, &["CheckMfa", "CredentialChallenge", "CredentialVerification"]),
];

const ACCOUNT_CHANGE_SOURCES: [&str; 4] = [
    "iam.amazonaws.com",
    "account.amazonaws.com",
    "signin.amazonaws.com",
    "organizations.amazonaws.com",
];

/// Table A2.
#[rustfmt::skip]
const ACCOUNT_CHANGE: &[(i32, &[&str])] = &[
    (1, &["CreateAccessKey", "CreateAccountAlias", "CreateInstanceProfile", "CreateLoginProfile",
        "CreateRole", "CreateServiceLinkedRole", "CreateUser", "CreateVirtualMFADevice"]),
    (3, &["ChangePassword", "PasswordUpdated"]),
    (4, &["UpdateLoginProfile"]),
    (6, &["DeleteAccessKey", "DeleteGroup", "DeleteInstanceProfile", "DeleteLoginProfile",
        "DeletePolicy", "DeleteRole", "DeleteRolePermissionsBoundary", "DeleteUser",
        "DeleteUserPermissionsBoundary", "DeleteVirtualMFADevice"]),
    (7, &["AddUserToGroup", "AttachGroupPolicy", "AttachRolePolicy", "AttachUserPolicy",
        "PutGroupPolicy", "PutRolePermissionsBoundary", "PutRolePolicy",
        "PutUserPermissionsBoundary", "PutUserPolicy"]),
    (8, &["DeleteGroupPolicy", "DeleteRolePolicy", "DeleteUserPolicy", "DetachGroupPolicy",
        "DetachRolePolicy", "DetachUserPolicy", "RemoveRoleFromInstanceProfile",
        "RemoveUserFromGroup"]),
    (10, &["EnableMFADevice", "ResyncMFADevice"]),
    (11, &["DeactivateMFADevice"]),
    (99, &["AccountNameUpdated", "AddRoleToInstanceProfile", "DeleteAccountAlias",
        "DeleteAccountPasswordPolicy", "DeleteServiceLinkedRole", "EmailUpdated",
        "FinalizeSmsMfaRegistration", "RequestSmsMfaRegistration", "TagInstanceProfile",
        "TagRole", "TagUser", "UntagInstanceProfile", "UntagRole", "UntagUser",
        "UpdateAccessKey", "UpdateAccountEmailAddress", "UpdateAccountName",
        "UpdateAccountPasswordPolicy", "UpdateAssumeRolePolicy", "UpdateGroup", "UpdateRole",
        "UpdateRoleDescription", "UpdateUser"]),
];

/// Table A3.
#[rustfmt::skip]
const FIRST_WORDS: &[(i32, &[&str])] = &[
    (2, &["Get", "List", "Describe", "Search", "Lookup", "Head", "Query", "Scan", "Select", "View",
        "Read", "Check", "Preview", "Download", "Filter", "Simulate", "Discover", "Estimate",
        "Verify", "Validate", "Test"]),
    (1, &["Create", "Run", "Generate", "Allocate", "Copy", "Import", "Issue", "Launch", "Provision",
        "Publish", "Purchase", "Request", "Restore", "Upload"]),
    (3, &["Update", "Put", "Modify", "Add", "Remove", "Start", "Stop", "Attach", "Detach",
        "Associate", "Disassociate", "Tag", "Untag", "Enable", "Disable", "Register", "Deregister",
        "Set", "Change", "Reboot", "Authorize", "Revoke", "Accept", "Reject", "Replace", "Rotate",
        "Reset", "Resume", "Suspend", "Promote", "Move", "Merge", "Apply", "Activate", "Deactivate",
        "Cancel", "Assign", "Unassign", "Monitor", "Unmonitor", "Renew", "Schedule", "Release",
        "Write"]),
    (4, &["Delete", "Terminate", "Purge", "Destroy"]),
];

/// The class and activity of an event.
pub(super) fn activity(source: &str, name: Option<&str>, read_only: bool) -> Activity {
    let Some(name) = name else { return Activity::Api(0) };
    if AUTHENTICATION_SOURCES.contains(&source)
        && let Some(id) = find(AUTHENTICATION, name)
    {
        return Activity::Authentication(id);
    }
    if ACCOUNT_CHANGE_SOURCES.contains(&source)
        && let Some(id) = find(ACCOUNT_CHANGE, name)
    {
        return Activity::AccountChange(id);
    }
    let (first, rest) = first_word(name);
    let word = if matches!(first, "Batch" | "Admin") { first_word(rest).0 } else { first };
    let otherwise = if read_only { 2 } else { 99 };
    Activity::Api(find(FIRST_WORDS, word).unwrap_or(otherwise))
}

fn find(table: &[(i32, &[&str])], name: &str) -> Option<i32> {
    table.iter().find(|(_, names)| names.contains(&name)).map(|(id, _)| *id)
}

/// One upper-case letter and the lower-case letters after it, and the rest.
fn first_word(name: &str) -> (&str, &str) {
    if !name.starts_with(|first: char| first.is_ascii_uppercase()) {
        return ("", name);
    }
    let lower = name.bytes().skip(1).take_while(u8::is_ascii_lowercase).count();
    name.split_at(1 + lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_tables_is_in_the_list_of_kinds() {
        let words: Vec<&str> =
            include_str!("kinds.md").split(|c: char| !(c.is_alphanumeric() || c == '.')).collect();
        let tables = [AUTHENTICATION, ACCOUNT_CHANGE, FIRST_WORDS];
        let names = tables.iter().copied().flatten().flat_map(|(_, names)| names.iter());
        for name in names.chain(&AUTHENTICATION_SOURCES).chain(&ACCOUNT_CHANGE_SOURCES) {
            assert!(words.iter().any(|word| word.trim_end_matches('.') == *name), "{name}");
        }
    }

    #[test]
    fn the_source_and_the_whole_name_choose_the_class() {
        let of = |source, name| activity(source, Some(name), false);
        assert_eq!(of("sts.amazonaws.com", "AssumeRole"), Activity::Authentication(1));
        assert_eq!(of("sts.amazonaws.com", "GetCallerIdentity"), Activity::Api(2));
        assert_eq!(of("sts.amazonaws.com", "AssumeRoot"), Activity::Api(99));
        assert_eq!(of("iam.amazonaws.com", "CreateUser"), Activity::AccountChange(1));
        assert_eq!(of("iam.amazonaws.com", "CreateGroup"), Activity::Api(1));
        assert_eq!(of("cognito-idp.amazonaws.com", "CreateUser"), Activity::Api(1));
        assert_eq!(of("signin.amazonaws.com", "PasswordUpdated"), Activity::AccountChange(3));
        let names: usize = ACCOUNT_CHANGE.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(names, 64);
    }

    #[test]
    fn the_first_word_chooses_the_activity_of_an_api_call() {
        let of = |name, read_only| activity("x.amazonaws.com", Some(name), read_only);
        assert_eq!(of("BatchGetItem", false), Activity::Api(2));
        assert_eq!(of("BatchWriteItem", false), Activity::Api(3));
        assert_eq!(of("AdminCreateUser", false), Activity::Api(1));
        assert_eq!(of("GetterThing", false), Activity::Api(99));
        assert_eq!(of("TerminateInstances", true), Activity::Api(4));
        assert_eq!(of("Invoke", true), Activity::Api(2));
        assert_eq!(of("invoke", false), Activity::Api(99));
        assert_eq!(activity("", None, true), Activity::Api(0));
    }
}
