//! Roles of the security plugin: who may write, who may read, and who may read what is theirs.
//!
//! # Input
//! Accounts whose owners read their own events; who gets which role.
//! # Maps to
//! Roles with what is needed and no more, and mappings of IAM ARNs and users to them.
//! # Known gaps
//! A mapping is only ever added to: who is to lose a role is taken out by hand. Tenants of
//! Dashboards are not set.
//! # Reference
//! <https://docs.opensearch.org/latest/security/access-control/permissions/>,
//! <https://docs.opensearch.org/latest/security/access-control/document-level-security/>.

use serde_json::{Value, json};

use super::body::{Body, What};

/// What a role is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The loader.
    Writer,
    /// Analysts: every event, and the ledger.
    Reader,
    /// The owner of an account: its events.
    Account(String),
}

/// Everything that is searched; and what is written.
const EVENTS: &str = "ocsf-*";
const LEDGER: &str = "trailhound-ledger*";

impl Role {
    /// Its name in the cluster.
    pub fn name(&self) -> String {
        match self {
            Self::Writer => "trailhound-writer".into(),
            Self::Reader => "trailhound-reader".into(),
            Self::Account(account) => format!("trailhound-account-{account}"),
        }
    }

    /// The role.
    pub fn body(&self) -> Body {
        let value = match self {
            Self::Writer => json!({
                "description": "Trailhound's loader: adds events, and reads none.",
                "cluster_permissions": [
                    "cluster:monitor/main",
                    "cluster:monitor/health",
                    "indices:admin/index_template/get",
                    "indices:data/write/bulk",
                ],
                "index_permissions": [
                    {
                        "index_patterns": [EVENTS],
                        // `create` is a kind of `index` to the plugin. There is neither update nor
                        // delete, and no change of mappings.
                        "allowed_actions": [
                            "indices:admin/create",
                            "indices:admin/refresh*",
                            "indices:data/write/bulk*",
                            "indices:data/write/index",
                        ],
                    },
                    {
                        "index_patterns": [LEDGER],
                        // Its fields are mapped as they come.
                        "allowed_actions": [
                            "indices:admin/create",
                            "indices:admin/mapping/auto_put",
                            "indices:admin/mapping/put",
                            "indices:data/write/bulk*",
                            "indices:data/write/index",
                        ],
                    },
                ],
            }),
            Self::Reader => reader(
                "Reads every event that Trailhound loaded, and its ledger.",
                json!({ "index_patterns": [EVENTS, LEDGER] }),
            ),
            Self::Account(account) => reader(
                &format!("Reads the events of account {account}."),
                json!({
                    "index_patterns": [EVENTS],
                    // The plugin wants the query as text.
                    "dls": json!({ "term": { "cloud.account.uid": account } }).to_string(),
                }),
            ),
        };
        Body::new(What::Role, &self.name(), value)
    }
}

fn reader(description: &str, mut indexes: Value) -> Value {
    indexes["allowed_actions"] = json!([
        "indices:admin/aliases/get",
        "indices:admin/get",
        "indices:admin/mappings/fields/get*",
        "indices:admin/mappings/get",
        "indices:admin/resolve/index",
        "indices:data/read/*",
    ]);
    json!({
        "description": description,
        // Searches that name no index themselves.
        "cluster_permissions": [
            "indices:data/read/mget",
            "indices:data/read/msearch",
            "indices:data/read/scroll*",
        ],
        "index_permissions": [indexes],
    })
}

/// Who gets a role: `writer=arn:aws:iam::111122223333:role/loader`, `reader=alice`,
/// `111122223333=arn:...` for an account's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// An ARN of an IAM role or user, or a user of the cluster.
    pub who: String,
}

impl std::str::FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, who) = text.split_once('=').unwrap_or_default();
        let role = match role {
            "writer" => Role::Writer,
            "reader" => Role::Reader,
            account => Role::Account(parse_account(account)?),
        };
        match who {
            "" => Err("expected a role and who gets it, such as writer=arn:aws:iam::…".into()),
            who => Ok(Self { role, who: who.to_owned() }),
        }
    }
}

/// An account id: twelve digits.
pub fn parse_account(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("expected an account id of twelve digits".into())
    }
}

/// The path of a role's mapping.
pub fn mapping_path(role: &Role) -> String {
    format!("/_plugins/_security/api/rolesmapping/{}", role.name())
}

/// `installed` with these besides, or nothing if they are there.
///
/// Amazon's domains have the ARN of an IAM role as a backend role, and that of an IAM user as a
/// user.
pub fn mapping(role: &Role, grants: &[Grant], installed: &Value) -> Option<Value> {
    let mut mapping = installed.clone();
    let mut added = false;
    for grant in grants.iter().filter(|grant| grant.role == *role) {
        let list = if grant.who.contains(":role/") { "backend_roles" } else { "users" };
        let names = &mut mapping[list];
        if names.is_null() {
            *names = json!([]);
        }
        let names = names.as_array_mut()?;
        if !names.iter().any(|name| name == grant.who.as_str()) {
            names.push(grant.who.clone().into());
            added = true;
        }
    }
    if let Some(object) = mapping.as_object_mut() {
        object.retain(|name, _| !matches!(name.as_str(), "reserved" | "hidden" | "static"));
    }
    added.then_some(mapping)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_roles_are_backend_roles_and_what_is_mapped_stays() {
        let grants: Vec<Grant> = ["reader=arn:aws:iam::111122223333:role/soc", "reader=alice"]
            .map(|text| text.parse().unwrap())
            .into();
        let installed = json!({ "users": ["bob"], "hosts": [], "reserved": false });
        let mapping_of = |installed: &Value| mapping(&Role::Reader, &grants, installed);
        let mapped = mapping_of(&installed).unwrap();
        assert_eq!(
            mapped,
            json!({
                "users": ["bob", "alice"],
                "hosts": [],
                "backend_roles": ["arn:aws:iam::111122223333:role/soc"],
            })
        );
        assert_eq!(mapping_of(&mapped), None);
        assert_eq!(mapping(&Role::Writer, &grants, &installed), None);
    }

    #[test]
    fn a_grant_names_a_role_and_somebody() {
        assert_eq!(
            "111122223333=x".parse::<Grant>().unwrap().role.name(),
            "trailhound-account-111122223333"
        );
        for bad in ["writer", "writer=", "owner=x", "1111=x", ""] {
            assert!(bad.parse::<Grant>().is_err(), "{bad}");
        }
    }
}
