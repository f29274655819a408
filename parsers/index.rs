//! What an event is in an index: the name of its index, and what is beside OCSF in its document.
//!
//! # Input
//! A class, a time, an event.
//! # Maps to
//! `ocsf-1.1.0-4001-network_activity-2024.05.01`, and the object `pivot`.
//! # Known gaps
//! One OCSF version.
//! # Reference
//! Design section 6. Sub-fields of a `flat_object` can be searched but not aggregated: what
//! dashboards count by is a typed field of its own.

use crate::{
    ocsf::{Class, Kind, VERSION},
    time::{self, DAY_MS},
};

/// How much time the documents of one index span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A day in UTC.
    Day,
    /// A month in UTC.
    Month,
}

impl Period {
    /// What suits a class: a day for flow logs, which are the many, a month for the rest.
    pub fn of(class: &Class) -> Self {
        if class.name == "network_activity" { Self::Day } else { Self::Month }
    }
}

/// The beginning of the names of all indexes, aliases and templates.
pub const PREFIX: &str = "ocsf";

/// The alias of everything.
pub const ALIAS_ALL: &str = "ocsf-all";

impl Class {
    /// The alias of its indexes, such as `ocsf-4001`.
    pub fn alias(&self) -> String {
        format!("{PREFIX}-{}", self.uid)
    }

    /// How the names of its indexes begin: `ocsf-1.1.0-4001-network_activity-`.
    pub fn index_prefix(&self) -> String {
        format!("{PREFIX}-{VERSION}-{}-{}-", self.uid, self.name)
    }

    /// The index of an event of this time (milliseconds).
    pub fn index(&self, period: Period, time: i64) -> String {
        let day = i32::try_from(time.div_euclid(DAY_MS)).unwrap_or_default();
        let day = time::compact_day(day);
        let (year, rest) = day.split_at(day.len() - 4);
        let (month, day) = rest.split_at(2);
        let prefix = self.index_prefix();
        match period {
            Period::Day => format!("{prefix}{year}.{month}.{day}"),
            Period::Month => format!("{prefix}{year}.{month}"),
        }
    }
}

/// When the document was made: beside the attributes of OCSF.
pub const INGESTED_TIME: &str = "ingested_time";

/// What dashboards count by and OCSF leaves in `unmapped` or in request data.
#[derive(Clone, Copy, Debug)]
pub struct Pivot {
    /// Its name below `pivot`.
    pub name: &'static str,
    /// How it is indexed: text, a whole number, or a boolean.
    pub kind: Kind,
    /// Where its values are; through lists. Below `unmapped` and `data` it is the raw path.
    pub from: &'static [&'static str],
}

macro_rules! pivots {
    ($( $name:ident: $kind:ident = $( $from:literal )|+; )*) => {
        /// The members of `pivot`.
        pub static PIVOTS: &[Pivot] = &[ $( Pivot {
            name: stringify!($name),
            kind: Kind::$kind,
            from: &[ $( $from ),+ ],
        } ),* ];
    };
}

pivots! {
    interface_uid: String = "src_endpoint.interface_uid" | "dst_endpoint.interface_uid"
        | "unmapped.interface_id" | "evidences.src_endpoint.interface_uid"
        | "api.request.data.networkInterfaceId";
    instance_uid: String = "src_endpoint.instance_uid" | "dst_endpoint.instance_uid"
        | "unmapped.instance_id" | "evidences.src_endpoint.instance_uid"
        | "api.request.data.instanceId" | "api.request.data.instancesSet.items.instanceId"
        | "api.response.data.instancesSet.items.instanceId";
    bucket: String = "api.request.data.bucketName";
    role_arn: String = "api.request.data.roleArn";
    read_only: Boolean = "unmapped.readOnly";
    recipient_account_uid: String = "unmapped.recipientAccountId";
    shared_event_uid: String = "unmapped.sharedEventID";
    source_identity: String = "unmapped.userIdentity.sessionContext.sourceIdentity";
    on_behalf_of: String = "unmapped.userIdentity.onBehalfOf.userId";
    bytes_out: Long = "unmapped.additionalEventData.bytesTransferredOut";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocsf::class;

    #[test]
    fn the_index_follows_from_class_period_and_time() {
        let flows = class("network_activity").unwrap();
        let noon = 1_714_564_800_000;
        assert_eq!(flows.index(Period::Day, noon), "ocsf-1.1.0-4001-network_activity-2024.05.01");
        assert_eq!(flows.index(Period::Month, noon), "ocsf-1.1.0-4001-network_activity-2024.05");
        assert_eq!(Period::of(flows), Period::Day);
        let calls = class("api_activity").unwrap();
        assert_eq!((Period::of(calls), calls.alias()), (Period::Month, "ocsf-6003".into()));
    }
}
