//! The view over all classes that every investigation starts with.
//!
//! # Input
//! The tables of the classes.
//! # Maps to
//! `events`: one row for each event, its columns named once, in [`COLUMNS`].
//! # Known gaps
//! Of a list the first member is shown; what is about all of them asks the class.
//! # Reference
//! Mapping sections 3 to 5. The text runs on DataFusion and on Athena.

use std::fmt::Write as _;

/// Name of the view.
pub const NAME: &str = "events";

/// The classes, in the order of what [`COLUMNS`] says of each.
const CLASSES: [&str; 5] =
    ["api_activity", "account_change", "authentication", "network_activity", "detection_finding"];

/// What a column is in each class.
enum Of {
    /// The same in all.
    All(&'static str),
    /// The same in the three classes of CloudTrail events, nothing elsewhere.
    Calls(&'static str),
    /// In the order of [`CLASSES`]; empty where there is none.
    Each([&'static str; 5]),
}
use Of::{All, Calls, Each};

const TEXT: &str = "varchar";

/// The source identity of a session, in the classes of calls.
pub const SOURCE_IDENTITY: &str =
    "element_at(unmapped, 'userIdentity.sessionContext.sourceIdentity')";
/// The user of an identity store for whom a call was made, in the same.
pub const ON_BEHALF_OF: &str = "coalesce(element_at(unmapped, 'userIdentity.onBehalfOf.userId'), \
                                CASE WHEN actor.idp.uid IS NOT NULL THEN actor.user.uid_alt END)";

/// Name, type, and what it is.
const COLUMNS: [(&str, &str, Of); 43] = [
    ("time", "timestamp", All("time_dt")),
    (
        "class",
        TEXT,
        Each([
            "'api_activity'",
            "'account_change'",
            "'authentication'",
            "'network_activity'",
            "'detection_finding'",
        ]),
    ),
    ("activity", TEXT, All("activity_name")),
    // What was called or seen.
    (
        "operation",
        TEXT,
        Each([
            "api.operation",
            "api.operation",
            "api.operation",
            "action",
            "element_at(finding_info.types, 1)",
        ]),
    ),
    (
        "service",
        TEXT,
        Each([
            "api.service.name",
            "api.service.name",
            "api.service.name",
            "connection_info.protocol_name",
            "metadata.product.name",
        ]),
    ),
    ("title", TEXT, Each(["", "", "", "", "finding_info.title"])),
    ("severity_id", "integer", All("severity_id")),
    ("status", TEXT, Each(["status", "status", "status", "disposition", "status"])),
    ("error", TEXT, Calls("status_code")),
    ("message", TEXT, Each(["status_detail", "status_detail", "status_detail", "", "message"])),
    (
        "actor_name",
        TEXT,
        Each([
            "actor.user.name",
            "actor.user.name",
            "actor.user.name",
            "",
            "element_at(evidences, 1).actor.\"user\".name",
        ]),
    ),
    (
        "actor_arn",
        TEXT,
        Each([
            "actor.user.uid",
            "actor.user.uid",
            "actor.user.uid",
            "",
            "element_at(evidences, 1).actor.\"user\".uid",
        ]),
    ),
    ("actor_id", TEXT, Calls("actor.user.uid_alt")),
    ("actor_type", TEXT, Calls("actor.user.type")),
    ("actor_account", TEXT, Calls("actor.user.account.uid")),
    (
        "access_key",
        TEXT,
        Each([
            "actor.user.credential_uid",
            "actor.user.credential_uid",
            "actor.user.credential_uid",
            "",
            "element_at(evidences, 1).actor.\"user\".credential_uid",
        ]),
    ),
    ("session_issuer", TEXT, Calls("actor.session.issuer")),
    ("invoked_by", TEXT, Calls("actor.invoked_by")),
    ("source_identity", TEXT, Calls(SOURCE_IDENTITY)),
    // The user of an identity store for whom it was called.
    ("on_behalf_of", TEXT, Calls(ON_BEHALF_OF)),
    // Whether a second factor was shown, at a sign-in or for the session.
    (
        "is_mfa",
        "boolean",
        Each([
            "actor.session.is_mfa",
            "actor.session.is_mfa",
            "coalesce(is_mfa, actor.session.is_mfa)",
            "",
            "",
        ]),
    ),
    // The key that a call gave out: of a session, or of a user.
    (
        "new_key",
        TEXT,
        Each([
            "json_extract_scalar(api.response.data, '$.credentials.accessKeyId')",
            "json_extract_scalar(api.response.data, '$.accessKey.accessKeyId')",
            "session.credential_uid",
            "",
            "",
        ]),
    ),
    (
        "src_ip",
        TEXT,
        Each([
            "src_endpoint.ip",
            "src_endpoint.ip",
            "src_endpoint.ip",
            "src_endpoint.ip",
            "element_at(evidences, 1).src_endpoint.ip",
        ]),
    ),
    // A service that called, where there is no address.
    ("src_domain", TEXT, Calls("src_endpoint.domain")),
    ("src_port", "integer", Each(["", "", "", "src_endpoint.port", ""])),
    (
        "dst_ip",
        TEXT,
        Each(["", "", "", "dst_endpoint.ip", "element_at(evidences, 1).dst_endpoint.ip"]),
    ),
    ("dst_port", "integer", Each(["", "", "", "dst_endpoint.port", ""])),
    (
        "interface_uid",
        TEXT,
        Each([
            "",
            "",
            "",
            "coalesce(src_endpoint.interface_uid, dst_endpoint.interface_uid, \
             element_at(unmapped, 'interface_id'))",
            "coalesce(element_at(evidences, 1).src_endpoint.interface_uid, \
             element_at(evidences, 1).dst_endpoint.interface_uid)",
        ]),
    ),
    (
        "instance_uid",
        TEXT,
        Each([
            "",
            "",
            "",
            "coalesce(src_endpoint.instance_uid, dst_endpoint.instance_uid, \
             element_at(unmapped, 'instance_id'))",
            "coalesce(element_at(evidences, 1).src_endpoint.instance_uid, \
             element_at(evidences, 1).dst_endpoint.instance_uid)",
        ]),
    ),
    ("direction", TEXT, Each(["", "", "", "connection_info.direction", ""])),
    ("packets", "bigint", Each(["", "", "", "traffic.packets", ""])),
    ("bytes", "bigint", Each(["", "", "", "traffic.bytes", ""])),
    ("user_agent", TEXT, Calls("http_request.user_agent")),
    // What was acted on.
    (
        "resource",
        TEXT,
        Each([
            "element_at(resources, 1).uid",
            "coalesce(\"user\".uid, \"user\".name, policy.uid)",
            "\"user\".uid",
            "",
            "element_at(resources, 1).uid",
        ]),
    ),
    (
        "bucket",
        TEXT,
        Each(["json_extract_scalar(api.request.data, '$.bucketName')", "", "", "", ""]),
    ),
    // What S3 sent.
    (
        "bytes_out",
        "bigint",
        Each([
            "CAST(TRY_CAST(element_at(unmapped, 'additionalEventData.bytesTransferredOut') AS double) \
             AS bigint)",
            "",
            "",
            "",
            "",
        ]),
    ),
    ("request", TEXT, Calls("api.request.data")),
    ("response", TEXT, Calls("api.response.data")),
    ("account", TEXT, All("cloud.account.uid")),
    ("account_name", TEXT, All("cloud.account.name")),
    ("finding_uid", TEXT, Each(["", "", "", "", "finding_info.uid"])),
    ("uid", TEXT, All("metadata.uid")),
    ("log_name", TEXT, All("metadata.log_name")),
];

/// The query that the view stands for.
pub fn sql() -> String {
    let mut sql = String::new();
    for (at, class) in CLASSES.iter().enumerate() {
        if at > 0 {
            sql += "\nUNION ALL\n";
        }
        sql += "SELECT\n";
        for (name, kind, of) in &COLUMNS {
            let expression = match of {
                All(expression) => expression,
                Calls(expression) if at < 3 => expression,
                Calls(_) => "",
                Each(all) => all[at],
            };
            // Writing to a String cannot fail.
            let _ = if expression.is_empty() {
                writeln!(sql, "  CAST(NULL AS {kind}) AS {name},")
            } else {
                writeln!(sql, "  {expression} AS {name},")
            };
        }
        let _ = write!(sql, "  region, accountid, eventday\nFROM {class}");
    }
    sql
}
