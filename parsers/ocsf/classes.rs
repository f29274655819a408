//! The OCSF classes and objects that Trailhound writes: the one place where an attribute is named.
//!
//! # Input
//! Nothing; these are tables.
//! # Maps to
//! Row structs, columns, Arrow schema, JSON (see `table.rs`).
//! # Known gaps
//! Detection Finding (2004) comes with GuardDuty. Attributes that no source fills are not listed.
//! # Reference
//! OCSF 1.1.0, <https://schema.ocsf.io/1.1.0/>.

use super::column::{
    Bool, Column as _, Datetime, Int, Ip, Json, List, Long, Str, Text, Timestamp, Unmapped,
};

crate::object! {
    /// `account`.
    Account / AccountColumns { uid: Str }
    /// `feature`.
    Feature / FeatureColumns { name: Str }
    /// `product`.
    Product / ProductColumns { name: Str, vendor_name: Str, version: Str, feature: FeatureColumns }
    /// `metadata`.
    Metadata / MetadataColumns {
        uid: Str,
        version: Str,
        product: ProductColumns,
        profiles: List<Str>,
        event_code: Str,
        log_name: Str,
    }
    /// `cloud`.
    Cloud / CloudColumns { provider: Str, region: Str, zone: Str, account: AccountColumns }
    /// `observable`.
    Observable / ObservableColumns { name: Str, type_id: Int, r#type: Str, value: Str }
    /// `network_endpoint`.
    NetworkEndpoint / NetworkEndpointColumns {
        ip: Ip,
        port: Int,
        domain: Str,
        name: Str,
        svc_name: Str,
        uid: Str,
        intermediate_ips: List<Ip>,
        interface_uid: Str,
        vpc_uid: Str,
        subnet_uid: Str,
        instance_uid: Str,
    }
    /// `network_connection_info`.
    NetworkConnectionInfo / NetworkConnectionInfoColumns {
        direction_id: Int,
        direction: Str,
        boundary_id: Int,
        boundary: Str,
        protocol_num: Int,
        protocol_name: Str,
        protocol_ver: Str,
        tcp_flags: Int,
    }
    /// `network_traffic`.
    NetworkTraffic / NetworkTrafficColumns { packets: Long, bytes: Long }
    /// `user`.
    User / UserColumns {
        r#type: Str,
        type_id: Int,
        name: Str,
        uid: Str,
        uid_alt: Str,
        credential_uid: Str,
        account: AccountColumns,
    }
    /// `session`.
    Session / SessionColumns {
        uid: Str,
        uid_alt: Str,
        credential_uid: Str,
        issuer: Str,
        is_mfa: Bool,
        created_time: Timestamp,
        created_time_dt: Datetime,
    }
    /// `idp`.
    Idp / IdpColumns { name: Str, uid: Str }
    /// `actor`.
    Actor / ActorColumns {
        user: UserColumns,
        session: SessionColumns,
        invoked_by: Str,
        idp: IdpColumns,
    }
    /// `service`.
    Service / ServiceColumns { name: Str }
    /// `request`.
    Request / RequestColumns { uid: Str, data: Json }
    /// `response`.
    Response / ResponseColumns { error: Str, message: Text, data: Json }
    /// `api`.
    Api / ApiColumns {
        operation: Str,
        version: Str,
        service: ServiceColumns,
        request: RequestColumns,
        response: ResponseColumns,
    }
    /// `http_request`.
    HttpRequest / HttpRequestColumns { user_agent: Str }
    /// `resource_details`.
    ResourceDetails / ResourceDetailsColumns { uid: Str, r#type: Str, owner: OwnerColumns }
    /// `user`, as far as `resource_details.owner` has it.
    Owner / OwnerColumns { account: AccountColumns }
    /// `policy`.
    Policy / PolicyColumns { uid: Str }
}

crate::classes! {
    /// API Activity.
    ApiActivity / ApiActivityColumns, api_activity = 6003 "API Activity"
    in 6 "Application Activity"
    { 0 "Unknown", 1 "Create", 2 "Read", 3 "Update", 4 "Delete", 99 "Other" }
    {
        status_id: Int,
        status: Str,
        status_code: Str,
        status_detail: Text,
        actor: ActorColumns,
        api: ApiColumns,
        src_endpoint: NetworkEndpointColumns,
        http_request: HttpRequestColumns,
        resources: List<ResourceDetailsColumns>,
    }

    /// Authentication.
    Authentication / AuthenticationColumns, authentication = 3002 "Authentication"
    in 3 "Identity & Access Management"
    {
        0 "Unknown", 1 "Logon", 2 "Logoff", 3 "Authentication Ticket", 4 "Service Ticket Request",
        5 "Service Ticket Renew", 99 "Other",
    }
    {
        status_id: Int,
        status: Str,
        status_code: Str,
        status_detail: Text,
        actor: ActorColumns,
        api: ApiColumns,
        src_endpoint: NetworkEndpointColumns,
        http_request: HttpRequestColumns,
        user: UserColumns,
        session: SessionColumns,
        is_mfa: Bool,
        dst_endpoint: NetworkEndpointColumns,
        service: ServiceColumns,
    }

    /// Account Change.
    AccountChange / AccountChangeColumns, account_change = 3001 "Account Change"
    in 3 "Identity & Access Management"
    {
        0 "Unknown", 1 "Create", 2 "Enable", 3 "Password Change", 4 "Password Reset", 5 "Disable",
        6 "Delete", 7 "Attach Policy", 8 "Detach Policy", 9 "Lock", 10 "MFA Factor Enable",
        11 "MFA Factor Disable", 99 "Other",
    }
    {
        status_id: Int,
        status: Str,
        status_code: Str,
        status_detail: Text,
        actor: ActorColumns,
        api: ApiColumns,
        src_endpoint: NetworkEndpointColumns,
        http_request: HttpRequestColumns,
        user: UserColumns,
        policy: PolicyColumns,
    }

    /// Network Activity.
    NetworkActivity / NetworkActivityColumns, network_activity = 4001 "Network Activity"
    in 4 "Network Activity"
    {
        0 "Unknown", 1 "Open", 2 "Close", 3 "Reset", 4 "Fail", 5 "Refuse", 6 "Traffic", 99 "Other",
    }
    {
        start_time: Timestamp,
        start_time_dt: Datetime,
        end_time: Timestamp,
        end_time_dt: Datetime,
        action_id: Int,
        action: Str,
        disposition_id: Int,
        disposition: Str,
        status_code: Str,
        src_endpoint: NetworkEndpointColumns,
        dst_endpoint: NetworkEndpointColumns,
        connection_info: NetworkConnectionInfoColumns,
        traffic: NetworkTrafficColumns,
    }
}
