//! From named fields of a flow log row to Network Activity.
//!
//! # Input
//! Fields by name, `-` and empty being absent.
//! # Maps to
//! Mapping tables M6 and L1 to L5.
//! # Known gaps
//! None.
//! # Reference
//! Mapping section 4.

use std::net::IpAddr;

use bumpalo::{Bump, collections::Vec as BumpVec};

use super::Column;
use crate::{
    Origin,
    ocsf::{
        self, Cloud, NamedAccount, Feature, Metadata, NetworkActivity, NetworkConnectionInfo,
        NetworkEndpoint, NetworkTraffic, Observable, Product,
    },
    time,
    unmapped::Leaves,
};

macro_rules! fields {
    ($( $name:ident = $text:literal ),* $(,)?) => {
        /// A field with a home in OCSF.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Field { $( $name ),* }

        const NAMES: &[&str] = &[ $( $text ),* ];

        impl Field {
            /// By its name with `_`.
            pub(super) fn by_name(name: &str) -> Option<Self> {
                match name {
                    $( $text => Some(Self::$name), )*
                    _ => None,
                }
            }
        }
    };
}

fields! {
    Version = "version", AccountId = "account_id", InterfaceId = "interface_id",
    SrcAddr = "srcaddr", DstAddr = "dstaddr", SrcPort = "srcport", DstPort = "dstport",
    Protocol = "protocol", Packets = "packets", Bytes = "bytes", Start = "start", End = "end",
    Action = "action", LogStatus = "log_status", VpcId = "vpc_id", SubnetId = "subnet_id",
    InstanceId = "instance_id", TcpFlags = "tcp_flags", Type = "type",
    PktSrcAddr = "pkt_srcaddr", PktDstAddr = "pkt_dstaddr", Region = "region", AzId = "az_id",
    PktSrcAwsService = "pkt_src_aws_service", PktDstAwsService = "pkt_dst_aws_service",
    FlowDirection = "flow_direction", TrafficPath = "traffic_path",
}

impl Field {
    /// True if its name is hardly found in other tables.
    pub(super) fn is_telling(self) -> bool {
        let telling = [
            Self::AccountId,
            Self::InterfaceId,
            Self::SrcAddr,
            Self::DstAddr,
            Self::PktSrcAddr,
            Self::PktDstAddr,
            Self::LogStatus,
        ];
        telling.contains(&self)
    }
}

/// The columns of the default format, version 2.
pub(super) const DEFAULT_FORMAT: [Field; 14] = [
    Field::Version,
    Field::AccountId,
    Field::InterfaceId,
    Field::SrcAddr,
    Field::DstAddr,
    Field::SrcPort,
    Field::DstPort,
    Field::Protocol,
    Field::Packets,
    Field::Bytes,
    Field::Start,
    Field::End,
    Field::Action,
    Field::LogStatus,
];

/// More fields than any format has: what a line has beyond them is one text.
pub(super) const MAX_FIELDS: usize = 10_000;

/// True for AWS's names of fields that go to `unmapped`.
pub(super) fn is_field_name(name: &str) -> bool {
    let families = ["tgw_", "ecs_", "packets_lost_", "sublocation_", "next_hop_"];
    let names = ["resource_type", "resource_id", "reject_reason", "encryption_status"];
    families.iter().any(|family| name.starts_with(family)) || names.contains(&name)
}

/// Protocol names by number (mapping table N1, from IANA's registry).
const PROTOCOLS: &[(i32, &str)] = &[
    (0, "hopopt"),
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipv4"),
    (6, "tcp"),
    (17, "udp"),
    (27, "rdp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "ipv6-icmp"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (88, "eigrp"),
    (89, "ospfigp"),
    (94, "ipip"),
    (103, "pim"),
    (108, "ipcomp"),
    (112, "vrrp"),
    (115, "l2tp"),
    (132, "sctp"),
    (136, "udplite"),
];

/// `traffic-path` 1 to 8 (mapping table L2); the id is the path + 3.
const BOUNDARIES: [&str; 8] = [
    "Same VPC",
    "Internet/VPC Gateway",
    "Virtual Private Gateway",
    "Intra-region VPC",
    "Inter-region VPC",
    "Local Gateway",
    "Gateway VPC",
    "Internet Gateway",
];

/// The parts of a line between spaces and tabs.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    let bytes = line.as_bytes();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut at = 0;
    std::iter::from_fn(move || {
        at += bytes[at..].iter().position(|byte| !is_blank(byte))?;
        let end = bytes[at..].iter().position(is_blank).map_or(bytes.len(), |len| at + len);
        let word = &line[at..end];
        at = end;
        Some(word)
    })
}

/// The fields of one row; what is consumed is taken out, the rest goes to `unmapped`.
pub(super) struct Fields<'a> {
    known: [Option<&'a str>; NAMES.len()],
    leaves: Leaves<'a>,
}

/// A number, if it is spelled as numbers are: `+5` and `007` would lose their spelling.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let is_plain = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

impl<'a> Fields<'a> {
    /// Splits a line by its columns.
    pub(super) fn read(
        line: &'a str,
        columns: &'a [Column],
        arena: &'a Bump,
    ) -> Result<Self, &'static str> {
        let mut this = Self { known: [None; NAMES.len()], leaves: Leaves::new(arena) };
        let mut count = 0;
        for word in words(line) {
            let column = columns.get(count);
            count += 1;
            if word == "-" {
                continue;
            }
            match column {
                Some(Column::Known(field)) => {
                    // A column that comes twice: the later counts, the earlier is not lost.
                    if let Some(earlier) = this.known[*field as usize].replace(word) {
                        this.leaves.text(NAMES[*field as usize], earlier);
                    }
                }
                Some(Column::Unknown(name)) => this.leaves.text(name, word),
                None => {
                    let name = arena.alloc_str(&format!("field_{count}"));
                    if count > MAX_FIELDS {
                        let start = word.as_ptr().addr() - line.as_ptr().addr();
                        this.leaves.text(name, line[start..].trim_ascii_end());
                        break;
                    }
                    this.leaves.text(name, word);
                }
            }
        }
        if count < columns.len() { Err("too few fields") } else { Ok(this) }
    }

    /// Takes a text. If it must be cut (V8) the whole goes to `unmapped`.
    fn take(&mut self, field: Field) -> Option<&'a str> {
        let text = self.known[field as usize]?;
        let cut = crate::cut_text(text);
        if cut.len() == text.len() {
            self.known[field as usize] = None;
        }
        Some(cut)
    }

    /// Takes a field if it reads as wanted; if not it stays, and goes to `unmapped` (V7).
    fn parse<T>(&mut self, field: Field, read: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        let value = read(self.known[field as usize]?)?;
        self.known[field as usize] = None;
        Some(value)
    }

    fn ip(&mut self, field: Field) -> Option<&'a str> {
        self.parse(field, |text| text.parse::<IpAddr>().is_ok().then_some(text))
    }

    fn int(&mut self, field: Field) -> Option<i32> {
        self.parse(field, number)
    }

    fn port(&mut self, field: Field) -> Option<i32> {
        self.parse(field, |text| number::<u16>(text).map(i32::from))
    }

    fn long(&mut self, field: Field) -> Option<i64> {
        self.parse(field, number)
    }

    /// Whole seconds as milliseconds (T5).
    fn seconds(&mut self, field: Field) -> Option<i64> {
        self.parse(field, |text| time::in_range(text.parse::<i64>().ok()?.checked_mul(1000)?))
    }

    /// The event, or the reason why there is none.
    pub(super) fn event(
        mut self,
        origin: &'a Origin,
        uid: &'a str,
        arena: &'a Bump,
    ) -> Result<NetworkActivity<'a>, &'static str> {
        let start = self.seconds(Field::Start);
        let end = self.seconds(Field::End);
        let time = start.or(end).or(origin.key.stamp()).ok_or("no time")?;
        let action = self.take(Field::Action);
        let (activity_id, action_id, action_name, disposition_id, disposition) = match action {
            Some("ACCEPT") => (6, 1, "Allowed", 1, "Allowed"),
            Some("REJECT") => (5, 2, "Denied", 2, "Blocked"),
            None => (0, 0, "Unknown", 0, "Unknown"),
            Some(other) => (99, 99, other, 99, other),
        };
        let account = self.parse(Field::AccountId, |text| (text != "unknown").then_some(text));
        let account = account.or(origin.key.account());
        let connection_info = self.connection_info();
        let (src_endpoint, dst_endpoint) = self.endpoints(arena, connection_info.direction_id);
        let mut event = NetworkActivity {
            time: Some(time),
            time_dt: Some(time),
            start_time: start,
            start_time_dt: start,
            end_time: end,
            end_time_dt: end,
            action_id: Some(action_id),
            action: Some(action_name),
            disposition_id: Some(disposition_id),
            disposition: Some(disposition),
            status_code: self.take(Field::LogStatus),
            metadata: Metadata {
                uid: Some(uid),
                version: Some(ocsf::VERSION),
                product: Product {
                    name: Some(super::SOURCE.product),
                    vendor_name: Some("AWS"),
                    version: self.take(Field::Version),
                    feature: Feature { name: Some("Flowlogs") },
                },
                profiles: &[Some("cloud"), Some("security_control"), Some("datetime")],
                labels: origin.accounts.labels(account, arena),
                event_code: None,
                log_name: Some(origin.key.name()),
            },
            cloud: Cloud {
                provider: Some("AWS"),
                region: self.take(Field::Region).or(origin.key.region()),
                zone: self.take(Field::AzId),
                account: NamedAccount { uid: account, name: origin.accounts.name(account) },
            },
            src_endpoint,
            dst_endpoint,
            connection_info,
            traffic: NetworkTraffic {
                packets: self.long(Field::Packets),
                bytes: self.long(Field::Bytes),
            },
            ..NetworkActivity::of(activity_id, action)
        };
        for (value, name) in self.known.iter().zip(NAMES) {
            if let Some(value) = value {
                self.leaves.text(name, value);
            }
        }
        event.unmapped = self.leaves.finish();
        event.observables = observables(&event, arena);
        Ok(event)
    }

    fn connection_info(&mut self) -> NetworkConnectionInfo<'a> {
        let (direction_id, direction) = match self.take(Field::FlowDirection) {
            None => (0, "Unknown"),
            Some("ingress") => (1, "Inbound"),
            Some("egress") => (2, "Outbound"),
            Some(other) => (99, other),
        };
        let path = self.take(Field::TrafficPath);
        let boundary = path.map(|path| {
            let known = number::<usize>(path).and_then(|number| {
                Some((number as i32 + 3, *BOUNDARIES.get(number.checked_sub(1)?)?))
            });
            known.unwrap_or((99, path))
        });
        let protocol_num = self.int(Field::Protocol);
        let protocol_name = protocol_num.and_then(|number| {
            let at = PROTOCOLS.binary_search_by_key(&number, |(number, _)| *number).ok()?;
            Some(PROTOCOLS[at].1)
        });
        NetworkConnectionInfo {
            direction_id: Some(direction_id),
            direction: Some(direction),
            boundary_id: boundary.map(|(id, _)| id),
            boundary: boundary.map(|(_, name)| name),
            protocol_num,
            protocol_name,
            protocol_ver: self.take(Field::Type),
            tcp_flags: self.int(Field::TcpFlags),
        }
    }

    /// Source and destination (mapping tables L4 and L5).
    fn endpoints(
        &mut self,
        arena: &'a Bump,
        direction_id: Option<i32>,
    ) -> (NetworkEndpoint<'a>, NetworkEndpoint<'a>) {
        let mut src = self.endpoint(
            arena,
            [Field::PktSrcAddr, Field::SrcAddr, Field::SrcPort, Field::PktSrcAwsService],
        );
        let mut dst = self.endpoint(
            arena,
            [Field::PktDstAddr, Field::DstAddr, Field::DstPort, Field::PktDstAwsService],
        );
        let interface = self.known[Field::InterfaceId as usize].map(crate::cut_text);
        let no_address = src.ip.is_none() && dst.ip.is_none();
        match direction_id {
            Some(1) => self.place_resources(&mut dst),
            Some(2) => self.place_resources(&mut src),
            _ if no_address => self.place_resources(&mut src),
            _ => {}
        }
        for endpoint in [&mut src, &mut dst] {
            let ids =
                [endpoint.ip, endpoint.svc_name, endpoint.interface_uid, endpoint.instance_uid];
            if ids.iter().all(Option::is_none) {
                endpoint.interface_uid = interface;
                if interface.is_none() {
                    endpoint.name = Some("Unknown");
                }
            }
        }
        (src, dst)
    }

    fn endpoint(&mut self, arena: &'a Bump, fields: [Field; 4]) -> NetworkEndpoint<'a> {
        let [packet_addr, addr, port, service] = fields;
        let packet_addr = self.ip(packet_addr);
        let addr = self.ip(addr);
        let intermediate = addr.filter(|_| packet_addr.is_some() && packet_addr != addr);
        NetworkEndpoint {
            ip: packet_addr.or(addr),
            intermediate_ips: match intermediate {
                Some(ip) => arena.alloc_slice_copy(&[Some(ip)]),
                None => &[],
            },
            port: self.port(port),
            svc_name: self.take(service),
            ..NetworkEndpoint::default()
        }
    }

    fn place_resources(&mut self, endpoint: &mut NetworkEndpoint<'a>) {
        endpoint.interface_uid = self.take(Field::InterfaceId);
        endpoint.vpc_uid = self.take(Field::VpcId);
        endpoint.subnet_uid = self.take(Field::SubnetId);
        endpoint.instance_uid = self.take(Field::InstanceId);
    }
}

fn observables<'a>(event: &NetworkActivity<'a>, arena: &'a Bump) -> &'a [Observable<'a>] {
    let (src, dst) = (&event.src_endpoint, &event.dst_endpoint);
    let mut out: BumpVec<'a, Observable<'a>> = BumpVec::with_capacity_in(7, arena);
    let mut add = |name, type_id, kind, value: Option<&'a str>| {
        let observable =
            Observable { name: Some(name), type_id: Some(type_id), r#type: Some(kind), value };
        let is_new = || out.iter().all(|one| (one.name, one.value) != (Some(name), value));
        if value.is_some() && is_new() {
            out.push(observable);
        }
    };
    let (ip, resource) = ("IP Address", "Resource UID");
    add("src_endpoint.ip", 2, ip, src.ip);
    add("dst_endpoint.ip", 2, ip, dst.ip);
    for (endpoint, list, instance) in [
        (src, "src_endpoint.intermediate_ips[]", "src_endpoint.instance_uid"),
        (dst, "dst_endpoint.intermediate_ips[]", "dst_endpoint.instance_uid"),
    ] {
        for address in endpoint.intermediate_ips {
            add(list, 2, ip, *address);
        }
        add(instance, 10, resource, endpoint.instance_uid);
    }
    let unmapped = || event.unmapped.iter().find(|(key, _)| *key == "interface_id");
    if src.interface_uid.is_some() {
        add("src_endpoint.interface_uid", 10, resource, src.interface_uid);
    } else if dst.interface_uid.is_some() {
        add("dst_endpoint.interface_uid", 10, resource, dst.interface_uid);
    } else {
        add("unmapped", 10, resource, unmapped().map(|(_, value)| *value));
    }
    out.into_bump_slice()
}
