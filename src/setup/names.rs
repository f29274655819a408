//! Names of indexes, read back.
//!
//! # Input
//! `ocsf-1.1.0-4001-network_activity-2024.05.01`
//! # Maps to
//! Its class, and the time after which no event of it lies.
//! # Known gaps
//! Only names that Trailhound would write itself, to the letter.
//! # Reference
//! [`parsers::index`], which writes them.

use parsers::{
    index::Period,
    ocsf::{CLASSES, Class},
    time::{DAY_MS, day_from_civil},
};

/// An index by its name.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// Whose events it holds.
    pub class: &'static Class,
    /// When its day or month is over, in milliseconds since 1970.
    pub end: i64,
}

/// Reads a name; nothing if we do not write such names.
pub fn parse(name: &str) -> Option<Name> {
    let (class, date) = CLASSES
        .iter()
        .find_map(|class| Some((*class, name.strip_prefix(class.index_prefix().as_str())?)))?;
    let mut parts = date.split('.');
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (year, month) = (number()?, number()?);
    let day = number();
    let start = day_from_civil(year, month, day.unwrap_or(1))?;
    let (period, end) = match day {
        Some(_) => (Period::Day, start + 1),
        None if month == 12 => (Period::Month, day_from_civil(year + 1, 1, 1)?),
        None => (Period::Month, day_from_civil(year, month + 1, 1)?),
    };
    // Only what would be written exactly so: `2024.5`, `+2024.05` and `2024.05.01.old` are not.
    let is_ours = class.index(period, start * DAY_MS) == name;
    is_ours.then_some(Name { class, end: end * DAY_MS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_class_and_end_of_its_period() {
        let day = parse("ocsf-1.1.0-4001-network_activity-2024.05.01").unwrap();
        assert_eq!((day.class.uid, day.end), (4001, 1_714_608_000_000));
        let month = parse("ocsf-1.1.0-6003-api_activity-2024.12").unwrap();
        assert_eq!((month.class.uid, month.end), (6003, 1_735_689_600_000));
    }

    #[test]
    fn what_is_not_exactly_our_name_is_nobodys() {
        for name in [
            "ocsf-1.1.0-4001-network_activity-2024.5.01",
            "ocsf-1.1.0-4001-network_activity-2024.05.32",
            "ocsf-1.1.0-4001-network_activity-2024.05.01-000001",
            "ocsf-1.1.0-4001-network_activity-2024.05.01.old",
            "ocsf-1.1.0-4001-network_activity-2024",
            "ocsf-1.1.0-4001-network_activity-+2024.05",
            "ocsf-1.1.0-4001-network_activity-",
            "ocsf-1.1.0-4001-api_activity-2024.05",
            "ocsf-1.5.0-4001-network_activity-2024.05.01",
            "xocsf-1.1.0-4001-network_activity-2024.05.01",
            "ocsf-all",
            "",
        ] {
            assert!(parse(name).is_none(), "{name}");
        }
    }
}
