//! The two ends of a connection, and the connection.
//!
//! # Input
//! An action body, the instance that a finding is about.
//! # Maps to
//! `src_endpoint`, `dst_endpoint`, `connection_info` of an evidence.
//! # Known gaps
//! None.
//! # Reference
//! Mapping 5.3, "two kinds of endpoint".

use super::Builder;
use crate::{
    ocsf::{EvidenceConnection, EvidenceEndpoint, Location},
    tree::{Node, Reader},
};

impl<'a> Builder<'a, '_> {
    pub(super) fn connection(&mut self, body: &'a Node<'a>) -> EvidenceConnection<'a> {
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
    pub(super) fn remote(&mut self, body: &'a Node<'a>) -> EvidenceEndpoint<'a> {
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
    pub(super) fn local(&mut self, body: &'a Node<'a>) -> EvidenceEndpoint<'a> {
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
}

/// The constraint of `network_endpoint`.
pub(super) fn is_valid(endpoint: &EvidenceEndpoint<'_>) -> bool {
    let EvidenceEndpoint { ip, uid, svc_name, instance_uid, interface_uid, .. } = endpoint;
    [ip, uid, svc_name, instance_uid, interface_uid].iter().any(|id| id.is_some())
}

/// `[lon, lat]`, if both are numbers.
pub(in crate::guardduty) fn coordinates<'a>(place: &'a Node<'a>, read: &mut Reader<'a>) -> &'a [Option<f64>] {
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
