//! The fields that others look for in OCSF documents, against our mappings.
//!
//! Security Analytics: `src/main/resources/OSMapping/{cloudtrail,vpcflow}_logtype.json` of
//! opensearch-project/security-analytics; the names for OCSF 1.0 (`ocsf`) and 1.1 (`ocsf11`). Its
//! other log types of AWS (s3, waf) have no OCSF names; `dns` is about a class that is not written.
//!
//! Catalog: `integrations/security/OCSF` of opensearch-project/opensearch-catalog, component
//! templates of OCSF 1.1.0. It maps the whole of OCSF; here is what its templates for our classes say
//! of base event, cloud, API, HTTP request, connection, traffic, observables, and the plain attributes
//! of metadata, endpoints, findings and resources. Its saved objects (3 MB) were not gone through.

use std::collections::BTreeMap;

use parsers::ocsf::class;
use serde_json::Value;
use trailhound::setup::templates::mappings;

/// Fields by path, with their types; multi-fields too.
fn fields(classes: &[&str]) -> BTreeMap<String, String> {
    fn collect(mapping: &Value, prefix: &str, found: &mut BTreeMap<String, String>) {
        for below in ["properties", "fields"] {
            for (name, field) in mapping[below].as_object().into_iter().flatten() {
                let path = format!("{prefix}{name}");
                if let Some(kind) = field["type"].as_str() {
                    found.insert(path.clone(), kind.to_owned());
                }
                collect(field, &format!("{path}."), found);
            }
        }
    }
    let mut found = BTreeMap::new();
    for name in classes {
        collect(&mappings(class(name).unwrap()), "", &mut found);
    }
    found
}

/// What is searchable under this path: the field, or the flat object above it.
fn find<'f>(fields: &'f BTreeMap<String, String>, path: &str) -> Option<&'f str> {
    let above = path.match_indices('.').map(|(at, _)| &path[..at]);
    let in_flat_object = || {
        let mut kinds = above.filter_map(|path| fields.get(path));
        kinds.find(|kind| *kind == "flat_object")
    };
    fields.get(path).or_else(in_flat_object).map(String::as_str)
}

const CALLS: [&str; 3] = ["api_activity", "authentication", "account_change"];

/// Fields of the log type `cloudtrail`.
const CLOUDTRAIL: &str = "
    api.operation api.service.name metadata.product.version metadata.uid unmapped.eventType
    metadata.event_code metadata.product.feature.name api.response.message api.response.error
    api.version cloud.region dst_endpoint.svc_name mfa is_mfa unmapped.responseElements
    api.request.uid src_endpoint.ip http_request.user_agent src_endpoint.uid
    unmapped.responseElements.pendingModifiedValues.masterUserPassword
    unmapped.responseElements.publiclyAccessible status_id unmapped.requestParameters.arn
    unmapped.requestParameters.attribute unmapped.requestParameters.userName user.name user.uuid
    user.uid unmapped.requestParameters.containerDefinitions.command actor.user.type actor.user.uid
    actor.user.uid_alt actor.user.uuid actor.user.account_uid actor.user.account.uid
    actor.user.credential_uid actor.idp.name actor.user.name actor.invoked_by
    unmapped.userIdentity.sessionContext.sessionIssuer.type actor.session.issuer
    actor.session.created_time actor.session.mfa actor.session.is_mfa resources.uid
    resources.account_uid resources.type time
";

/// Fields of the log type `vpcflow`.
const FLOWS: &str = "
    metadata.product.version cloud.account_uid cloud.region cloud.zone src_endpoint.port
    dst_endpoint.port connection_info.protocol_num traffic.packets traffic.bytes end_time
    connection_info.tcp_flags connection_info.protocol_ver src_endpoint.svc_name
    dst_endpoint.svc_name status_code disposition_id boundary_id connection_info.direction_id
    dst_endpoint.ip src_endpoint.ip dst_endpoint.interface_uid dst_endpoint.vpc_uid
    dst_endpoint.instance_uid dst_endpoint.subnet_uid time
";

/// What Security Analytics looks for and is not here under this name, where it is, and why.
const ELSEWHERE: [(&str, &str, &str); 15] = [
    ("unmapped.requestParameters", "api.request.data", "1.1.0 has a place for it"),
    ("unmapped.responseElements", "api.response.data", "1.1.0 has a place for it"),
    ("unmapped.eventType", "metadata.event_code", "1.1.0 has a place for it"),
    ("mfa", "is_mfa", "named so since 1.1.0"),
    ("actor.session.mfa", "actor.session.is_mfa", "named so since 1.1.0"),
    ("user.uuid", "user.uid", "named so since 1.1.0"),
    ("actor.user.uuid", "actor.user.uid", "named so since 1.1.0"),
    ("actor.user.account_uid", "actor.user.account.uid", "an object since 1.0.0"),
    ("resources.account_uid", "resources.owner.account.uid", "an object since 1.0.0"),
    ("cloud.account_uid", "cloud.account.uid", "an object since 1.0.0"),
    ("boundary_id", "connection_info.boundary_id", "never was at the root"),
    ("unmapped.requestParameters.arn", "api.request.data.arn", "as above"),
    ("unmapped.requestParameters.attribute", "api.request.data.attribute", "as above"),
    ("unmapped.requestParameters.userName", "user.name", "of the user that is acted upon"),
    (
        "unmapped.requestParameters.containerDefinitions.command",
        "api.request.data.containerDefinitions.command",
        "as above",
    ),
];

#[test]
fn what_security_analytics_looks_for_is_there_or_known_to_be_elsewhere() {
    let elsewhere = |path: &str| {
        // The longest name that fits.
        let named = ELSEWHERE.iter().filter(|(old, ..)| {
            path == *old || path.strip_prefix(old).is_some_and(|rest| rest.starts_with('.'))
        });
        named.max_by_key(|(old, ..)| old.len()).map(|(_, new, _)| *new)
    };
    for (wanted, classes) in [(CLOUDTRAIL, &CALLS[..]), (FLOWS, &["network_activity"])] {
        let fields = fields(classes);
        for path in wanted.split_whitespace() {
            let path = elsewhere(path).unwrap_or(path);
            assert!(find(&fields, path).is_some(), "{path} of {classes:?}");
        }
    }
}

#[test]
fn nothing_is_said_to_be_elsewhere_that_is_here() {
    let fields = fields(&["api_activity", "authentication", "account_change", "network_activity"]);
    for (old, _, why) in ELSEWHERE {
        let is_raw = old.starts_with("unmapped.");
        assert!(is_raw || !fields.contains_key(old), "{old} ({why}) is a field");
    }
}

/// Fields of the catalog's templates by type, for one class or all.
const CATALOG: [(&str, &str); 9] = [
    (
        "integer",
        "activity_id category_uid class_uid count duration severity_id status_id timezone_offset
         action_id disposition_id confidence_id confidence_score impact_id impact_score
         cloud.account.type_id api.response.code connection_info.boundary_id
         connection_info.direction_id connection_info.protocol_ver_id connection_info.protocol_num
         connection_info.tcp_flags http_request.length observables.type_id src_endpoint.port
         dst_endpoint.port finding_info.analytic.type_id finding_info.kill_chain.phase_id",
    ),
    (
        "long",
        "type_uid traffic.bytes traffic.packets traffic.bytes_in traffic.bytes_out traffic.packets_in
         traffic.packets_out traffic.chunks traffic.chunks_in traffic.chunks_out",
    ),
    (
        "date",
        "time time_dt start_time start_time_dt end_time end_time_dt metadata.logged_time
         metadata.logged_time_dt finding_info.created_time finding_info.created_time_dt
         finding_info.modified_time finding_info.modified_time_dt finding_info.first_seen_time
         finding_info.first_seen_time_dt finding_info.last_seen_time finding_info.last_seen_time_dt",
    ),
    ("ip", "src_endpoint.ip dst_endpoint.ip src_endpoint.intermediate_ips http_request.x_forwarded_for"),
    (
        "keyword",
        "activity_name category_name class_name severity status status_code type_name action
         disposition confidence impact cloud.account.name cloud.account.type cloud.account.uid
         cloud.org.name cloud.org.uid cloud.zone cloud.project_uid cloud.provider cloud.region
         api.request.flags api.request.uid api.response.error api.response.flags api.operation
         api.service.labels api.service.name api.service.uid api.service.version api.version
         connection_info.boundary connection_info.uid connection_info.direction
         connection_info.protocol_ver connection_info.protocol_name http_request.http_method
         http_request.version http_request.uid observables.name observables.type observables.value
         observables.reputation.score metadata.correlation_uid metadata.event_code metadata.uid
         metadata.labels metadata.log_level metadata.log_name metadata.log_provider
         metadata.log_version src_endpoint.domain src_endpoint.instance_uid src_endpoint.mac
         src_endpoint.name src_endpoint.interface_uid src_endpoint.interface_name src_endpoint.zone
         dst_endpoint.domain dst_endpoint.name resources.cloud_partition resources.criticality
         resources.labels resources.name resources.namespace resources.owner.account.uid
         finding_info.analytic.category finding_info.analytic.name finding_info.analytic.type
         finding_info.analytic.uid finding_info.analytic.version finding_info.product_uid
         finding_info.attacks.tactic.name finding_info.attacks.tactic.uid
         finding_info.attacks.technique.name finding_info.attacks.technique.uid
         finding_info.attacks.sub_technique.name finding_info.attacks.version",
    ),
    (
        "text",
        "message status_detail api.response.message api.response.error_message comment
         finding_info.desc finding_info.data_sources finding_info.analytic.desc
         http_request.user_agent http_request.args http_request.referrer src_endpoint.hostname",
    ),
    ("geo_point", "src_endpoint.location.coordinates"),
    // As text there, or as objects that are not indexed: here every leaf is found by its path.
    ("flat_object", "api.request.data resources.data unmapped"),
    ("object", "raw_data"),
];

/// What the catalog maps and is not written by Trailhound: why.
const UNWRITTEN: [(&str, &str); 4] = [
    (
        "duration timezone_offset confidence confidence_id impact impact_id impact_score
         cloud.org.name cloud.org.uid cloud.project_uid api.request.flags api.response.code
         api.response.flags api.service.labels api.service.uid api.service.version
         connection_info.uid connection_info.protocol_ver_id http_request.http_method
         http_request.version http_request.uid http_request.length http_request.args
         http_request.referrer http_request.x_forwarded_for observables.reputation.score
         metadata.correlation_uid metadata.log_level metadata.log_provider metadata.logged_time
         metadata.logged_time_dt src_endpoint.mac src_endpoint.interface_name src_endpoint.zone
         resources.criticality resources.namespace finding_info.analytic.category
         finding_info.analytic.version finding_info.analytic.desc finding_info.product_uid
         finding_info.attacks.version finding_info.data_sources finding_info.kill_chain.phase_id
         comment traffic.bytes_in traffic.bytes_out traffic.packets_in traffic.packets_out
         traffic.chunks traffic.chunks_in traffic.chunks_out src_endpoint.hostname",
        "no source says it",
    ),
    ("src_endpoint.location.coordinates", "GuardDuty's places are those of evidences"),
    ("raw_data", "the lake has every record whole"),
    ("api.response.error_message", "deprecated by OCSF for api.response.message"),
];

/// What is text with a keyword twin there, and a keyword here: search the field itself.
const EXACT: [&str; 1] = ["http_request.user_agent"];

#[test]
fn what_the_catalog_maps_is_mapped_alike_or_known_not_to_be_written() {
    let classes = parsers::ocsf::CLASSES.iter().map(|class| class.name).collect::<Vec<_>>();
    let fields = fields(&classes);
    let unwritten: Vec<&str> =
        UNWRITTEN.iter().flat_map(|(paths, _)| paths.split_whitespace()).collect();
    for (kind, paths) in CATALOG {
        for path in paths.split_whitespace() {
            let ours = fields.get(path).map(String::as_str);
            if unwritten.contains(&path) {
                assert_eq!(ours, None, "{path} is written after all");
                continue;
            }
            let expected = if EXACT.contains(&path) { "keyword" } else { kind };
            assert_eq!(ours, Some(expected), "{path}");
            if expected == "text" {
                assert_eq!(fields[&format!("{path}.keyword")], "keyword");
            }
        }
    }
}
