//! Lists objects, in pages, ahead of who reads them.
//!
//! # Input
//! A place and a [`Scope`].
//! # Maps to
//! Objects in the order of their keys. In a bucket, folders that lie outside of the scope are not
//! listed: what a folder holds is told by its path.
//! # Known gaps
//! A folder with over 1,000 folders or objects that is not of AWS's layout is listed whole.
//! # Reference
//! source-oddities 1.1 and 1.2 for the layouts.

use std::{collections::VecDeque, path::Path, sync::Arc};

use parsers::{
    Filter, ObjectKey, Recognition, Source,
    time::{self, DAY_MS},
};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::spawn_blocking,
};

use super::{Bucket, ObjectRef, Place, Sources, local};

/// Objects of a page of a local listing; S3's pages are as large.
const PAGE_OBJECTS: usize = 1000;
/// Pages that wait for the reader.
const PAGES_AHEAD: usize = 2;
/// Where AWS records the events of global services, such as IAM, whatever trail delivers them.
const GLOBAL_REGIONS: [&str; 3] = ["us-east-1", "us-gov-west-1", "cn-north-1"];

/// Pages of objects, or why something cannot be listed.
pub type Listed = Receiver<Result<Vec<ObjectRef>, String>>;

/// Which objects can hold what is wanted, by their keys alone.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only objects of this source and of none.
    pub source: Option<&'static Source>,
    /// Which events are wanted.
    pub filter: Filter,
}

impl Scope {
    fn is_all(&self) -> bool {
        self.source.is_none() && self.filter == Filter::default()
    }

    /// True if an object of this key can hold what is wanted.
    ///
    /// Events are delivered late: a day of slack on both sides. The folder of an account holds what
    /// was delivered for it; findings may be exported for others as well. The folder of a region
    /// holds the events of that region, and of global services.
    pub fn may_hold(&self, key: &ObjectKey) -> bool {
        let name = match parsers::detect(key) {
            Recognition::Source(source) => source.name,
            _ => "",
        };
        if !name.is_empty() && self.source.is_some_and(|wanted| name != wanted.name) {
            return false;
        }
        let Filter { accounts, regions, .. } = &self.filter;
        let is_other = |wanted: &[String], found: Option<&str>| {
            !wanted.is_empty() && found.is_some_and(|found| !wanted.iter().any(|one| one == found))
        };
        let wants_global = regions.iter().any(|one| GLOBAL_REGIONS.contains(&one.as_str()));
        if (name != "guardduty" && is_other(accounts, key.account()))
            || (!(name == "cloudtrail" && wants_global) && is_other(regions, key.region()))
        {
            return false;
        }
        let (first, last) = self.days();
        key.day().map(i64::from).is_none_or(|day| first <= day && day <= last)
    }

    /// The first and the last day of delivery, as days since 1970.
    fn days(&self) -> (i64, i64) {
        let day_of = |ms: i64| ms.div_euclid(DAY_MS);
        let Filter { since, until, .. } = self.filter;
        (
            if since > i64::MIN { day_of(since) - 1 } else { i64::MIN },
            if until < i64::MAX { day_of(until - 1) + 1 } else { i64::MAX },
        )
    }

    /// What is to be listed below a folder of a bucket.
    fn below(&self, folder: &str) -> Below {
        // An object of the folder, with a name that every source takes.
        let key = ObjectKey::new(format!("{folder}x.log.json.gz"));
        let last = folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let value = last.rsplit('=').next().unwrap_or_default();
        // What service wrote it is told below.
        if key.account().is_none_or(|account| account == value) {
            return Below::Folders;
        }
        if !self.may_hold(&key) {
            return Below::Nothing;
        }
        if key.day().is_some() {
            return Below::Keys(None, None);
        }
        if key.region().is_none_or(|region| region != value) {
            return Below::Folders;
        }
        let label = last.strip_prefix("aws-region=");
        // The folders of days follow, in order.
        let (first, last) = self.days();
        let day_folder = |day: i64| {
            let day = time::compact_day(i32::try_from(day).ok()?);
            let (year, month, day) = (day.get(..4)?, day.get(4..6)?, day.get(6..)?);
            Some(match label {
                Some(_) => format!("{folder}year={year}/month={month}/day={day}/"),
                None => format!("{folder}{year}/{month}/{day}/"),
            })
        };
        let after = Some(first).filter(|&day| day > i64::MIN).and_then(day_folder);
        let until = Some(last).filter(|&day| day < i64::MAX).and_then(|day| day_folder(day + 1));
        Below::Keys(after, until)
    }
}

/// What is to be listed below a folder.
#[derive(Debug, PartialEq, Eq)]
enum Below {
    Nothing,
    /// Its folders, one by one, and its objects.
    Folders,
    /// Every object below it, after this key, before that one.
    Keys(Option<String>, Option<String>),
}

pub(super) fn list(sources: Sources, place: Place, scope: Scope) -> Listed {
    let (pages, listed) = mpsc::channel(PAGES_AHEAD);
    match place {
        Place::Local(path) => drop(spawn_blocking(move || list_files(&path, &pages))),
        Place::S3 { bucket, prefix } => drop(tokio::spawn(async move {
            let listed = match sources.bucket(&bucket).await {
                Ok(bucket) => list_bucket(&bucket, &prefix, &scope, &pages).await,
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = listed {
                // If nobody listens any more nobody wants to know.
                drop(pages.send(Err(error)).await);
            }
        })),
    }
    listed
}

type Pages = Sender<Result<Vec<ObjectRef>, String>>;

fn list_files(path: &Path, pages: &Pages) {
    let listing = match local::list(path) {
        Ok(listing) => listing,
        Err(error) => return drop(pages.blocking_send(Err(error.to_string()))),
    };
    let mut page = Vec::new();
    for object in listing {
        let sent = match object {
            Ok(object) => {
                page.push(object);
                if page.len() < PAGE_OBJECTS {
                    continue;
                }
                pages.blocking_send(Ok(std::mem::take(&mut page)))
            }
            Err(error) => pages.blocking_send(Err(error)),
        };
        if sent.is_err() {
            return;
        }
    }
    drop(pages.blocking_send(Ok(page)));
}

async fn list_bucket(
    bucket: &Arc<Bucket>,
    prefix: &str,
    scope: &Scope,
    pages: &Pages,
) -> Result<(), String> {
    let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let first = bucket.page(&folder, true, None, None).await.map_err(|error| error.to_string())?;
    if first.objects.is_empty() && first.folders.is_empty() {
        let object = bucket.head(prefix).await;
        let Some(object) = object.map_err(|error| error.to_string())? else {
            return Err("there is nothing: neither an object nor a folder".into());
        };
        drop(pages.send(Ok(vec![object])).await);
        return Ok(());
    }
    let mut open = VecDeque::from([folder]);
    while let Some(folder) = open.pop_front() {
        let below = if scope.is_all() { Below::Keys(None, None) } else { scope.below(&folder) };
        let (after, until) = match below {
            Below::Nothing => continue,
            Below::Keys(after, until) => (after, until),
            Below::Folders => {
                let page = bucket.page(&folder, true, None, None).await;
                let page = page.map_err(|error| error.to_string())?;
                if page.next.is_none() {
                    for folder in page.folders.into_iter().rev() {
                        open.push_front(folder);
                    }
                    if pages.send(Ok(files_only(page.objects))).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                (None, None)
            }
        };
        let mut next = None;
        loop {
            let page = bucket.page(&folder, false, after.clone(), next).await;
            let page = page.map_err(|error| error.to_string())?;
            let mut objects = files_only(page.objects);
            let all = objects.len();
            objects.retain(|object| until.as_ref().is_none_or(|until| object.key < *until));
            let is_past = objects.len() < all;
            next = page.next;
            if pages.send(Ok(objects)).await.is_err() {
                return Ok(());
            }
            if is_past || next.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Without the empty objects that consoles make for folders.
fn files_only(mut objects: Vec<ObjectRef>) -> Vec<ObjectRef> {
    objects.retain(|object| !(object.size == 0 && object.key.ends_with('/')));
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(filter: Filter) -> Scope {
        Scope { source: None, filter }
    }

    #[test]
    fn folders_of_other_accounts_and_regions_are_not_listed() {
        let scope = scope(Filter {
            accounts: vec!["111122223333".into()],
            regions: vec!["eu-west-1".into()],
            ..Filter::default()
        });
        for (folder, expected) in [
            ("", Below::Folders),
            ("AWSLogs/", Below::Folders),
            ("AWSLogs/o-a1b2c3d4e5/444455556666/", Below::Folders),
            ("AWSLogs/o-a1b2c3d4e5/444455556666/CloudTrail/", Below::Nothing),
            ("AWSLogs/444455556666/vpcflowlogs/", Below::Nothing),
            ("AWSLogs/444455556666/GuardDuty/", Below::Folders),
            ("AWSLogs/111122223333/CloudTrail/us-east-1/", Below::Nothing),
            ("AWSLogs/111122223333/CloudTrail/eu-west-1/", Below::Keys(None, None)),
        ] {
            assert_eq!(scope.below(folder), expected, "{folder}");
        }
    }

    #[test]
    fn events_of_global_services_are_looked_for_in_every_region() {
        let scope = scope(Filter { regions: vec!["us-east-1".into()], ..Filter::default() });
        let trail = "AWSLogs/111122223333/CloudTrail/eu-west-1/";
        assert_eq!(scope.below(trail), Below::Keys(None, None));
        assert_eq!(scope.below("AWSLogs/111122223333/vpcflowlogs/eu-west-1/"), Below::Nothing);
    }

    #[test]
    fn only_the_keys_of_wanted_days_are_listed_with_a_day_of_slack() {
        let day = |n: i64| n * DAY_MS;
        // 2024-05-01 and 02.
        let scope = scope(Filter { since: day(19844), until: day(19846), ..Filter::default() });
        let keys = |a: &str, b: &str| Below::Keys(Some(a.to_owned()), Some(b.to_owned()));
        let plain = "AWSLogs/111122223333/CloudTrail/us-east-1/";
        let expected = keys(&format!("{plain}2024/04/30/"), &format!("{plain}2024/05/04/"));
        assert_eq!(scope.below(plain), expected);
        let hive =
            "p/AWSLogs/aws-account-id=111122223333/aws-service=vpcflowlogs/aws-region=us-east-1/";
        let expected = keys(
            &format!("{hive}year=2024/month=04/day=30/"),
            &format!("{hive}year=2024/month=05/day=04/"),
        );
        assert_eq!(scope.below(hive), expected);
        assert_eq!(scope.below(&format!("{plain}2024/05/07/")), Below::Nothing);
        assert_eq!(scope.below(&format!("{plain}2024/05/02/")), Below::Keys(None, None));
    }

    #[test]
    fn the_folders_of_another_source_are_not_listed() {
        let scope = Scope { source: parsers::source("vpc_flow"), filter: Filter::default() };
        assert_eq!(scope.below("AWSLogs/111122223333/CloudTrail/"), Below::Nothing);
        assert_eq!(scope.below("AWSLogs/111122223333/vpcflowlogs/"), Below::Folders);
    }
}
