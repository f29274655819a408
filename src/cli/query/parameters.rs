//! The parameters of queries, as flags.
//!
//! # Input
//! Arguments and `TRAILHOUND_*` variables.
//! # Maps to
//! What is given, by name.
//! # Known gaps
//! None.
//! # Reference
//! [`KINDS`](crate::query::library::KINDS) has the same names.

use clap::Args;

use super::super::load::parse_time;
use crate::query::library::{Given, Value};

/// Each fills what is written as `:name` in SQL, and what `--list` says that a query takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Parameters of queries")]
pub(super) struct Parameters {
    /// `:key`, an access key
    #[arg(long, env = "TRAILHOUND_KEY", value_name = "ID")]
    key: Option<String>,
    /// `:principal`, a user or role: its ARN, or a user's name
    #[arg(long, env = "TRAILHOUND_PRINCIPAL", value_name = "ARN")]
    principal: Option<String>,
    /// `:address`, an IP address
    #[arg(long, env = "TRAILHOUND_ADDRESS", value_name = "IP")]
    address: Option<String>,
    /// `:peer`, the IP address of the other side
    #[arg(long, env = "TRAILHOUND_PEER", value_name = "IP")]
    peer: Option<String>,
    /// `:interface`, a network interface, as eni-0123456789abcdef0
    #[arg(long, env = "TRAILHOUND_INTERFACE", value_name = "ID")]
    interface: Option<String>,
    /// `:instance`, an instance, as i-0123456789abcdef0
    #[arg(long, env = "TRAILHOUND_INSTANCE", value_name = "ID")]
    instance: Option<String>,
    /// `:bucket`, the name of a bucket
    #[arg(long, env = "TRAILHOUND_BUCKET", value_name = "NAME")]
    bucket: Option<String>,
    /// `:account`, the number of an account
    #[arg(long, env = "TRAILHOUND_ACCOUNT", value_name = "ID")]
    account: Option<String>,
    /// `:region`, a region, as eu-west-1
    #[arg(long, env = "TRAILHOUND_REGION", value_name = "NAME")]
    region: Option<String>,
    /// `:uid`, the uid of an event
    #[arg(long, env = "TRAILHOUND_UID", value_name = "UID")]
    uid: Option<String>,
    /// `:since`, from this time on: a date, or a time as in RFC 3339; UTC
    #[arg(long, env = "TRAILHOUND_SINCE", value_parser = parse_time, value_name = "TIME")]
    since: Option<i64>,
    /// `:until`, before this time
    #[arg(long, env = "TRAILHOUND_UNTIL", value_parser = parse_time, value_name = "TIME")]
    until: Option<i64>,
    /// `:limit`, at most so many rows
    #[arg(long, env = "TRAILHOUND_LIMIT", value_name = "N")]
    limit: Option<u64>,
}

impl Parameters {
    /// What is given.
    pub(super) fn given(&self) -> Given {
        let texts = [
            ("key", &self.key),
            ("principal", &self.principal),
            ("address", &self.address),
            ("peer", &self.peer),
            ("interface", &self.interface),
            ("instance", &self.instance),
            ("bucket", &self.bucket),
            ("account", &self.account),
            ("region", &self.region),
            ("uid", &self.uid),
        ];
        let texts = texts.map(|(name, text)| (name, text.clone().map(Value::Text)));
        let times = [("since", self.since), ("until", self.until)];
        let times = times.map(|(name, time)| (name, time.map(Value::Time)));
        let limit = [("limit", self.limit.map(Value::Integer))];
        let mut given = Given::default();
        for (name, value) in texts.into_iter().chain(times).chain(limit) {
            // An empty variable asks for nothing in particular.
            if let Some(value) = value.filter(|value| *value != Value::Text(String::new())) {
                let is_ambient = is_ambient(name);
                given.add(name, value, is_ambient);
            }
        }
        given
    }
}

/// True if a parameter is set in the environment and is not among the arguments: it may be meant for
/// other commands.
fn is_ambient(name: &str) -> bool {
    let flag = format!("--{name}");
    let is_flag = |argument: std::ffi::OsString| {
        let argument = argument.to_string_lossy().into_owned();
        argument.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let variable = format!("TRAILHOUND_{}", name.to_uppercase());
    std::env::var_os(variable).is_some() && !std::env::args_os().any(is_flag)
}
