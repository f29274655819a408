//! What an investigation asks, wherever the events are.
//!
//! # Input
//! Keys, addresses, principals, times.
//! # Maps to
//! OCSF documents, and sums of them.
//! # Known gaps
//! None.
//! # Reference
//! The lake answers in `lake.rs`.

use std::{collections::BTreeSet, future::Future};

use serde::Serialize;
use serde_json::Value;

/// Milliseconds since 1970, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    /// From.
    pub since: i64,
    /// Until.
    pub until: i64,
}

/// Calls that meet any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Signed with one of these keys.
    pub keys: BTreeSet<String>,
    /// From one of these addresses.
    pub addresses: BTreeSet<String>,
    /// By one of these ARNs, of users, roles or sessions.
    pub principals: BTreeSet<String>,
    /// By a user or role of one of these names.
    pub names: BTreeSet<String>,
    /// By a session of one of these names; that of an instance's role is the instance's id.
    pub sessions: BTreeSet<String>,
    /// For one of these people: the source identity of a session, or the user of an identity store
    /// that it acts for.
    pub identities: BTreeSet<String>,
    /// With one of these ids.
    pub uids: BTreeSet<String>,
    /// With one of these `sharedEventID`s: the same call, as each account logs it.
    pub shared_events: BTreeSet<String>,
    /// That gave out one of these keys.
    pub issued: BTreeSet<String>,
    /// That started one of these instances.
    pub launched: BTreeSet<String>,
    /// About one of these resources.
    pub resources: BTreeSet<String>,
    /// With one of these values somewhere in the request: reads all requests.
    pub requested: BTreeSet<String>,
    /// Of one of these operations, in these accounts.
    pub operations: BTreeSet<String>,
    /// Accounts for the operations; empty means all.
    pub accounts: BTreeSet<String>,
}

/// How a key, or a principal without one, was used from one address with one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// The person, as [`Calls::identities`] has it; empty if the events say none.
    pub identity: String,
    /// The key.
    pub key: String,
    /// Who, sessions rolled up to their role.
    pub principal: String,
    /// The address; empty if a service called.
    pub address: String,
    /// The user agent.
    pub agent: String,
    /// Operations that were called.
    pub operations: BTreeSet<String>,
    /// Regions that they were called in.
    pub regions: BTreeSet<String>,
    /// Hours of the day in UTC at which they were called, 0 to 23.
    pub hours: BTreeSet<i64>,
    /// Calls.
    pub count: u64,
    /// Time of the first one, in milliseconds.
    pub first: i64,
    /// Time of the last one.
    pub last: i64,
}

/// How many have to do with an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Principals that call from it.
    pub principals: u64,
    /// Interfaces whose flows from it are denied.
    pub refused_by: u64,
}

/// Flows between two addresses over one interface, in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flows {
    /// The account.
    pub account: String,
    /// The interface.
    pub interface: String,
    /// The instance, if the flow log names it.
    pub instance: String,
    /// From.
    pub src_ip: String,
    /// To.
    pub dst_ip: String,
    /// Ports of the service, the smaller one of both ends: the first of them, in order.
    pub ports: Vec<i64>,
    /// `Inbound`, `Outbound` or `Unknown`.
    pub direction: String,
    /// `Allowed` or `Denied`.
    pub action: String,
    /// Flows.
    pub count: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Start of the first one, in milliseconds.
    pub first: i64,
    /// Start of the last one.
    pub last: i64,
}

/// What there is of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The class.
    pub class: String,
    /// Events.
    pub count: u64,
    /// Time of the first one, in milliseconds.
    pub first: i64,
    /// Time of the last one.
    pub last: i64,
}

/// Where events are looked up.
pub trait Lookup {
    /// Why it cannot answer.
    type Error;

    /// Calls, in the order of their times.
    fn calls(
        &self,
        wanted: &Calls,
        range: Range,
    ) -> impl Future<Output = Result<Vec<Value>, Self::Error>>;

    /// How keys, principals and identities are used, at any time.
    fn uses(&self, wanted: &Calls) -> impl Future<Output = Result<Vec<Use>, Self::Error>>;

    /// For each address how many have to do with it; none for those that nothing is known of.
    fn senders(
        &self,
        addresses: &BTreeSet<String>,
    ) -> impl Future<Output = Result<Vec<(String, Sender)>, Self::Error>>;

    /// All exports of findings in a range of time, of these accounts if there are any.
    fn findings(
        &self,
        accounts: &BTreeSet<String>,
        range: Range,
    ) -> impl Future<Output = Result<Vec<Value>, Self::Error>>;

    /// Flows from or to these addresses.
    fn flows(
        &self,
        addresses: &BTreeSet<String>,
        range: Range,
    ) -> impl Future<Output = Result<Vec<Flows>, Self::Error>>;

    /// Flows of these interfaces and instances, of these accounts, between ends that did not meet in
    /// the range before `begin`: those with the most bytes.
    fn new_flows(
        &self,
        interfaces: &BTreeSet<String>,
        instances: &BTreeSet<String>,
        accounts: &BTreeSet<String>,
        begin: i64,
        range: Range,
    ) -> impl Future<Output = Result<Vec<Flows>, Self::Error>>;

    /// What there is.
    fn coverage(&self) -> impl Future<Output = Result<Vec<Coverage>, Self::Error>>;

    /// Queries that were asked, so that anyone can ask them again.
    fn asked(&self) -> Vec<String>;
}
