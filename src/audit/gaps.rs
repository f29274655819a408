//! Hours in which nothing arrived although something always does.
//!
//! # Input
//! For each stream (source, account and region) the hours in whose file names objects are stamped.
//! # Maps to
//! [`Gap`]s: runs of hours without an object, with objects in 90 % of the hours around them: the 24
//! before and the 24 behind. On one side there may be fewer, because the stream begins or what was
//! asked for ends there. A run that reaches the end has only hours before it: the stream has stopped.
//! # Known gaps
//! An account in which nothing happens has quiet hours. What is quiet for more than a tenth of the
//! hours is never a gap; what is almost never quiet is, also if it was quiet for once. Two trails or
//! flow logs of the same account and region are one stream.
//! # Reference
//! CloudTrail delivers about every 5 minutes, flow logs every 10 at most, if there is something:
//! <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html>,
//! <https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-path.html>.

use std::collections::BTreeMap;

use serde::Serialize;

use super::report::time_text;

pub const HOUR_MS: i64 = 3_600_000;
/// Hours that are looked at on each side of a run.
const AROUND: usize = 24;

/// What is delivered by one trail, or by the flow logs of a region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Stream {
    /// Name of the source.
    pub source: &'static str,
    /// Account of the path.
    pub account: String,
    /// Region of the path.
    pub region: String,
}

/// Hours without an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Of what.
    #[serde(flatten)]
    pub stream: Stream,
    /// The start of the first hour.
    pub from: String,
    /// The end of the last hour.
    pub until: String,
    /// How many.
    pub hours: u64,
    /// Nothing came behind it.
    pub stopped: bool,
}

/// The hours of every stream, a bit for each: 24 of a day.
#[derive(Debug, Default)]
pub struct Hours(BTreeMap<Stream, BTreeMap<i64, u32>>);

impl Hours {
    /// An object arrived.
    pub fn arrived(&mut self, source: &'static str, account: &str, region: &str, ms: i64) {
        let hour = ms.div_euclid(HOUR_MS);
        let stream = Stream { source, account: account.into(), region: region.into() };
        let days = self.0.entry(stream).or_default();
        *days.entry(hour.div_euclid(24)).or_default() |= 1 << hour.rem_euclid(24);
    }

    /// The gaps that begin at or after `since` in hours that end until `end`, in order.
    pub fn gaps(&self, since: i64, end: i64) -> Vec<Gap> {
        let mut gaps = Vec::new();
        for (stream, days) in &self.0 {
            let Some((first_day, bits)) = days.first_key_value() else { continue };
            let first = first_day * 24 + i64::from(bits.trailing_zeros());
            let hours: Vec<bool> = (first..end.div_euclid(HOUR_MS))
                .map(|hour| {
                    let bits = days.get(&hour.div_euclid(24)).copied().unwrap_or_default();
                    bits >> hour.rem_euclid(24) & 1 == 1
                })
                .collect();
            let ms = |at: usize| (first + at as i64) * HOUR_MS;
            for (start, stop) in runs(&hours) {
                if is_gap(&hours, start, stop) && ms(stop) > since {
                    let start = (start..stop).find(|&at| ms(at) >= since).unwrap_or(start);
                    gaps.push(Gap {
                        stream: stream.clone(),
                        from: time_text(ms(start)),
                        until: time_text(ms(stop)),
                        hours: (stop - start) as u64,
                        stopped: stop == hours.len(),
                    });
                }
            }
        }
        gaps
    }
}

/// Where runs of hours without an object start and stop.
fn runs(hours: &[bool]) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut at = 0;
    for run in hours.chunk_by(|a, b| a == b) {
        if !run[0] {
            runs.push((at, at + run.len()));
        }
        at += run.len();
    }
    runs
}

fn is_gap(hours: &[bool], start: usize, stop: usize) -> bool {
    let before = &hours[start.saturating_sub(AROUND)..start];
    let behind = &hours[stop..(stop + AROUND).min(hours.len())];
    let all = before.len() + behind.len();
    let with_objects = before.iter().chain(behind).filter(|&&hour| hour).count();
    before.len().max(behind.len()) == AROUND && with_objects * 10 >= all * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gaps of a stream that is silent in some of so many hours, as `(from, hours, stopped)`.
    fn gaps(count: i64, is_silent: impl Fn(i64) -> bool) -> Vec<(String, u64, bool)> {
        let mut hours = Hours::default();
        for hour in (0..count).filter(|&hour| !is_silent(hour)) {
            hours.arrived("cloudtrail", "1", "us-east-1", hour * HOUR_MS + 1);
        }
        let gaps = hours.gaps(i64::MIN, count * HOUR_MS);
        gaps.into_iter().map(|gap| (gap.from, gap.hours, gap.stopped)).collect()
    }

    #[test]
    fn a_run_of_silent_hours_in_a_steady_stream_is_a_gap_however_long() {
        let gap = |hours| vec![("1970-01-02T06:00:00Z".to_owned(), hours, false)];
        assert_eq!(gaps(60, |hour| hour == 30), gap(1));
        assert_eq!(gaps(200, |hour| (30..150).contains(&hour)), gap(120));
        assert_eq!(gaps(60, |_| false), []);
    }

    #[test]
    fn a_stream_that_stops_is_a_gap_to_the_end() {
        assert_eq!(gaps(100, |hour| hour >= 30), [("1970-01-02T06:00:00Z".to_owned(), 70, true)]);
    }

    #[test]
    fn a_stream_with_quiet_hours_or_a_short_past_has_no_gaps() {
        assert_eq!(gaps(200, |hour| hour % 24 >= 18), []);
        assert_eq!(gaps(200, |hour| hour % 7 == 3), []);
        assert_eq!(gaps(30, |hour| hour == 10), []);
        assert_eq!(gaps(30, |hour| (18..24).contains(&hour)), []);
        assert_eq!(gaps(200, |hour| hour > 0), []);
    }
}
