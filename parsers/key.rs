//! What an object key tells: the log's name, account, region, day.
//!
//! # Input
//! A key, URL-decoded, or a path below the load root with `/`.
//! # Maps to
//! `metadata.log_name`, and account and region where a record has none.
//! # Known gaps
//! Only AWS's own layouts are looked for; any prefix may stand before them.
//! # Reference
//! source-oddities 1.1 and 1.2; mapping 1.5 and 1.6 for the name. Segments are found by what they
//! look like, never by where they stand.

use std::ops::Range;

use crate::time;

/// An object key and what its segments say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectKey {
    key: String,
    name_start: usize,
    account: Range<usize>,
    region: Range<usize>,
    day: Option<i32>,
    stamp: Option<i64>,
}

impl ObjectKey {
    /// Reads a key. `%3D`, which tools leave behind that copied an encoded key, counts as `=`.
    pub fn new(key: impl Into<String>) -> Self {
        let mut key: String = key.into();
        if key.contains("%3D") || key.contains("%3d") {
            key = key.replace("%3D", "=").replace("%3d", "=");
        }
        let name_start = last_segment(&key, "AWSLogs").unwrap_or(0);
        let mut this =
            Self { key, name_start, account: 0..0, region: 0..0, day: None, stamp: None };
        let segments: Vec<Range<usize>> = segments(&this.key, this.name_start).collect();
        let folders = &segments[..segments.len().saturating_sub(1)];
        let parts: Vec<Range<usize>> = this.file_parts().collect();
        let text = |range: &Range<usize>| &this.key[range.clone()];
        let labelled = |label: &'static str| {
            folders.iter().find_map(|range| {
                let value = text(range).strip_prefix(label)?;
                Some(range.end - value.len()..range.end)
            })
        };
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // Without AWSLogs any folder of digits may be anything, so only AWS's file name counts.
        let plain_account = folders
            .iter()
            .filter(|_| this.key[this.name_start..].starts_with("AWSLogs/"))
            .find(|range| is_digits(text(range)) && range.len() > 4);
        let named = || parts.first().filter(|part| parts.len() > 2 && is_digits(text(part)));
        let account = labelled("aws-account-id=").or(plain_account.or_else(named).cloned());
        let is_region = |range: &&Range<usize>| looks_like_region(text(range));
        let region = labelled("aws-region=")
            .or_else(|| parts.iter().skip(2).find(is_region).cloned())
            // The region stands behind whatever prefix looks like one.
            .or_else(|| folders.iter().rev().find(is_region).cloned());
        let stamp = parts.iter().rev().find_map(|part| stamp_ms(text(part)));
        let dated = folders.windows(3).find_map(|days| {
            day_of(text(&days[0]), text(&days[1]), text(&days[2])).filter(|_| days[0].len() >= 4)
        });
        this.day = dated.or(stamp.map(|ms| ms.div_euclid(time::DAY_MS) as i32));
        this.stamp = stamp;
        this.account = account.unwrap_or_default();
        this.region = region.unwrap_or_default();
        this
    }

    /// The whole key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// From the last `AWSLogs/` on, or the whole key: `metadata.log_name`.
    pub fn name(&self) -> &str {
        &self.key[self.name_start..]
    }

    /// The part behind the last `/`.
    pub fn file_name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// Account segment.
    pub fn account(&self) -> Option<&str> {
        Some(&self.key[self.account.clone()]).filter(|text| !text.is_empty())
    }

    /// Region segment.
    pub fn region(&self) -> Option<&str> {
        Some(&self.key[self.region.clone()]).filter(|text| !text.is_empty())
    }

    /// The day of delivery, as days since 1970.
    pub fn day(&self) -> Option<i32> {
        self.day
    }

    /// The stamp `YYYYMMDDTHHMMZ` of the file name, in milliseconds.
    pub fn stamp(&self) -> Option<i64> {
        self.stamp
    }

    /// The segment that names the AWS service, by `known`: a folder below `AWSLogs` (any folder if
    /// there is no `AWSLogs`), an `aws-service=` folder, or the second part of AWS's file name.
    pub fn service(&self, known: impl Fn(&str) -> bool) -> Option<&str> {
        let folders = segments(&self.key, self.name_start).map(|range| &self.key[range]);
        let names = self.file_parts().map(|range| &self.key[range]).skip(1).take(1);
        folders
            .map(|segment| segment.strip_prefix("aws-service=").unwrap_or(segment))
            .chain(names)
            .find(|segment| known(segment))
    }

    /// The parts of the file name between `_`, the last one without its endings.
    fn file_parts(&self) -> impl Iterator<Item = Range<usize>> {
        let start = self.key.len() - self.file_name().len();
        let stem = self.file_name().split('.').next().unwrap_or_default();
        let mut at = start;
        stem.split('_').map(move |part| {
            let range = at..at + part.len();
            at = range.end + 1;
            range
        })
    }
}

fn segments(key: &str, start: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = start;
    key[start..].split('/').map(move |segment| {
        let range = at..at + segment.len();
        at = range.end + 1;
        range
    })
}

/// Where the last folder of this name starts.
fn last_segment(key: &str, name: &str) -> Option<usize> {
    let folders = segments(key, 0).filter(|range| range.end < key.len());
    folders.filter(|range| &key[range.clone()] == name).last().map(|range| range.start)
}

/// `us-east-1`, `us-gov-west-1`, `ap-southeast-2`: a part of the world, a direction, a number.
fn looks_like_region(text: &str) -> bool {
    const DIRECTIONS: [&str; 5] = ["central", "north", "south", "east", "west"];
    let mut parts = text.rsplit('-');
    let number = parts.next().unwrap_or_default();
    let direction = parts.next().unwrap_or_default();
    let world: Vec<&str> = parts.collect();
    (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && DIRECTIONS.iter().any(|one| direction.ends_with(one))
        && (1..=2).contains(&world.len())
        && world.iter().all(|word| {
            (2..=4).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase())
        })
}

/// A day of three folders `2024/05/01` or `year=2024/month=05/day=01`.
fn day_of(year: &str, month: &str, day: &str) -> Option<i32> {
    let number = |text: &str, label: &str, len: usize| -> Option<i64> {
        let digits = text.strip_prefix(label).unwrap_or(text);
        (digits.len() == len && digits.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
        digits.parse().ok()
    };
    let (year, month, day) =
        (number(year, "year=", 4)?, number(month, "month=", 2)?, number(day, "day=", 2)?);
    time::day_from_civil(year, month, day).map(|day| day as i32)
}

/// Milliseconds of `YYYYMMDDTHHMMZ` or `YYYYMMDDTHHMMSSZ`.
fn stamp_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if !matches!(bytes.len(), 14 | 16) || bytes[8] != b'T' || !text.ends_with('Z') {
        return None;
    }
    let seconds = if bytes.len() == 16 { text.get(13..15)? } else { "00" };
    let parts = [text.get(0..4)?, text.get(4..6)?, text.get(6..8)?];
    let clock = [text.get(9..11)?, text.get(11..13)?, seconds];
    time::from_text(&format!("{}T{}Z", parts.join("-"), clock.join(":")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_tells_account_region_and_day() {
        let keys = [
            "AWSLogs/111122223333/CloudTrail/us-east-1/2024/05/01/111122223333_CloudTrail_us-east-1_20240501T0005Z_abcdefghij123456.json.gz",
            "AWSLogs/o-a1b2c3d4e5/111122223333/CloudTrail/us-east-1/2024/05/01/x.json.gz",
            "o-a1b2c3d4e5/AWSLogs/o-a1b2c3d4e5/111122223333/CloudTrail/us-east-1/2024/05/01/x.json.gz",
            "backup/AWSLogs/999999999999/eu-west-1/1999/01/01/AWSLogs/111122223333/CloudTrail/us-east-1/2024/05/01/x.json.gz",
            "AWSLogs/aws-account-id=111122223333/aws-service=CloudTrail/aws-region=us-east-1/year=2024/month=05/day=01/hour=07/x.json.gz",
            "AWSLogs/aws-account-id%3D111122223333/aws-service%3DCloudTrail/aws-region%3Dus-east-1/year%3D2024/month%3D05/day%3D01/x.json.gz",
            "case 7/111122223333_CloudTrail_us-east-1_20240501T0005Z_abcdefghij123456.json.gz",
        ];
        for key in keys {
            let key = ObjectKey::new(key);
            assert_eq!(key.account(), Some("111122223333"), "{key:?}");
            assert_eq!(key.region(), Some("us-east-1"), "{key:?}");
            assert_eq!(key.day(), Some(19_844), "{key:?}");
            assert_eq!(key.service(|segment| segment == "CloudTrail"), Some("CloudTrail"));
        }
    }

    #[test]
    fn the_name_starts_at_the_last_awslogs_folder() {
        let name = |key: &str| ObjectKey::new(key).name().to_owned();
        assert_eq!(name("p/AWSLogs/q/AWSLogs/1/x"), "AWSLogs/1/x");
        assert_eq!(name("p/NotAWSLogs/1/x"), "p/NotAWSLogs/1/x");
        assert_eq!(name("x.json"), "x.json");
        assert_eq!(name("logs/AWSLogs"), "logs/AWSLogs");
    }

    #[test]
    fn a_key_without_hints_tells_nothing() {
        let key = ObjectKey::new("case/2024/notes.txt");
        assert_eq!((key.account(), key.region(), key.day(), key.stamp()), (None, None, None, None));
    }

    #[test]
    fn a_folder_before_the_service_is_no_region_for_its_name() {
        let region = |key: &str| ObjectKey::new(key).region().map(str::to_owned);
        let last = "vpcflowlogs/us-east-2/2024/05/01/x.log.gz";
        assert_eq!(region(&format!("team-logs-1/{last}")).as_deref(), Some("us-east-2"));
        assert_eq!(region(&format!("eu-west-1/{last}")).as_deref(), Some("us-east-2"));
        assert_eq!(region("team-logs-1/x.log.gz"), None);
        let file = "1_vpcflowlogs_us-gov-west-1_fl-1_20240501T0000Z_1a2b3c4d.log.gz";
        assert_eq!(region(&format!("eu-west-1/{file}")).as_deref(), Some("us-gov-west-1"));
        assert_eq!(region("ap-southeast-2/x").as_deref(), Some("ap-southeast-2"));
    }

    #[test]
    fn stamps_are_minutes_or_seconds() {
        assert_eq!(stamp_ms("20240501T0005Z"), Some(1_714_521_900_000));
        assert_eq!(stamp_ms("20240501T000507Z"), Some(1_714_521_907_000));
        assert_eq!(stamp_ms("20240501T9905Z"), None);
    }
}
