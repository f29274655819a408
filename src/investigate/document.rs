//! OCSF documents as an investigation reads them.
//!
//! # Input
//! One event as JSON: a row of the lake, or a document of an index.
//! # Maps to
//! [`Call`]s and [`Finding`]s.
//! # Known gaps
//! None.
//! # Reference
//! Mapping sections 3 and 5.

use std::collections::BTreeSet;

use serde_json::Value;

/// The value at a path of dots.
pub fn at<'d>(document: &'d Value, path: &str) -> Option<&'d Value> {
    path.split('.').try_fold(document, |value, name| value.get(name))
}

/// The text at a path of dots.
pub fn text<'d>(document: &'d Value, path: &str) -> Option<&'d str> {
    at(document, path)?.as_str().filter(|text| !text.is_empty())
}

/// A `json_t` attribute: a text in the lake, an object in an index.
fn json(document: &Value, path: &str) -> Value {
    match at(document, path) {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

/// What a request names, where it lists no resources: the first of these that is there.
const NAMES: [&str; 18] = [
    "roleArn",
    "userName",
    "roleName",
    "groupName",
    "groupId",
    "instanceId",
    "name",
    "trailName",
    "detectorId",
    "secretId",
    "keyId",
    "functionName",
    "snapshotId",
    "imageId",
    "resourceArn",
    "tableName",
    "dBInstanceIdentifier",
    "clusterName",
];

/// A call that CloudTrail has recorded.
#[derive(Clone, Debug)]
pub struct Call {
    /// The whole event.
    pub document: Value,
    /// `api.request.data`.
    pub request: Value,
    /// `api.response.data`.
    pub response: Value,
    /// `time`, in milliseconds.
    pub time: i64,
    /// `metadata.uid`.
    pub uid: String,
}

impl Call {
    /// None if the event has no id or no time.
    pub fn new(document: Value) -> Option<Self> {
        let uid = text(&document, "metadata.uid")?.to_owned();
        let time = at(&document, "time")?.as_i64()?;
        let request = json(&document, "api.request.data");
        let response = json(&document, "api.response.data");
        Some(Self { document, request, response, time, uid })
    }

    /// The text at a path of the event.
    pub fn text(&self, path: &str) -> Option<&str> {
        text(&self.document, path)
    }

    /// `eventName`.
    pub fn operation(&self) -> &str {
        self.text("api.operation").unwrap_or("Unknown")
    }

    /// `eventSource` without its domain.
    pub fn service(&self) -> &str {
        let service = self.text("api.service.name").unwrap_or_default();
        service.strip_suffix(".amazonaws.com").unwrap_or(service)
    }

    /// The key that it was signed with.
    pub fn key(&self) -> Option<&str> {
        self.text("actor.user.credential_uid")
    }

    /// ARN of who called; of a session its own.
    pub fn arn(&self) -> Option<&str> {
        self.text("actor.user.uid").filter(|uid| uid.starts_with("arn:"))
    }

    /// Who called, sessions rolled up to their role.
    pub fn principal(&self) -> Option<&str> {
        self.text("actor.session.issuer").or_else(|| self.arn())
    }

    /// The person for whom a session acts, as it was said when the session began: its source identity,
    /// or the user of the identity store.
    pub fn identity(&self) -> Option<&str> {
        unmapped(&self.document, "userIdentity.sessionContext.sourceIdentity")
            .or_else(|| unmapped(&self.document, "userIdentity.onBehalfOf.userId"))
            .or_else(|| self.text("actor.idp.uid").and_then(|_| self.text("actor.user.uid_alt")))
    }

    /// `sharedEventID`: the same in each account that logs this call.
    pub fn shared_event(&self) -> Option<&str> {
        unmapped(&self.document, "sharedEventID")
    }

    /// For people: the best name of who called.
    pub fn who(&self) -> &str {
        let names = ["actor.user.uid", "actor.user.name", "actor.user.uid_alt", "actor.invoked_by"];
        names.iter().find_map(|path| self.text(path)).unwrap_or("Unknown")
    }

    /// The address that it came from.
    pub fn address(&self) -> Option<&str> {
        self.text("src_endpoint.ip")
    }

    /// The address, or the service that called.
    pub fn from(&self) -> &str {
        self.address().or_else(|| self.text("src_endpoint.domain")).unwrap_or_default()
    }

    /// `userAgent`.
    pub fn agent(&self) -> &str {
        self.text("http_request.user_agent").unwrap_or_default()
    }

    /// The account that it happened in.
    pub fn account(&self) -> &str {
        self.text("cloud.account.uid").unwrap_or_default()
    }

    /// The region that it happened in.
    pub fn region(&self) -> &str {
        self.text("cloud.region").unwrap_or_default()
    }

    /// The error, of whatever kind.
    pub fn error(&self) -> Option<&str> {
        self.text("status_code")
            .or_else(|| self.text("status_detail"))
            .or_else(|| (self.text("status") == Some("Failure")).then_some("Failure"))
    }

    /// True for an access to what a resource holds, which CloudTrail calls a data event.
    pub fn is_data(&self) -> bool {
        self.text("metadata.product.feature.name") == Some("Data")
    }

    /// True if it changed nothing.
    pub fn is_read(&self) -> bool {
        match self.text("unmapped.readOnly").or_else(|| unmapped(&self.document, "readOnly")) {
            Some(text) => text == "true",
            None => at(&self.document, "activity_id").and_then(Value::as_i64) == Some(2),
        }
    }

    /// A text of the request.
    pub fn asked(&self, path: &str) -> Option<&str> {
        text(&self.request, path)
    }

    /// A text of the response.
    pub fn answered(&self, path: &str) -> Option<&str> {
        text(&self.response, path)
    }

    /// What it acted on: resources, or what the request names.
    pub fn resource(&self) -> String {
        let listed = at(&self.document, "resources").and_then(Value::as_array);
        let first = listed.and_then(|all| all.iter().find_map(|one| text(one, "uid")));
        if let Some(first) = first {
            return first.to_owned();
        }
        if let (Some(bucket), key) = (self.asked("bucketName"), self.asked("key")) {
            return match key {
                Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
                None => format!("arn:aws:s3:::{bucket}"),
            };
        }
        NAMES.iter().find_map(|name| self.asked(name)).unwrap_or_default().to_owned()
    }

    /// Bytes that were sent out, where CloudTrail says it.
    pub fn bytes_out(&self) -> u64 {
        let text = unmapped(&self.document, "additionalEventData.bytesTransferredOut");
        text.and_then(|text| text.parse::<f64>().ok()).unwrap_or_default() as u64
    }
}

/// A value of `unmapped`, whose keys have dots; in an index they are levels.
pub fn unmapped<'d>(document: &'d Value, key: &str) -> Option<&'d str> {
    let all = document.get("unmapped")?;
    all.get(key).and_then(Value::as_str).or_else(|| text(all, key))
}

/// One export of a GuardDuty finding.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The whole event.
    pub document: Value,
    /// `finding_info.uid`: an ARN, or an id.
    pub uid: String,
    /// `metadata.uid` of this export.
    pub event_uid: String,
    /// `time` of this export, in milliseconds.
    pub time: i64,
}

/// The ends of a connection or of a call that a finding names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Access keys.
    pub keys: BTreeSet<String>,
    /// Names of users and roles.
    pub names: BTreeSet<String>,
    /// Addresses of others.
    pub addresses: BTreeSet<String>,
    /// Instances.
    pub instances: BTreeSet<String>,
    /// Interfaces.
    pub interfaces: BTreeSet<String>,
    /// ARNs of resources.
    pub resources: BTreeSet<String>,
}

impl Finding {
    /// None if the event has no ids.
    pub fn new(document: Value) -> Option<Self> {
        Some(Self {
            uid: text(&document, "finding_info.uid")?.to_owned(),
            event_uid: text(&document, "metadata.uid")?.to_owned(),
            time: at(&document, "time")?.as_i64()?,
            document,
        })
    }

    /// The id alone, as the console shows it.
    pub fn id(&self) -> &str {
        self.uid.rsplit('/').next().unwrap_or(&self.uid)
    }

    /// The text at a path.
    pub fn text(&self, path: &str) -> Option<&str> {
        text(&self.document, path)
    }

    /// Its type, such as `Recon:IAMUser/MaliciousIPCaller`.
    pub fn kind(&self) -> &str {
        let types = at(&self.document, "finding_info.types").and_then(Value::as_array);
        types.and_then(|types| types.first()?.as_str()).unwrap_or("Unknown")
    }

    /// The account.
    pub fn account(&self) -> &str {
        self.text("cloud.account.uid").unwrap_or_default()
    }

    /// From when to when it was seen, in milliseconds.
    pub fn window(&self) -> (i64, i64) {
        let time = |path| at(&self.document, path).and_then(Value::as_i64);
        let first = time("finding_info.first_seen_time").unwrap_or(self.time);
        (first, time("finding_info.last_seen_time").unwrap_or(self.time).max(first))
    }

    /// True for what GuardDuty generates on request.
    pub fn is_sample(&self) -> bool {
        unmapped(&self.document, "service.additionalInfo.sample") == Some("true")
            || self.text("finding_info.title").is_some_and(|title| title.starts_with("[SAMPLE]"))
    }

    /// Operations that it is about.
    pub fn operations(&self) -> BTreeSet<String> {
        let evidences = at(&self.document, "evidences").and_then(Value::as_array);
        let evidences = evidences.into_iter().flatten();
        evidences.filter_map(|one| text(one, "api.operation")).map(str::to_owned).collect()
    }

    /// Whom and what it names.
    pub fn named(&self) -> Named {
        let mut named = Named::default();
        let list = |path| at(&self.document, path).and_then(Value::as_array).into_iter().flatten();
        let add = |set: &mut BTreeSet<String>, text: Option<&str>| {
            if let Some(text) = text.filter(|text| *text != "Unknown") {
                set.insert(text.to_owned());
            }
        };
        for evidence in list("evidences") {
            let user = at(evidence, "actor.user");
            let user = user.unwrap_or(&Value::Null);
            add(&mut named.keys, text(user, "credential_uid"));
            // Of a service it is no name that anybody has stolen.
            if text(user, "type") != Some("AWSService") {
                add(&mut named.names, text(user, "name"));
            }
            for end in ["src_endpoint", "dst_endpoint"] {
                let Some(end) = evidence.get(end) else { continue };
                add(&mut named.instances, text(end, "instance_uid"));
                add(&mut named.interfaces, text(end, "interface_uid"));
                let is_own = text(end, "instance_uid").or(text(end, "interface_uid")).is_some();
                if !is_own && text(end, "uid").is_none_or(|uid| !uid.starts_with("arn:")) {
                    add(&mut named.addresses, text(end, "ip"));
                }
            }
        }
        for resource in list("resources") {
            let uid = text(resource, "uid");
            match text(resource, "type").unwrap_or_default() {
                "AWS::IAM::AccessKey" | "ACCESS_KEY" => {
                    let is_key = |uid: &&str| uid.starts_with("AKIA") || uid.starts_with("ASIA");
                    add(&mut named.keys, uid.filter(is_key));
                    let name = text(resource, "name").filter(|name| !name.contains('.'));
                    add(&mut named.names, name);
                }
                "AWS::EC2::Instance" => {
                    add(&mut named.instances, uid.and_then(|uid| uid.rsplit('/').next()));
                }
                _ => add(&mut named.resources, uid),
            }
        }
        named
    }
}
