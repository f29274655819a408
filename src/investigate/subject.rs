//! What is asked about, recognized by its form.
//!
//! # Input
//! A text from the command line, or a GuardDuty finding as JSON.
//! # Maps to
//! A [`Subject`].
//! # Known gaps
//! A plain name may be a user, a role, a session or a bucket: all of them are looked for.
//! # Reference
//! Prefixes of unique ids:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids>.

use std::net::IpAddr;

use serde::Serialize;

/// What a story starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
pub enum Subject {
    /// Id or ARN of a GuardDuty finding.
    Finding(String),
    /// An access key.
    AccessKey(String),
    /// ARN of a user, of a role, or of the account root.
    Principal(String),
    /// ARN of a session of a role.
    Session(String),
    /// An address.
    Address(String),
    /// An EC2 instance.
    Instance(String),
    /// A network interface.
    Interface(String),
    /// ARN of anything else.
    Resource(String),
    /// `metadata.uid` of a call.
    Event(String),
    /// The name of a user, a role, a session or a bucket.
    Name(String),
}

impl Subject {
    /// What a text names; None if it is empty.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let own = || text.to_owned();
        if text.is_empty() {
            return None;
        }
        let is_of = |min: usize, test: fn(u8) -> bool| text.len() >= min && text.bytes().all(test);
        let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        Some(if let Some(rest) = text.strip_prefix("arn:") {
            let resource = rest.splitn(5, ':').nth(4).unwrap_or_default();
            let service = rest.split(':').nth(1).unwrap_or_default();
            match (service, resource) {
                ("guardduty", resource) if resource.contains("/finding/") => Self::Finding(own()),
                ("iam", resource)
                    if resource.starts_with("user/")
                        || resource.starts_with("role/")
                        || resource == "root" =>
                {
                    Self::Principal(own())
                }
                ("sts", resource) if resource.starts_with("assumed-role/") => Self::Session(own()),
                ("sts", resource) if resource.starts_with("federated-user/") => {
                    Self::Principal(own())
                }
                ("ec2", resource) => match resource.split_once('/') {
                    Some(("instance", id)) => Self::Instance(id.to_owned()),
                    Some(("network-interface", id)) => Self::Interface(id.to_owned()),
                    _ => Self::Resource(own()),
                },
                _ => Self::Resource(own()),
            }
        } else if text.parse::<IpAddr>().is_ok() {
            Self::Address(own())
        } else if ["AKIA", "ASIA"].iter().any(|prefix| text.starts_with(prefix))
            && is_of(16, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        {
            Self::AccessKey(own())
        } else if text.starts_with("i-") && text.len() >= 10 {
            Self::Instance(own())
        } else if text.starts_with("eni-") && text.len() >= 12 {
            Self::Interface(own())
        } else if text.len() == 32 && text.bytes().all(is_hex) {
            Self::Finding(own())
        } else if text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => is_hex(byte),
            })
        {
            Self::Event(own())
        } else {
            Self::Name(own())
        })
    }

    /// The text itself.
    pub fn value(&self) -> &str {
        match self {
            Self::Finding(value)
            | Self::AccessKey(value)
            | Self::Principal(value)
            | Self::Session(value)
            | Self::Address(value)
            | Self::Instance(value)
            | Self::Interface(value)
            | Self::Resource(value)
            | Self::Event(value)
            | Self::Name(value) => value,
        }
    }

    /// What it is, for people.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Finding(_) => "finding",
            Self::AccessKey(_) => "access key",
            Self::Principal(_) => "principal",
            Self::Session(_) => "session",
            Self::Address(_) => "address",
            Self::Instance(_) => "instance",
            Self::Interface(_) => "interface",
            Self::Resource(_) => "resource",
            Self::Event(_) => "event",
            Self::Name(_) => "name",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_recognized_by_their_form() {
        let what = |text: &str| Subject::of(text).map_or("nothing", |subject| subject.what());
        for (text, expected) in [
            ("", "nothing"),
            ("AKIAIOSFODNN7EXAMPLE", "access key"),
            ("ASIAIOSFODNN7EXAMPLE", "access key"),
            ("203.0.113.5", "address"),
            ("2001:db8::1", "address"),
            ("i-0a1b2c3d4e5f60718", "instance"),
            ("arn:aws:ec2:eu-west-1:111122223333:instance/i-0a1b2c3d", "instance"),
            ("eni-0a1b2c3d4e5f60718", "interface"),
            ("arn:aws:iam::111122223333:user/alice", "principal"),
            ("arn:aws:iam::111122223333:role/path/deploy", "principal"),
            ("arn:aws:iam::111122223333:root", "principal"),
            ("arn:aws:sts::111122223333:assumed-role/deploy/alice", "session"),
            ("arn:aws:s3:::exports", "resource"),
            ("eb2404c47a0c3f3cb548d2abde603561", "finding"),
            ("arn:aws:guardduty:eu-west-1:111122223333:detector/12/finding/eb24", "finding"),
            ("d07350f8-2c83-4748-8307-436476d59984", "event"),
            ("svc-deploy", "name"),
        ] {
            assert_eq!(what(text), expected, "{text}");
        }
    }
}
