//! Delivers one body: sends it, and sends again what was not taken, until each document has a verdict.
//!
//! # Input
//! A [`Body`].
//! # Maps to
//! A verdict for each of its documents. Only what was not taken is sent again, in halves if the server
//! has too much to do. A body that is too large is halved until it is one document, which alone is
//! refused. Sending twice is safe: the second time it is a duplicate.
//! # Known gaps
//! A document whose request was given up and had been indexed all the same counts as a duplicate.
//! # Reference
//! <https://docs.opensearch.org/latest/api-reference/document-apis/bulk/>.

use std::{
    ops::Range,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::{
    Body, Index,
    reply::{self, Item, Verdict},
};
use crate::{
    cluster::{self, ClusterError, Trouble},
    cpu::Cpu,
};

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What an attempt led to.
enum Answer {
    Items(Vec<Item>),
    TooLarge(String),
    Trouble(ClusterError, Option<Duration>),
}

/// Sends a body until each of its documents has a verdict.
pub(super) async fn deliver(index: &Index, cpu: &Cpu, body: &Body) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Pending; body.documents.len()];
    // Numbers of documents that go together.
    let mut parts: Vec<Vec<usize>> = vec![(0..body.documents.len()).collect()];
    let mut failures = 0;
    while let Some(part) = parts.pop() {
        if index.health.down().is_some() {
            break;
        }
        let ranges: Vec<_> = part.iter().map(|&at| body.documents[at].range.clone()).collect();
        let bytes: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        if part.len() > 1 && bytes > index.bulk_bytes.load(Relaxed) {
            halve(&mut parts, &part);
            continue;
        }
        let text = gather(&body.text, &ranges);
        let asked = Instant::now();
        let answer = attempt(index, cpu, text, part.len()).await;
        let mut again = Vec::new();
        let mut trouble = None;
        match answer {
            Answer::Items(items) => {
                for (&at, item) in part.iter().zip(items) {
                    verdicts[at] = match item {
                        Item::Done(verdict) => verdict,
                        Item::Again(kind, said) => {
                            again.push(at);
                            trouble.get_or_insert((error_of(index, kind, &said), None));
                            Verdict::Pending
                        }
                    };
                }
                if again.len() < part.len() {
                    index.health.good();
                    failures = 0;
                }
            }
            Answer::TooLarge(reason) => {
                if let [only] = part[..] {
                    let (status, kind) = (413, "too_large".into());
                    verdicts[only] = Verdict::Rejected { status, kind, reason };
                } else {
                    // Later bodies need not find out the same.
                    index.bulk_bytes.fetch_min(bytes.div_ceil(2), Relaxed);
                    halve(&mut parts, &part);
                }
            }
            Answer::Trouble(error, pause) => {
                again = part;
                trouble = Some((error, pause));
            }
        }
        let Some((error, pause)) = trouble else {
            index.pace.good();
            continue;
        };
        index.pace.bad();
        tracing::debug!(documents = again.len(), error = error.what, "sent again");
        let Some(until) = index.health.bad(&error, asked) else { break };
        failures += 1;
        if failures > 1 && error.trouble == Trouble::Busy && again.len() > 1 {
            // It may be that a request as large as this never fits in what the server sets aside.
            halve(&mut parts, &again);
        } else {
            parts.push(again);
        }
        let pause = pause.unwrap_or_else(|| random_pause(failures));
        tokio::time::sleep_until((Instant::now() + pause).min(until).into()).await;
    }
    verdicts
}

fn halve(parts: &mut Vec<Vec<usize>>, part: &[usize]) {
    let (front, back) = part.split_at(part.len() / 2);
    parts.extend([back.to_vec(), front.to_vec()]);
}

async fn attempt(index: &Index, cpu: &Cpu, text: Bytes, count: usize) -> Answer {
    let _permit = index.pace.permit().await;
    let is_ready = index.health.in_time(index.ready()).await;
    if let Err(error) = is_ready.unwrap_or_else(|| Err(index.health.late())) {
        return Answer::Trouble(error, None);
    }
    let body = if index.gzip {
        match cpu.run(move || cluster::gzip(&text)).await {
            Ok(body) => body,
            Err(error) => {
                let what = error.to_string();
                return Answer::Trouble(ClusterError { trouble: Trouble::Refused, what }, None);
            }
        }
    } else {
        text
    };
    let bytes = body.len() as u64;
    let sent = index.health.in_time(index.cluster.bulk(reply::PATH, body, index.gzip)).await;
    let reply = match sent.unwrap_or_else(|| Err(index.health.late())) {
        Ok(reply) => reply,
        Err(error) => {
            // Who answers next may be another one, or have lost everything.
            *index.ready.lock().await = false;
            return Answer::Trouble(error, None);
        }
    };
    index.sent.fetch_add(bytes, Relaxed);
    match reply.status {
        200 => match reply::items(&reply.body, count) {
            Ok(items) => Answer::Items(items),
            Err(why) => {
                let what = format!("OpenSearch at {}: {why}", index.cluster.url());
                Answer::Trouble(ClusterError { trouble: Trouble::Busy, what }, reply.retry_after)
            }
        },
        413 => Answer::TooLarge(format!(
            "the document is larger than the server takes (http.max_content_length): {}",
            reply.reason()
        )),
        _ => Answer::Trouble(index.cluster.error("index", &reply), reply.retry_after),
    }
}

fn error_of(index: &Index, trouble: Trouble, said: &str) -> ClusterError {
    let url = index.cluster.url();
    let help = match trouble {
        Trouble::Blocked if said.contains("index_closed_exception") => {
            "has a closed index that documents belong to: open it (POST /ocsf-*/_open), or delete it"
        }
        Trouble::Blocked if said.contains("index_not_found") => {
            "has no such index, deleted or not made: let action.auto_create_index admit ocsf-*; send what \
             it held again with --force"
        }
        Trouble::Blocked => "takes no writes: free disk space, or take the block away",
        Trouble::Denied => {
            "does not let us index: map our user or role to one that may, see `trailhound setup \
             opensearch`"
        }
        Trouble::Refused => {
            "has no such index and makes none: let action.auto_create_index admit ocsf-*"
        }
        Trouble::Busy | Trouble::Unreachable | Trouble::Unknown => "has too much to do",
    };
    ClusterError { trouble, what: format!("OpenSearch at {url} {help} ({said})") }
}

/// The ranges of a text as one: not copied if they are one.
fn gather(text: &Bytes, ranges: &[Range<usize>]) -> Bytes {
    let is_one = ranges.windows(2).all(|pair| pair[0].end == pair[1].start);
    match ranges {
        [first, .., last] if is_one => text.slice(first.start..last.end),
        [only] => text.slice(only.clone()),
        _ => {
            let mut out = BytesMut::with_capacity(ranges.iter().map(ExactSizeIterator::len).sum());
            for range in ranges {
                out.extend_from_slice(&text[range.clone()]);
            }
            out.freeze()
        }
    }
}

/// Between half and all of a pause that doubles, so that many do not come again at once.
fn random_pause(failures: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(12)).min(LONGEST_PAUSE);
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_together_is_not_copied() {
        let text = Bytes::from_static(b"aabbccdd");
        let whole = gather(&text, &[0..2, 2..4, 4..8]);
        assert_eq!(whole.as_ptr(), text.as_ptr());
        assert_eq!(gather(&text, &[0..2, 4..6, 6..8]), "aaccdd");
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        for (failures, most) in [(1, 200), (2, 400), (5, 3_200), (50, 30_000)] {
            let pause = random_pause(failures).as_millis();
            assert!((most / 2..=most).contains(&pause), "{failures}: {pause}");
        }
    }
}
