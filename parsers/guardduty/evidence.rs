//! The evidences of a finding: who did what, from where.
//!
//! # Input
//! The action of a finding, runtime details, malware scans, signals of an attack sequence.
//! # Maps to
//! `evidences[]`, mapping tables M7, G5, G6. What has no attribute is in `data`.
//! # Known gaps
//! An action body that table G5 does not name goes to `unmapped`.
//! # Reference
//! Mapping 5.3.

mod network;
mod process;

use bumpalo::collections::Vec as BumpVec;

pub(super) use self::network::coordinates;
use self::network::is_valid;
use super::{finding::Context, sequence};
use crate::{
    ocsf::{
        DnsQuery, Evidence, EvidenceApi, EvidenceConnection, EvidenceResponse, EvidenceUser,
        FindingResource, Group, Service,
        json::{self, Form},
    },
    tree::{Node, Reader},
};

/// Bodies of `service.action` whose evidence is their `data` alone.
const DATA_ONLY: [&str; 3] =
    ["kubernetesPermissionCheckedDetails", "kubernetesRoleBindingDetails", "kubernetesRoleDetails"];

/// Members of a body that tell of the remote end.
const REMOTE: [&str; 2] = ["remoteIpDetails", "remotePortDetails"];

/// An evidence under construction.
struct Builder<'a, 'r> {
    context: &'r Context<'a>,
    resources: &'r [FindingResource<'a>],
    read: &'r mut Reader<'a>,
    out: BumpVec<'a, Evidence<'a>>,
    /// Members of `data`, as JSON, and their names.
    data: Vec<u8>,
    names: Vec<String>,
}

/// All evidences of a finding. What they hold is taken.
pub(super) fn evidences<'a>(
    context: &Context<'a>,
    resources: &[FindingResource<'a>],
    read: &mut Reader<'a>,
) -> &'a [Evidence<'a>] {
    let out = BumpVec::new_in(read.arena);
    let mut builder = Builder { context, resources, read, out, data: Vec::new(), names: Vec::new() };
    let finding = context.finding;
    let object = |path| finding.get(path).filter(|node| node.is_object());
    if let Some(action) = object("service.action") {
        builder.action(action);
    }
    if let Some(details) = object("service.runtimeDetails") {
        builder.runtime(details);
    }
    builder.volume_scan();
    builder.object_scan();
    for signal in finding.objects("service.detection.sequence.signals") {
        let evidence = Evidence {
            actor: sequence::actor(finding, signal, builder.read),
            src_endpoint: sequence::endpoint(finding, signal, builder.read),
            ..Evidence::default()
        };
        builder.add_node("signal", signal);
        builder.push(evidence);
    }
    builder.out.into_bump_slice()
}

impl<'a> Builder<'a, '_> {
    fn action(&mut self, action: &'a Node<'a>) {
        let body = |name| action.get(name).filter(|body| body.is_object() && !body.is_absent());
        if let Some(body) = body("awsApiCallAction") {
            self.api_call(body);
        }
        if let Some(body) = body("networkConnectionAction") {
            self.network_connection(body);
        }
        if let Some(body) = body("dnsRequestAction") {
            self.dns_request(body);
        }
        if let Some(body) = body("portProbeAction") {
            self.port_probes(body);
        }
        if let Some(body) = body("kubernetesApiCallAction") {
            self.kubernetes_call(body);
        }
        if let Some(body) = body("rdsLoginAttemptAction") {
            self.rds_login(body);
        }
        for name in DATA_ONLY {
            if let Some(body) = body(name) {
                self.add_node(name, body);
                let data = self.take_data();
                self.out.push(Evidence { data, ..Evidence::default() });
                self.read.keep();
            }
        }
    }

    fn api_call(&mut self, body: &'a Node<'a>) {
        let mut src_endpoint = self.remote(body);
        let domain = self.read.text(body, "domainDetails.domain");
        src_endpoint.domain = domain;
        src_endpoint.svc_name = domain.filter(|_| src_endpoint.ip.is_none());
        let mut others = vec!["domainDetails", "affectedResources", "api"];
        others.extend(REMOTE);
        let mut evidence = Evidence { src_endpoint, ..Evidence::default() };
        if let Some(operation) = self.read.text(body, "api") {
            others.extend(["serviceName", "errorCode"]);
            evidence.api = EvidenceApi {
                operation: Some(operation),
                service: Service { name: self.read.text(body, "serviceName") },
                response: EvidenceResponse {
                    error: self.read.text(body, "errorCode"),
                    code: None,
                },
            };
        }
        evidence.actor.user = self.key_user();
        if let Some(affected) = body.present("affectedResources") {
            self.add_node("affected_resource", affected);
        }
        self.others(body, &others);
        self.push(evidence);
    }

    fn network_connection(&mut self, body: &'a Node<'a>) {
        let remote = self.remote(body);
        let local = self.local(body);
        let inbound = self.read.copy(body, "connectionDirection") == Some("INBOUND");
        let (src_endpoint, dst_endpoint) = if inbound { (remote, local) } else { (local, remote) };
        let connection_info = self.connection(body);
        let mapped = [
            "connectionDirection",
            "remoteIpDetails",
            "remotePortDetails",
            "localIpDetails",
            "localPortDetails",
            "localNetworkInterface",
            "protocol",
        ];
        self.others(body, &mapped);
        self.push(Evidence { connection_info, src_endpoint, dst_endpoint, ..Evidence::default() });
    }

    fn dns_request(&mut self, body: &'a Node<'a>) {
        let mut mapped = vec!["protocol", "domain", "localIpDetails", "localPortDetails"];
        let mut query = DnsQuery::default();
        for place in ["domain", "domainWithSuffix"] {
            let Some(domain) = self.read.text(body, place) else { continue };
            let name = domain.strip_suffix('.').unwrap_or(domain);
            mapped.push(place);
            if is_hostname(name) {
                query.hostname = Some(name);
            } else {
                self.add_text("domain", domain);
            }
            break;
        }
        let has_protocol = self.read.copy(body, "protocol").is_some_and(|text| text != "0");
        let connection_info =
            if has_protocol { self.connection(body) } else { EvidenceConnection::default() };
        let src_endpoint = self.local(body);
        self.others(body, &mapped);
        self.push(Evidence { connection_info, query, src_endpoint, ..Evidence::default() });
    }

    fn port_probes(&mut self, body: &'a Node<'a>) {
        for probe in body.objects("portProbeDetails") {
            let evidence = Evidence {
                src_endpoint: self.remote(probe),
                dst_endpoint: self.local(probe),
                connection_info: EvidenceConnection {
                    direction_id: Some(1),
                    direction: Some("Inbound"),
                    ..EvidenceConnection::default()
                },
                ..Evidence::default()
            };
            self.others(body, &["portProbeDetails"]);
            self.push(evidence);
        }
    }

    fn kubernetes_call(&mut self, body: &'a Node<'a>) {
        let mut src_endpoint = self.remote(body);
        let mut mapped = vec!["verb"];
        mapped.extend(REMOTE);
        for place in ["sourceIPs", "sourceIps"] {
            let first = body.get(place).and_then(|list| list.list().first());
            if let Some(first) = first.filter(|_| src_endpoint.ip.is_none()) {
                src_endpoint.ip = self.read.ip(first, "");
                mapped.extend(src_endpoint.ip.map(|_| place));
            }
        }
        let mut evidence = Evidence { src_endpoint, ..Evidence::default() };
        if let Some(verb) = self.read.text(body, "verb") {
            let code = self.read.int(body, "statusCode");
            mapped.push("statusCode");
            evidence.api = EvidenceApi {
                operation: Some(verb),
                service: Service { name: Some("kubernetes") },
                response: EvidenceResponse { error: None, code },
            };
        }
        evidence.actor.user = self.kubernetes_user();
        self.others(body, &mapped);
        self.push(evidence);
    }

    fn rds_login(&mut self, body: &'a Node<'a>) {
        let mut evidence = Evidence { src_endpoint: self.remote(body), ..Evidence::default() };
        self.others(body, &REMOTE);
        if let Some(user) = self.context.finding.get("resource.rdsDbUserDetails") {
            evidence.actor.user.name = self.read.text(user, "user");
            self.others(user, &["user"]);
        }
        self.push(evidence);
    }

    fn runtime(&mut self, details: &'a Node<'a>) {
        let mut evidence = Evidence::default();
        if let Some(process) = details.get("process") {
            evidence.actor.process = self.process(process);
            for name in ["namespacePid", "euid", "pwd"] {
                if let Some(node) = process.present(name) {
                    self.add_node(name, node);
                }
            }
        }
        if let Some(context) = details.get("context") {
            if let Some(target) = context.get("targetProcess") {
                evidence.process = self.process(target);
            }
            self.others(context, &["targetProcess"]);
        }
        self.push(evidence);
    }

    fn volume_scan(&mut self) {
        const THREATS: &str =
            "service.ebsVolumeScanDetails.scanDetections.threatDetectedByName.threatNames";
        for threat in self.context.finding.objects(THREATS) {
            for path in threat.objects("filePaths") {
                let name = self.read.text(path, "fileName");
                let file = self.file(path, "filePath", name);
                for (name, from, place) in [
                    ("threat_name", threat, "name"),
                    ("severity", threat, "severity"),
                    ("volume_arn", path, "volumeArn"),
                ] {
                    if let Some(node) = from.present(place) {
                        self.add_node(name, node);
                    }
                }
                self.push(Evidence { file, ..Evidence::default() });
            }
        }
    }

    fn object_scan(&mut self) {
        for threat in self.context.finding.objects("service.malwareScanDetails.threats") {
            for path in threat.objects("itemPaths") {
                let file = self.file(path, "nestedItemPath", None);
                for (name, place) in [("threat_name", "name"), ("source", "source")] {
                    if let Some(node) = threat.present(place) {
                        self.add_node(name, node);
                    }
                }
                self.push(Evidence { file, ..Evidence::default() });
            }
        }
    }

    /// `resource.accessKeyDetails` as a user.
    fn key_user(&mut self) -> EvidenceUser<'a> {
        let Some(key) = self.context.finding.get("resource.accessKeyDetails") else {
            return EvidenceUser::default();
        };
        let kind = self.read.text(key, "userType");
        named(EvidenceUser {
            name: self.read.text(key, "userName"),
            uid: self.read.text(key, "principalId"),
            r#type: kind,
            type_id: kind.map(crate::cloudtrail::user_type_id),
            credential_uid: self.read.text(key, "accessKeyId"),
            ..EvidenceUser::default()
        })
    }

    fn kubernetes_user(&mut self) -> EvidenceUser<'a> {
        let details = "resource.kubernetesDetails.kubernetesUserDetails";
        let finding = self.context.finding;
        let credential_uid = self.read.text(finding, "resource.accessKeyDetails.accessKeyId");
        let key_only = EvidenceUser { credential_uid, ..EvidenceUser::default() };
        let Some(user) = finding.get(details) else { return named(key_only) };
        let groups = user.get("groups").map(Node::list).unwrap_or_default();
        let groups: Vec<Group<'a>> = groups
            .iter()
            .filter_map(|group| Some(Group { name: Some(self.read.text(group, "")?) }))
            .collect();
        named(EvidenceUser {
            name: self.read.text(user, "username"),
            uid: self.read.text(user, "uid"),
            credential_uid,
            groups: self.read.arena.alloc_slice_copy(&groups),
            ..EvidenceUser::default()
        })
    }

    /// Adds the members of a body that have no place of their own to `data`.
    fn others(&mut self, body: &'a Node<'a>, mapped: &[&str]) {
        for (name, node) in body.members() {
            if !mapped.contains(name) {
                if node.is_absent() {
                    node.take();
                } else {
                    self.add_node(name, node);
                }
            }
        }
    }

    /// Adds a value to `data`, unless there is one of that name.
    fn add_node(&mut self, name: &str, node: &'a Node<'a>) {
        if self.add(name) {
            self.read.mark(node);
            self.data.extend_from_slice(node.json(self.read.arena).as_bytes());
        }
    }

    /// Adds a text to `data`; false if there is one of that name.
    fn add_text(&mut self, name: &str, text: &str) -> bool {
        let is_new = self.add(name);
        if is_new {
            json::string(text, &mut self.data);
        }
        is_new
    }

    /// Begins a member of `data`; false if there is one of that name.
    fn add(&mut self, name: &str) -> bool {
        if self.names.iter().any(|known| known == name) {
            return false;
        }
        self.names.push(name.to_owned());
        self.data.push(if self.data.is_empty() { b'{' } else { b',' });
        json::string(name, &mut self.data);
        self.data.push(b':');
        true
    }

    fn take_data(&mut self) -> Option<&'a str> {
        self.names.clear();
        let mut data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return None;
        }
        data.push(b'}');
        // What was text is text.
        let data = str::from_utf8(self.read.arena.alloc_slice_copy(&data)).unwrap_or_default();
        Some(data)
    }

    /// Keeps an evidence, unless it is nothing but data.
    fn push(&mut self, mut evidence: Evidence<'a>) {
        for (name, endpoint) in [
            ("src_endpoint", &mut evidence.src_endpoint),
            ("dst_endpoint", &mut evidence.dst_endpoint),
        ] {
            if !endpoint.is_absent() && !is_valid(endpoint) {
                let endpoint = std::mem::take(endpoint);
                let mut name = name.to_owned();
                while !self.add(&name) {
                    name.push('_');
                }
                endpoint.write_json(Form::Event, &mut self.data);
            }
        }
        if evidence.is_absent() {
            self.data.clear();
            self.names.clear();
            return self.read.forget();
        }
        if let Some(role) = self.context.resource_role
            && self.add("resource_role")
        {
            self.data.extend_from_slice(role.json(self.read.arena).as_bytes());
        }
        evidence.data = self.take_data();
        self.out.push(evidence);
        self.read.keep();
    }
}

/// A user needs a name or a uid.
fn named(mut user: EvidenceUser<'_>) -> EvidenceUser<'_> {
    if !user.is_absent() && user.name.is_none() && user.uid.is_none() {
        user.uid = user.credential_uid.or(Some("Unknown"));
    }
    user
}

/// `hostname_t` of OCSF 1.1.0.
fn is_hostname(name: &str) -> bool {
    name.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}
