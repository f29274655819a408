//! Policies of Index State Management, for those who want the cluster to delete by itself.
//!
//! # Input
//! How long the events of a class are kept.
//! # Maps to
//! One policy for each class, attached to its indexes by their names. An index is left alone until
//! it is deleted: no roll-over, because names come from the time of events; no read-only state,
//! because late records arrive.
//! # Known gaps
//! A policy can only count from the day on which an index was made: after a backfill of last year
//! its indexes live a year longer. `trailhound expire` goes by the names, and is exact. Indexes
//! that are there before the policy are not managed by it until somebody attaches it
//! (`POST _plugins/_ism/add/ocsf-*`). The plugin is in no registry, so these bodies follow its
//! documentation and were not run against it.
//! # Reference
//! <https://docs.opensearch.org/latest/im-plugin/ism/policies/>,
//! <https://docs.opensearch.org/latest/im-plugin/ism/api/>.

use std::collections::BTreeMap;

use parsers::{
    index::Period,
    ocsf::{CLASSES, Class},
};
use serde_json::json;

use super::{
    body::{Body, What},
    templates::template_name,
};

/// Above a policy for `ocsf-*`, such as that of the OpenSearch catalog.
const PRIORITY: u32 = 200;

/// Days for which events are kept, by name of the class; what is not named is kept for as long as
/// [`default_days`] says.
pub type Days = BTreeMap<String, u32>;

/// Flow logs are most of the bytes, and are seldom asked for after a month; the lake keeps them.
pub fn default_days(class: &Class) -> u32 {
    match Period::of(class) {
        Period::Day => 30,
        Period::Month => 365,
    }
}

/// The policies.
pub fn policies(days: &Days) -> Vec<Body> {
    CLASSES
        .iter()
        .map(|class| policy(class, days.get(class.name).copied().unwrap_or(default_days(class))))
        .collect()
}

fn policy(class: &Class, days: u32) -> Body {
    // The last event of an index may come a period after its first, and is kept as long.
    let age_days = days
        + match Period::of(class) {
            Period::Day => 1,
            Period::Month => 31,
        };
    let value = json!({ "policy": {
        "description": format!(
            "Deletes indexes of OCSF {} when their last event is {days} days old.", class.caption
        ),
        "default_state": "kept",
        "states": [
            {
                "name": "kept",
                "actions": [],
                "transitions": [{
                    "state_name": "deleted",
                    "conditions": { "min_index_age": format!("{age_days}d") },
                }],
            },
            {
                "name": "deleted",
                // The defaults of the plugin, which it would add.
                "actions": [{
                    "retry": { "count": 3, "backoff": "exponential", "delay": "1m" },
                    "delete": {},
                }],
                "transitions": [],
            },
        ],
        "ism_template": [{
            "index_patterns": [format!("{}*", class.index_prefix())],
            "priority": PRIORITY,
        }],
    } });
    Body::new(What::Policy, &template_name(class), value)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{super::body::State, *};

    #[test]
    fn a_policy_never_deletes_before_the_last_event_is_old_enough() {
        let policies = policies(&[("api_activity".to_owned(), 90)].into());
        let age = |name: &str| {
            let policy = policies.iter().find(|policy| policy.name.ends_with(name)).unwrap();
            let age = &policy.value["policy"]["states"][0]["transitions"][0]["conditions"];
            age["min_index_age"].as_str().unwrap().to_owned()
        };
        assert_eq!(age("network_activity"), "31d");
        assert_eq!(age("api_activity"), "121d");
        assert_eq!(age("detection_finding"), "396d");
    }

    /// The plugin cannot be had in tests: this is its documented answer.
    #[test]
    fn a_policy_is_known_again_with_what_the_plugin_adds() {
        let ours = policies(&Days::new()).remove(0);
        let mut policy = ours.value["policy"].clone();
        policy["policy_id"] = ours.name.clone().into();
        policy["last_updated_time"] = 1_577_990_934_044_u64.into();
        policy["schema_version"] = 1.into();
        policy["error_notification"] = Value::Null;
        policy["ism_template"][0]["last_updated_time"] = 1_577_990_934_044_u64.into();
        let answer = json!({
            "_id": ours.name, "_version": 1, "_seq_no": 7, "_primary_term": 1, "policy": policy,
        });
        let installed = |answer: &Value| Body::of_answer(What::Policy, &ours.name, answer);
        assert_eq!(ours.compare(&installed(&answer)), State::Same);

        let mut longer = answer.clone();
        longer["policy"]["states"][0]["transitions"][0]["conditions"]["min_index_age"] =
            "5d".into();
        assert_eq!(ours.compare(&installed(&longer)), State::Changed);
        let other = policies(&[("api_activity".to_owned(), 1)].into()).remove(0);
        assert_eq!(ours.compare(&other), State::Older);
    }

    #[test]
    fn a_policy_neither_rolls_over_nor_makes_read_only() {
        for policy in policies(&Days::new()) {
            let text = policy.value.to_string();
            assert!(!text.contains("rollover") && !text.contains("read_only"), "{text}");
        }
    }
}
