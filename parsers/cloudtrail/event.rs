//! A CloudTrail record to an OCSF event.
//!
//! # Input
//! The text of one record, known to be a JSON object.
//! # Maps to
//! Mapping tables M1 to M4, sections 3.2 to 3.6.
//! # Known gaps
//! See `cloudtrail.rs`.
//! # Reference
//! Mapping section 3;
//! <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>.

use std::net::IpAddr;

use bumpalo::{Bump, collections::Vec as BumpVec};

use super::{
    activity::{Activity, activity},
    identity::{self, or_else},
    insight,
    members::{Taker, peek_bool, peek_text, places},
};
use crate::{
    Origin, Rows,
    json::{self, Member},
    ocsf::{
        self, Account, AccountChange, Actor, Api, ApiActivity, Authentication, Cloud, Feature,
        HttpRequest, Metadata, NamedAccount, NetworkEndpoint, Observable, Owner, Product, Request,
        ResourceDetails, Response, Service, Session, User,
    },
};

places! {
    /// The record.
    Record at "" {
        event_version = "eventVersion",
        user_identity = "userIdentity",
        event_time = "eventTime",
        event_source = "eventSource",
        event_name = "eventName",
        aws_region = "awsRegion",
        source_ip_address = "sourceIPAddress",
        user_agent = "userAgent",
        error_code = "errorCode",
        error_message = "errorMessage",
        request_parameters = "requestParameters",
        response_elements = "responseElements",
        additional_event_data = "additionalEventData",
        request_id = "requestID",
        event_id = "eventID",
        event_type = "eventType",
        api_version = "apiVersion",
        read_only = "readOnly",
        resources = "resources",
        recipient_account_id = "recipientAccountId",
        service_event_details = "serviceEventDetails",
        event_category = "eventCategory",
        vpc_endpoint_id = "vpcEndpointId",
    }
}

places! {
    /// `additionalEventData`.
    AdditionalEventData at "additionalEventData" {
        user_name = "UserName",
        mfa_used = "MFAUsed",
        login_to = "LoginTo",
    }
}

places! {
    /// A member of `resources`.
    Resource at "resources[]" {
        upper_arn = "ARN",
        lower_arn = "arn",
        arn_prefix = "ARNPrefix",
        account_id = "accountId",
        kind = "type",
    }
}

/// `eventSource` of a record of an S3 event notification.
const S3: &str = "\"aws:s3\"";

/// True for a record of an S3 event notification, which wraps its records as CloudTrail does.
pub(crate) fn is_s3_notification(members: &[Member<'_>]) -> bool {
    members.iter().any(|&(key, value)| key == "eventSource" && value == S3)
        && members.iter().any(|&(key, _)| key == "s3")
}

/// What the three classes have in common.
struct Common<'a> {
    metadata: Metadata<'a>,
    cloud: Cloud<'a>,
    time: i64,
    failed: bool,
    actor: Actor<'a>,
    api: Api<'a>,
    src_endpoint: NetworkEndpoint<'a>,
    user_agent: Option<&'a str>,
    /// The record has no source address.
    no_address: bool,
}

macro_rules! event {
    ($class:ident, $activity_id:expr, $name:expr, $common:expr) => {
        $class {
            time: Some($common.time),
            time_dt: Some($common.time),
            status_id: Some(if $common.failed { 2 } else { 1 }),
            status: Some(if $common.failed { "Failure" } else { "Success" }),
            status_code: $common.api.response.error,
            status_detail: $common.api.response.message,
            metadata: $common.metadata,
            cloud: $common.cloud,
            actor: $common.actor,
            api: $common.api,
            src_endpoint: $common.src_endpoint,
            http_request: HttpRequest { user_agent: $common.user_agent },
            ..$class::of($activity_id, $name)
        }
    };
}

/// Maps one record and keeps the event, or says why it cannot.
pub(super) fn push(
    members: &[Member<'_>],
    raw: &str,
    origin: &Origin,
    arena: &Bump,
    out: &mut Rows,
) -> Result<(), &'static str> {
    let mut taker = Taker::new(arena);
    let record = Record::of(members.iter().copied(), &mut taker);
    let present = |raw: Option<&str>| raw.is_some_and(|raw| !json::is_absent(raw));
    if !(present(record.event_time) || present(record.event_name) || present(record.event_id))
        || is_s3_notification(members)
    {
        return Err("not CloudTrail");
    }
    let is = |raw: Option<&str>, text: &str| peek_text(raw, arena) == Some(text);
    if is(record.event_category, "Aggregated") {
        return Err("unsupported category");
    }
    if is(record.event_category, "Insight") || is(record.event_type, "AwsCloudTrailInsight") {
        return insight::push(members, raw, origin, arena, out);
    }
    let time = taker.time("eventTime", record.event_time).ok_or("no time")?;

    let source = taker.text("eventSource", record.event_source);
    let name = taker.text("eventName", record.event_name);
    let read_only = peek_bool(record.read_only) == Some(true);
    taker.keep("readOnly", record.read_only);
    taker.keep("serviceEventDetails", record.service_event_details);
    let activity = activity(source.unwrap_or_default(), name, read_only);

    let additional = AdditionalEventData::read(record.additional_event_data, &mut taker);
    let actor = identity::actor(record.user_identity, additional.user_name, &mut taker);
    let mut common = common(&record, time, source, name, raw, origin, actor, &mut taker);
    let named_outcome = match activity {
        Activity::Authentication(_) => outcome(&record, name.unwrap_or_default(), arena),
        _ => None,
    };
    common.failed =
        named_outcome.unwrap_or(present(record.error_code) || present(record.error_message));
    let acting = common.actor.user;
    let is_api = matches!(activity, Activity::Api(_));
    identity::complete(&mut common.actor, source, is_api);
    common.src_endpoint = src_endpoint(&record, source, is_api, &mut taker);
    if !matches!(activity, Activity::Authentication(_)) {
        // No mapped places in these classes, so that also an empty text is kept.
        taker.keep("additionalEventData.MFAUsed", additional.mfa_used);
        taker.keep("additionalEventData.LoginTo", additional.login_to);
    }

    match activity {
        Activity::Api(id) => {
            let mut event = event!(ApiActivity, id, name, common);
            event.resources = resources(record.resources, &mut taker);
            event.observables = observables(&common, None, event.resources, arena);
            event.unmapped = taker.leaves.finish();
            out.push(&event);
        }
        Activity::AccountChange(id) => {
            let mut event = event!(AccountChange, id, name, common);
            taker.keep("resources", record.resources);
            let user = changed_user(&record, acting, arena);
            event.user = named(user);
            event.policy.uid = request_text(&record, "policyArn", arena);
            event.observables = observables(&common, user.name, &[], arena);
            event.unmapped = taker.leaves.finish();
            out.push(&event);
        }
        Activity::Authentication(id) => {
            let mut event = event!(Authentication, id, name, common);
            taker.keep("resources", record.resources);
            let user = session_user(&record, acting, arena);
            event.user = named(user);
            event.session = session(&record, arena);
            event.is_mfa = mfa_used(additional.mfa_used, &mut taker);
            event.dst_endpoint.svc_name =
                taker.text("additionalEventData.LoginTo", additional.login_to);
            if event.dst_endpoint.svc_name.is_none() {
                event.service.name = source;
            }
            event.observables = observables(&common, user.name, &[], arena);
            event.unmapped = taker.leaves.finish();
            out.push(&event);
        }
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one call; the record's parts are read in order")]
fn common<'a>(
    record: &Record<'a>,
    time: i64,
    source: Option<&'a str>,
    name: Option<&'a str>,
    raw: &str,
    origin: &'a Origin,
    actor: Actor<'a>,
    taker: &mut Taker<'a>,
) -> Common<'a> {
    let arena = taker.arena;
    let uid =
        taker.text("eventID", record.event_id).unwrap_or_else(|| crate::hash_uid(raw, arena));
    let category = taker.text("eventCategory", record.event_category);
    let recipient = peek_text(record.recipient_account_id, arena);
    taker.leave("recipientAccountId", record.recipient_account_id);
    let request_data = taker.data(record.request_parameters);
    let request_id = taker.text("requestID", record.request_id);
    let account = recipient.or(actor.user.account.uid).or(origin.key.account());
    Common {
        metadata: Metadata {
            uid: Some(uid),
            version: Some(ocsf::VERSION),
            product: Product {
                name: Some(super::SOURCE.product),
                vendor_name: Some("AWS"),
                version: taker.text("eventVersion", record.event_version),
                feature: Feature { name: category.or(Some("Management, Data, and Insights")) },
            },
            profiles: &[Some("cloud"), Some("datetime")],
            labels: origin.accounts.labels(account, arena),
            event_code: taker.text("eventType", record.event_type),
            log_name: Some(origin.key.name()),
        },
        cloud: Cloud {
            provider: Some("AWS"),
            region: taker.text("awsRegion", record.aws_region).or(origin.key.region()),
            zone: None,
            account: NamedAccount { uid: account, name: origin.accounts.name(account) },
        },
        time,
        failed: false,
        actor,
        api: Api {
            operation: name.or(Some("Unknown")),
            version: taker.text("apiVersion", record.api_version),
            service: Service { name: source },
            request: Request { uid: request_id.or(request_data.map(|_| uid)), data: request_data },
            response: Response {
                error: taker.text("errorCode", record.error_code),
                message: taker.text("errorMessage", record.error_message),
                data: taker.data(record.response_elements),
            },
        },
        src_endpoint: NetworkEndpoint::default(),
        no_address: peek_text(record.source_ip_address, arena).is_none(),
        user_agent: taker.text("userAgent", record.user_agent),
    }
}

/// Section 3.4, rules 1 and 2: true if it failed. `serviceEventDetails` stays in `unmapped`.
fn outcome<'a>(record: &Record<'a>, name: &str, arena: &'a Bump) -> Option<bool> {
    [record.response_elements, record.service_event_details].into_iter().flatten().find_map(|raw| {
        match peek_text(object_member(raw, name), arena)? {
            "Success" => Some(false),
            "Failure" => Some(true),
            _ => None,
        }
    })
}

fn src_endpoint<'a>(
    record: &Record<'a>,
    source: Option<&'a str>,
    required: bool,
    taker: &mut Taker<'a>,
) -> NetworkEndpoint<'a> {
    let uid = taker.text("vpcEndpointId", record.vpc_endpoint_id);
    let address = taker.text("sourceIPAddress", record.source_ip_address);
    let ip = address.filter(|address| address.parse::<IpAddr>().is_ok());
    let placeholder = || source.or(Some("Unknown")).filter(|_| required && uid.is_none());
    let domain = if ip.is_some() { None } else { address.or_else(placeholder) };
    NetworkEndpoint { ip, domain, svc_name: domain, uid, ..NetworkEndpoint::default() }
}

/// Table M2.
fn resources<'a>(raw: Option<&'a str>, taker: &mut Taker<'a>) -> &'a [ResourceDetails<'a>] {
    let Some(raw) = raw else { return &[] };
    if !json::is_list(raw) {
        taker.leaves.json("resources", raw);
        return &[];
    }
    let mut out = BumpVec::new_in(taker.arena);
    for element in json::elements(raw) {
        if !json::is_object(element) {
            taker.leaves.json("resources[]", element);
            continue;
        }
        let resource = Resource::read(Some(element), taker);
        let names = [
            ("resources[].ARN", resource.upper_arn),
            ("resources[].arn", resource.lower_arn),
            ("resources[].ARNPrefix", resource.arn_prefix),
        ];
        let Some(uid) = or_else(taker, None, &names) else {
            taker.leave("resources[].accountId", resource.account_id);
            taker.leave("resources[].type", resource.kind);
            continue;
        };
        let account = taker.text("resources[].accountId", resource.account_id);
        out.push(ResourceDetails {
            uid: Some(uid),
            r#type: taker.text("resources[].type", resource.kind),
            owner: Owner { account: Account { uid: account } },
        });
    }
    out.into_bump_slice()
}

fn object_member<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    if json::is_object(raw) { json::member(raw, name) } else { None }
}

fn request_text<'a>(record: &Record<'a>, name: &str, arena: &'a Bump) -> Option<&'a str> {
    peek_text(object_member(record.request_parameters?, name), arena)
}

/// An object in `responseElements`, unless it is empty.
fn response_object<'a>(record: &Record<'a>, name: &str) -> Option<&'a str> {
    let object = object_member(record.response_elements?, name)?;
    Some(object).filter(|object| json::is_object(object) && !json::is_absent(object))
}

/// Table M3: the account that was changed; `acting` is the actor's user before placeholders.
fn changed_user<'a>(record: &Record<'a>, acting: User<'a>, arena: &'a Bump) -> User<'a> {
    let made = response_object(record, "user")
        .map(|object| (object, ["userName", "arn", "userId"]))
        .or_else(|| Some((response_object(record, "role")?, ["roleName", "arn", "roleId"])));
    let [name, uid, uid_alt] = made.map_or([None; 3], |(object, names)| {
        names.map(|name| peek_text(json::member(object, name), arena))
    });
    let requested = || {
        let names = ["userName", "roleName", "groupName"];
        names.into_iter().find_map(|name| request_text(record, name, arena))
    };
    let user = User { name: name.or_else(requested), uid, uid_alt, ..User::default() };
    if !user.is_absent() {
        return user;
    }
    User { name: acting.name, uid: acting.uid, uid_alt: acting.uid_alt, ..User::default() }
}

/// Table M4: the user of a session.
fn session_user<'a>(record: &Record<'a>, acting: User<'a>, arena: &'a Bump) -> User<'a> {
    User {
        uid: request_text(record, "roleArn", arena).or(acting.uid),
        uid_alt: acting.uid_alt,
        name: request_text(record, "roleSessionName", arena).or(acting.name),
        ..User::default()
    }
}

/// A user needs a name or a uid.
fn named(mut user: User<'_>) -> User<'_> {
    if user.name.is_none() && user.uid.is_none() {
        user.uid = user.uid_alt;
        if user.uid.is_none() {
            user.name = Some("Unknown");
        }
    }
    user
}

fn session<'a>(record: &Record<'a>, arena: &'a Bump) -> Session<'a> {
    let text =
        |object, name| peek_text(json::member(response_object(record, object)?, name), arena);
    Session {
        uid: text("assumedRoleUser", "arn"),
        uid_alt: text("assumedRoleUser", "assumedRoleId"),
        credential_uid: text("credentials", "accessKeyId"),
        ..Session::default()
    }
}

/// `Yes` and `No`, or a boolean (V10).
fn mfa_used<'a>(raw: Option<&'a str>, taker: &mut Taker<'a>) -> Option<bool> {
    match peek_text(raw, taker.arena) {
        Some(text) if text.eq_ignore_ascii_case("yes") => Some(true),
        Some(text) if text.eq_ignore_ascii_case("no") => Some(false),
        _ => taker.boolean("additionalEventData.MFAUsed", raw),
    }
}

fn observables<'a>(
    common: &Common<'a>,
    user_name: Option<&'a str>,
    resources: &[ResourceDetails<'a>],
    arena: &'a Bump,
) -> &'a [Observable<'a>] {
    let mut out: BumpVec<'a, Observable<'a>> =
        BumpVec::with_capacity_in(4 + resources.len(), arena);
    // What stands in for a value is nothing that was seen.
    let nowhere = common.no_address && common.api.service.name.is_none();
    let mut add = |name, type_id, kind, value: Option<&'a str>| {
        if value.is_some() {
            let observable =
                Observable { name: Some(name), type_id: Some(type_id), r#type: Some(kind), value };
            out.push(observable);
        }
    };
    add("actor.user.name", 4, "User Name", common.actor.user.name);
    add("user.name", 4, "User Name", user_name);
    add("src_endpoint.ip", 2, "IP Address", common.src_endpoint.ip);
    add("src_endpoint.domain", 1, "Hostname", common.src_endpoint.domain.filter(|_| !nowhere));
    let mut seen = std::collections::HashSet::new();
    for resource in resources {
        // A set only where it pays: most events have one resource or none.
        if resources.len() == 1 || seen.insert(resource.uid) {
            add("resources[].uid", 10, "Resource UID", resource.uid);
        }
    }
    out.into_bump_slice()
}
