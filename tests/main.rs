//! Integration tests: the program as its users run it, and its library where that is quicker.
//!
//! What needs the project's shared folder (`../shared`: real logs, official pairs, a generator, an
//! independent validator) or another program says loudly when it does not run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod ocsf;
mod support;

mod suite {
    mod again;
    mod answer_key;
    mod audit;
    mod bad_bytes;
    mod bad_places;
    mod bad_records;
    mod by_content;
    mod cloud_parts;
    mod documents;
    mod gone;
    mod incident;
    mod invariance;
    mod investigate;
    mod investigate_links;
    mod investigate_standing;
    mod kill;
    mod lambda;
    mod no_loss;
    mod nodes;
    mod opensearch;
    mod others_fields;
    mod pairs;
    mod publish;
    mod query;
    #[cfg(feature = "query")]
    mod query_library;
    mod reader;
    mod redrive;
    mod report_html;
    mod s3;
    mod schema;
    mod security_lake;
    mod selection;
    mod setup;
    mod worker;
}
