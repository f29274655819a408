//! The OCSF classes and objects that Trailhound writes: the one place where an attribute is named.
//!
//! # Input
//! Nothing; these are tables.
//! # Maps to
//! Row structs, columns, Arrow schema, JSON (see `macros.rs`).
//! # Known gaps
//! Attributes that no source fills are not listed; where only findings fill them, the object has
//! a form of its own for findings, so that the other classes have no empty columns.
//! # Reference
//! OCSF 1.1.0, <https://schema.ocsf.io/1.1.0/>.

use super::column::{
    Bool, Column as _, Datetime, Double, Int, Ip, Json, List, Long, Str, Text, Timestamp, Unmapped,
};

crate::object! {
    /// `account`.
    Account / AccountColumns { uid: Str }
    /// `account` with its name.
    NamedAccount / NamedAccountColumns { uid: Str, name: Str }
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
        labels: List<Str>,
        event_code: Str,
        log_name: Str,
    }
    /// `cloud`.
    Cloud / CloudColumns { provider: Str, region: Str, zone: Str, account: NamedAccountColumns }
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

// What only findings have.
crate::object! {
    /// `feature` of a finding's product.
    FindingFeature / FindingFeatureColumns { name: Str, uid: Str }
    /// `product` of a finding.
    FindingProduct / FindingProductColumns {
        uid: Str,
        name: Str,
        vendor_name: Str,
        version: Str,
        feature: FindingFeatureColumns,
    }
    /// `metadata` of a finding.
    FindingMetadata / FindingMetadataColumns {
        uid: Str,
        version: Str,
        product: FindingProductColumns,
        profiles: List<Str>,
        labels: List<Str>,
        event_code: Str,
        log_version: Str,
        log_name: Str,
    }
    /// `account` of a finding's cloud.
    FindingAccount / FindingAccountColumns { uid: Str, name: Str, type_id: Int, r#type: Str }
    /// `cloud` of a finding.
    FindingCloud / FindingCloudColumns {
        provider: Str,
        region: Str,
        account: FindingAccountColumns,
    }
    /// `analytic`.
    Analytic / AnalyticColumns { uid: Str, name: Str, type_id: Int, r#type: Str }
    /// `tactic`, `technique`, `sub_technique`.
    Tactic / TacticColumns { uid: Str, name: Str }
    /// `attack`.
    Attack / AttackColumns {
        tactic: TacticColumns,
        technique: TacticColumns,
        sub_technique: TacticColumns,
    }
    /// `related_event`.
    RelatedEvent / RelatedEventColumns { uid: Str, product_uid: Str }
    /// `finding_info`.
    FindingInfo / FindingInfoColumns {
        uid: Str,
        title: Text,
        desc: Text,
        types: List<Str>,
        src_url: Str,
        created_time: Timestamp,
        created_time_dt: Datetime,
        modified_time: Timestamp,
        modified_time_dt: Datetime,
        first_seen_time: Timestamp,
        first_seen_time_dt: Datetime,
        last_seen_time: Timestamp,
        last_seen_time_dt: Datetime,
        analytic: AnalyticColumns,
        attacks: List<AttackColumns>,
        related_events: List<RelatedEventColumns>,
    }
    /// `remediation`.
    Remediation / RemediationColumns { desc: Text, references: List<Str> }
    /// `enrichment`.
    Enrichment / EnrichmentColumns {
        name: Str,
        r#type: Str,
        provider: Str,
        value: Str,
        data: Json,
    }
    /// `location`.
    Location / LocationColumns {
        city: Str,
        country: Str,
        coordinates: List<Double>,
        isp: Str,
    }
    /// `network_endpoint` of an evidence.
    EvidenceEndpoint / EvidenceEndpointColumns {
        ip: Ip,
        port: Int,
        domain: Str,
        svc_name: Str,
        uid: Str,
        instance_uid: Str,
        interface_uid: Str,
        vpc_uid: Str,
        subnet_uid: Str,
        location: LocationColumns,
    }
    /// `network_connection_info` of an evidence.
    EvidenceConnection / EvidenceConnectionColumns {
        direction_id: Int,
        direction: Str,
        protocol_num: Int,
        protocol_name: Str,
    }
    /// `group`.
    Group / GroupColumns { name: Str }
    /// `user` of an evidence's actor.
    EvidenceUser / EvidenceUserColumns {
        name: Str,
        uid: Str,
        r#type: Str,
        type_id: Int,
        credential_uid: Str,
        groups: List<GroupColumns>,
        account: NamedAccountColumns,
    }
    /// `session` of an evidence's actor.
    EvidenceSession / EvidenceSessionColumns { uid: Str, issuer: Str, is_mfa: Bool }
    /// `fingerprint`.
    Fingerprint / FingerprintColumns { algorithm_id: Int, algorithm: Str, value: Str }
    /// `file`.
    File / FileColumns {
        name: Str,
        path: Str,
        type_id: Int,
        r#type: Str,
        hashes: List<FingerprintColumns>,
    }
    /// `user` of a process.
    ProcessUser / ProcessUserColumns { name: Str, uid: Str }
    /// `process` that is known by its id only.
    ParentProcess / ParentProcessColumns { uid: Str }
    /// `process`.
    Process / ProcessColumns {
        name: Str,
        pid: Int,
        uid: Str,
        cmd_line: Text,
        created_time: Timestamp,
        created_time_dt: Datetime,
        user: ProcessUserColumns,
        file: FileColumns,
        lineage: List<Str>,
        parent_process: ParentProcessColumns,
    }
    /// `actor` of an evidence.
    EvidenceActor / EvidenceActorColumns {
        user: EvidenceUserColumns,
        session: EvidenceSessionColumns,
        process: ProcessColumns,
    }
    /// `response` of an evidence's call.
    EvidenceResponse / EvidenceResponseColumns { error: Str, code: Int }
    /// `api` of an evidence.
    EvidenceApi / EvidenceApiColumns {
        operation: Str,
        service: ServiceColumns,
        response: EvidenceResponseColumns,
    }
    /// `dns_query`.
    DnsQuery / DnsQueryColumns { hostname: Str }
    /// `evidences`, a member.
    Evidence / EvidenceColumns {
        actor: EvidenceActorColumns,
        process: ProcessColumns,
        api: EvidenceApiColumns,
        connection_info: EvidenceConnectionColumns,
        query: DnsQueryColumns,
        file: FileColumns,
        src_endpoint: EvidenceEndpointColumns,
        dst_endpoint: EvidenceEndpointColumns,
        data: Json,
    }
    /// `user`, as far as the `owner` of a finding's resource has it.
    FindingOwner / FindingOwnerColumns { uid: Str, account: AccountColumns }
    /// `resource_details` of a finding.
    FindingResource / FindingResourceColumns {
        r#type: Str,
        uid: Str,
        name: Str,
        region: Str,
        cloud_partition: Str,
        owner: FindingOwnerColumns,
        labels: List<Str>,
        version: Str,
        data: Json,
    }
}

crate::classes! {
    /// API Activity.
    ApiActivity / ApiActivityColumns, api_activity = 6003 "API Activity"
    in 6 "Application Activity" with MetadataColumns, CloudColumns,
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
    in 3 "Identity & Access Management" with MetadataColumns, CloudColumns,
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
    in 3 "Identity & Access Management" with MetadataColumns, CloudColumns,
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
    in 4 "Network Activity" with MetadataColumns, CloudColumns,
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
    /// Detection Finding.
    DetectionFinding / DetectionFindingColumns, detection_finding = 2004 "Detection Finding"
    in 2 "Findings" with FindingMetadataColumns, FindingCloudColumns,
    { 0 "Unknown", 1 "Create", 2 "Update", 3 "Close", 99 "Other" }
    {
        status_id: Int,
        status: Str,
        message: Text,
        count: Int,
        confidence_score: Int,
        finding_info: FindingInfoColumns,
        remediation: RemediationColumns,
        enrichments: List<EnrichmentColumns>,
        evidences: List<EvidenceColumns>,
        resources: List<FindingResourceColumns>,
    }
}
