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

use bumpalo::collections::Vec as BumpVec;

use super::{finding::Context, sequence};
use crate::{
    ocsf::{
        DnsQuery, Evidence, EvidenceApi, EvidenceConnection, EvidenceEndpoint, EvidenceResponse,
        EvidenceUser, File, Fingerprint, FindingResource, Group, Location, ParentProcess, Process,
        ProcessUser, Service, json,
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

    /// The file at a place; with a `hash`.
    fn file(&mut self, from: &'a Node<'a>, place: &str, name: Option<&'a str>) -> File<'a> {
        let path = self.read.text(from, place);
        let hashes = self.hashes(from, "hash");
        file(path, name, hashes)
    }

    /// A hash, unless it is longer than `file_hash_t` may be (table G6).
    fn hashes(&mut self, from: &'a Node<'a>, place: &str) -> &'a [Fingerprint<'a>] {
        let Some(value) = self.read.copy(from, place) else { return &[] };
        if value.chars().count() > 64 {
            if self.add_text("hash", value) {
                self.read.text(from, place);
            }
            return &[];
        }
        self.read.text(from, place);
        let (id, algorithm) = match value.len() {
            32 => (1, "MD5"),
            40 => (2, "SHA-1"),
            64 => (3, "SHA-256"),
            _ => (99, "Other"),
        };
        let hash = Fingerprint {
            algorithm_id: Some(id),
            algorithm: Some(algorithm),
            value: Some(value),
        };
        self.read.arena.alloc_slice_copy(&[hash])
    }

    fn process(&mut self, node: &'a Node<'a>) -> Process<'a> {
        let read = &mut *self.read;
        let created = read.time(node, "startTime");
        let mut process = Process {
            name: read.text(node, "name"),
            pid: read.int(node, "pid"),
            uid: read.text(node, "uuid"),
            cmd_line: read.text(node, "commandLine"),
            created_time: created,
            created_time_dt: created,
            user: ProcessUser {
                name: read.text(node, "user"),
                uid: read.text(node, "userId"),
            },
            lineage: lineage(node, read),
            parent_process: ParentProcess { uid: read.text(node, "parentUuid") },
            ..Process::default()
        };
        let path = self.read.text(node, "executablePath");
        let hashes = self.hashes(node, "executableSha256");
        process.file = file(path, None, hashes);
        if !process.is_absent() && process.pid.is_none() && process.uid.is_none() {
            process.uid = process.name.or(Some("Unknown"));
        }
        process
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

    fn connection(&mut self, body: &'a Node<'a>) -> EvidenceConnection<'a> {
        let direction = self.read.text(body, "connectionDirection");
        let protocol = self.read.text(body, "protocol");
        let (direction_id, direction) = match direction {
            None | Some("UNKNOWN") => (0, "Unknown"),
            Some("INBOUND") => (1, "Inbound"),
            Some("OUTBOUND") => (2, "Outbound"),
            Some(other) => (99, other),
        };
        EvidenceConnection {
            direction_id: Some(direction_id),
            direction: Some(direction),
            protocol_num: match protocol {
                Some("TCP") => Some(6),
                Some("UDP") => Some(17),
                Some("ICMP") => Some(1),
                _ => None,
            },
            protocol_name: protocol
                .map(|protocol| self.read.alloc(&[&protocol.to_lowercase()])),
        }
    }

    /// `remoteIpDetails` and `remotePortDetails`.
    fn remote(&mut self, body: &'a Node<'a>) -> EvidenceEndpoint<'a> {
        let port = self.read.port(body, "remotePortDetails.port");
        let Some(details) = body.get("remoteIpDetails") else {
            return EvidenceEndpoint { port, ..EvidenceEndpoint::default() };
        };
        let ip = self.address(details);
        let location = details.get("geoLocation");
        let mut location = Location {
            city: self.read.text(details, "city.cityName"),
            country: self.read.text(details, "country.countryCode"),
            coordinates: location.map_or(&[], |place| coordinates(place, self.read)),
            isp: None,
        };
        if location.country.is_none() {
            location.country = self.read.text(details, "country.countryName");
        }
        if !location.is_absent() {
            location.isp = self.read.copy(details, "organization.isp");
        }
        let organization = details.present("organization");
        if let Some(organization) = organization.filter(|node| node.is_object()) {
            self.add_node("remote_organization", organization);
        }
        EvidenceEndpoint { ip, port, location, ..EvidenceEndpoint::default() }
    }

    fn address(&mut self, details: &'a Node<'a>) -> Option<&'a str> {
        let v4 = self.read.ip(details, "ipAddressV4");
        if v4.is_some() { v4 } else { self.read.ip(details, "ipAddressV6") }
    }

    /// The instance that a finding is about, as an end of a connection.
    fn local(&mut self, body: &'a Node<'a>) -> EvidenceEndpoint<'a> {
        let mut local = EvidenceEndpoint {
            port: self.read.port(body, "localPortDetails.port"),
            ip: body.get("localIpDetails").and_then(|details| self.address(details)),
            ..EvidenceEndpoint::default()
        };
        let instance = self.context.finding.get("resource.instanceDetails");
        if let Some(instance) = instance {
            local.instance_uid = self.read.text(instance, "instanceId");
            let interfaces = instance.get("networkInterfaces").map(Node::list);
            if let Some(interface) = interfaces.and_then(<[_]>::first) {
                if local.ip.is_none() {
                    local.ip = self.read.ip(interface, "privateIpAddress");
                }
                let v6 = interface.get("ipv6Addresses").and_then(|list| list.list().first());
                if let Some(v6) = v6.filter(|_| local.ip.is_none()) {
                    local.ip = self.read.ip(v6, "");
                }
                local.interface_uid = self.read.text(interface, "networkInterfaceId");
                local.vpc_uid = self.read.text(interface, "vpcId");
                local.subnet_uid = self.read.text(interface, "subnetId");
            }
        }
        if !is_valid(&local) {
            let first = self.resources.first();
            let resource = first.and_then(|resource| resource.uid.or(resource.name));
            local.uid = resource.or(self.context.arn).or(Some("Unknown"));
        }
        local
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
                if self.add(name) {
                    endpoint.write_json(&mut self.data);
                }
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

/// The constraint of `network_endpoint`.
fn is_valid(endpoint: &EvidenceEndpoint<'_>) -> bool {
    let EvidenceEndpoint { ip, uid, svc_name, instance_uid, interface_uid, .. } = endpoint;
    [ip, uid, svc_name, instance_uid, interface_uid].iter().any(|id| id.is_some())
}

/// A user needs a name or a uid.
fn named(mut user: EvidenceUser<'_>) -> EvidenceUser<'_> {
    if !user.is_absent() && user.name.is_none() && user.uid.is_none() {
        user.uid = user.credential_uid.or(Some("Unknown"));
    }
    user
}

fn file<'a>(
    path: Option<&'a str>,
    name: Option<&'a str>,
    hashes: &'a [Fingerprint<'a>],
) -> File<'a> {
    if path.is_none() && name.is_none() && hashes.is_empty() {
        return File::default();
    }
    let last = |path: &'a str| path.rsplit('/').next().filter(|name| !name.is_empty());
    File {
        name: name.or(path.and_then(last)).or(Some("Unknown")),
        path,
        type_id: Some(1),
        r#type: Some("Regular File"),
        hashes,
    }
}

fn lineage<'a>(process: &'a Node<'a>, read: &mut Reader<'a>) -> &'a [Option<&'a str>] {
    let mut lineage = BumpVec::new_in(read.arena);
    for parent in process.objects("lineage") {
        let path = read.text(parent, "executablePath");
        let name = if path.is_some() { path } else { read.text(parent, "name") };
        lineage.extend(name.map(Some));
    }
    lineage.into_bump_slice()
}

/// `[lon, lat]`, if both are numbers.
pub(super) fn coordinates<'a>(place: &'a Node<'a>, read: &mut Reader<'a>) -> &'a [Option<f64>] {
    let number = |name| {
        let text = read.copy(place, name)?;
        text.parse().ok().filter(|number: &f64| number.is_finite())
    };
    let (Some(lon), Some(lat)) = (number("lon"), number("lat")) else { return &[] };
    for name in ["lon", "lat"] {
        read.text(place, name);
    }
    read.arena.alloc_slice_copy(&[Some(lon), Some(lat)])
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
