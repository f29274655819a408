//! The resources of a finding.
//!
//! # Input
//! The details objects below `resource`, and the resources of an attack sequence.
//! # Maps to
//! `resources[]`, mapping tables M8 and G7. Each keeps its details object as `data`.
//! # Known gaps
//! Details objects that table G7 does not name go to `unmapped`.
//! # Reference
//! Mapping 5.4.

use bumpalo::collections::Vec as BumpVec;

use super::finding::Context;
use crate::{
    ocsf::{Account, FindingOwner, FindingResource},
    tree::{Node, Reader},
};

/// Where a details object has the uid of its resource.
#[derive(Clone, Copy)]
enum Uid {
    /// At the first of these.
    At(&'static [&'static str]),
    /// At the first member whose key ends in `arn`, in any case.
    Arn,
    /// Made of the instance id.
    Instance,
}

/// A kind of details object.
struct Details {
    /// Its place below `resource`.
    path: &'static str,
    /// Lists in it that hold the resources; itself if there are none.
    lists: &'static [&'static str],
    kind: &'static str,
    uid: Uid,
    names: &'static [&'static str],
    labels: bool,
}

const NO_LISTS: &[&str] = &[];
const BUCKET: &str = "s3BucketDetails";
const LAMBDA: &str = "lambdaDetails";

macro_rules! details {
    ($( $path:expr, $lists:expr, $kind:literal, $uid:expr, [$($name:literal),*], $labels:literal; )*) => {
        /// Table G7, in its order.
        const DETAILS: &[Details] = &[ $( Details {
            path: $path,
            lists: $lists,
            kind: $kind,
            uid: $uid,
            names: &[$($name),*],
            labels: $labels,
        } ),* ];
    };
}

details! {
    "accessKeyDetails", NO_LISTS, "AWS::IAM::AccessKey", Uid::At(&["accessKeyId", "principalId"]), ["userName"], false;
    "instanceDetails", NO_LISTS, "AWS::EC2::Instance", Uid::Instance, ["instanceId"], true;
    BUCKET, NO_LISTS, "AWS::S3::Bucket", Uid::At(&["arn"]), ["name"], true;
    "eksClusterDetails", NO_LISTS, "AWS::EKS::Cluster", Uid::Arn, ["name"], true;
    "ecsClusterDetails", NO_LISTS, "AWS::ECS::Cluster", Uid::Arn, ["name"], true;
    "containerDetails", NO_LISTS, "Container", Uid::At(&["id"]), ["name", "image"], false;
    "rdsDbInstanceDetails", NO_LISTS, "AWS::RDS::DBInstance", Uid::At(&["dbInstanceArn"]), ["dbInstanceIdentifier"], true;
    LAMBDA, NO_LISTS, "AWS::Lambda::Function", Uid::At(&["functionArn"]), ["functionName"], true;
    "ebsVolumeDetails", &["scannedVolumeDetails", "skippedVolumeDetails"], "AWS::EC2::Volume", Uid::At(&["volumeArn"]), ["deviceName"], false;
    "kubernetesDetails", &["kubernetesWorkloadDetails"], "KubernetesWorkload", Uid::At(&["uid"]), ["name"], false;
    "rdsLimitlessDbDetails", NO_LISTS, "AWS::RDS::DBShardGroup", Uid::Arn, ["name", "dbShardGroupIdentifier"], true;
    "ebsSnapshotDetails", NO_LISTS, "AWS::EC2::Snapshot", Uid::Arn, ["name"], false;
    "ec2ImageDetails", NO_LISTS, "AWS::EC2::Image", Uid::Arn, ["name"], false;
    "recoveryPointDetails", NO_LISTS, "AWS::Backup::RecoveryPoint", Uid::Arn, ["name"], false;
}

/// All resources of a finding. What they hold is taken.
pub(super) fn resources<'a>(
    context: &Context<'a>,
    read: &mut Reader<'a>,
) -> &'a [FindingResource<'a>] {
    let mut out = BumpVec::new_in(read.arena);
    let Some(resource) = context.finding.get("resource") else {
        sequence(context, read, &mut out);
        return out.into_bump_slice();
    };
    for details in DETAILS {
        let Some(found) = resource.present(details.path) else { continue };
        for object in found.elements() {
            if details.lists.is_empty() {
                one(context, details, object, read, &mut out);
            }
            for list in details.lists {
                for object in object.get(list).map(Node::elements).unwrap_or_default() {
                    one(context, details, object, read, &mut out);
                }
            }
        }
    }
    sequence(context, read, &mut out);
    out.into_bump_slice()
}

/// One details object, and the objects of a bucket.
fn one<'a>(
    context: &Context<'a>,
    details: &Details,
    object: &'a Node<'a>,
    read: &mut Reader<'a>,
    out: &mut BumpVec<'a, FindingResource<'a>>,
) {
    let uid = match details.uid {
        Uid::At(places) => read.text_of(object, places),
        Uid::Arn => {
            let is_arn = |key: &str| key.to_ascii_lowercase().ends_with("arn");
            let arns = object.members().iter().filter(|(key, _)| is_arn(key));
            arns.map(|(_, node)| node).find_map(|node| read.text(node, ""))
        }
        Uid::Instance => instance_arn(context, object, read),
    };
    let name = read.text_of(object, details.names);
    if uid.is_some() || name.is_some() {
        read.mark(object);
        read.text(context.finding, "partition");
        out.push(FindingResource {
            r#type: Some(details.kind),
            uid,
            name,
            labels: if details.labels { labels(object, read) } else { &[] },
            version: read.text(object, "functionVersion").filter(|_| details.path == LAMBDA),
            owner: FindingOwner {
                uid: read.text(object, "owner.id").filter(|_| details.path == BUCKET),
                account: Account { uid: context.account },
            },
            ..resource(context, object, read)
        });
        read.keep();
    }
    read.forget();
    if details.path == BUCKET {
        for object in object.objects("s3ObjectDetails") {
            let (uid, name) = (read.text(object, "objectArn"), read.text(object, "key"));
            if uid.is_some() || name.is_some() {
                read.mark(object);
                let r#type = Some("AWS::S3::Object");
                out.push(FindingResource { r#type, uid, name, ..resource(context, object, read) });
            }
            read.keep();
        }
    }
}

fn resource<'a>(
    context: &Context<'a>,
    data: &'a Node<'a>,
    read: &Reader<'a>,
) -> FindingResource<'a> {
    FindingResource {
        region: context.region,
        cloud_partition: Some(context.partition),
        owner: FindingOwner { uid: None, account: Account { uid: context.account } },
        data: Some(data.json(read.arena)),
        ..FindingResource::default()
    }
}

fn instance_arn<'a>(
    context: &Context<'a>,
    object: &'a Node<'a>,
    read: &mut Reader<'a>,
) -> Option<&'a str> {
    let id = read.text(object, "instanceId")?;
    let (region, account) = (context.region?, context.account?);
    Some(read.alloc(&["arn:", context.partition, ":ec2:", region, ":", account, ":instance/", id]))
}

/// `key:value` of each tag.
fn labels<'a>(object: &'a Node<'a>, read: &mut Reader<'a>) -> &'a [Option<&'a str>] {
    let mut labels = BumpVec::new_in(read.arena);
    for tag in object.objects("tags") {
        let is_text = |node: &Node<'a>| node.text(read.arena).is_some();
        if tag.present("value").is_some_and(|value| !is_text(value)) {
            continue;
        }
        if let Some(key) = read.text(tag, "key") {
            let value = read.text(tag, "value").unwrap_or_default();
            labels.push(Some(read.alloc(&[key, ":", value])));
        }
    }
    labels.into_bump_slice()
}

/// The resources of an attack sequence.
fn sequence<'a>(
    context: &Context<'a>,
    read: &mut Reader<'a>,
    out: &mut BumpVec<'a, FindingResource<'a>>,
) {
    for object in context.finding.objects("service.detection.sequence.resources") {
        let (uid, name) = (read.text(object, "uid"), read.text(object, "name"));
        if uid.is_none() && name.is_none() {
            read.forget();
            continue;
        }
        let data = object.present("data");
        if let Some(data) = data {
            read.mark(data);
        }
        out.push(FindingResource {
            r#type: read.text(object, "resourceType"),
            uid,
            name,
            region: read.text(object, "region"),
            cloud_partition: read.text(object, "cloudPartition").or(Some("aws")),
            owner: FindingOwner {
                uid: None,
                account: Account { uid: read.text(object, "accountId") },
            },
            labels: labels(object, read),
            version: None,
            data: data.map(|data| data.json(read.arena)),
        });
        read.keep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_details_object_is_in_the_list_of_kinds_and_in_the_golden() {
        let golden = include_str!("golden.ndjson");
        for Details { path, kind, .. } in DETAILS {
            let row = format!("| `{path}` | {kind} |");
            assert!(include_str!("kinds.md").contains(&row), "{row}");
            assert!(golden.contains(&format!("{{\"type\":\"{kind}\"")), "{kind}");
        }
    }
}
