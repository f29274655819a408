//! Made-up logs of any size, the same on every machine.
#![allow(dead_code, reason = "each bench uses its part")]

use std::{
    error::Error,
    fmt::Write as _,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Instant,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

/// What a run of the program has taken, and what it said.
pub struct Timed<T = Value> {
    pub report: T,
    /// Wall time, in seconds.
    pub seconds: f64,
    /// CPU time, in seconds.
    pub cpu: f64,
    pub peak_mb: f64,
}

/// Runs the program with one lane; `command` gives it its arguments. Figures are in `root` meanwhile.
pub fn timed(
    root: &Path,
    command: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<Timed, Box<dyn Error>> {
    let run = run(root, |time| command(time).args(["--json", "--jobs", "1"]))?;
    let Timed { report, seconds, cpu, peak_mb } = run;
    Ok(Timed { report: serde_json::from_slice(&report.stdout)?, seconds, cpu, peak_mb })
}

/// Runs the program; what it wrote is the report.
pub fn run(
    root: &Path,
    command: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<Timed<Output>, Box<dyn Error>> {
    let mut time = Command::new("/usr/bin/time");
    time.args(["-f", "%U %S %M", "-o"]).arg(root.join("time"));
    time.arg(env!("CARGO_BIN_EXE_trailhound"));
    let run = command(&mut time);
    let started = Instant::now();
    let report = run.output()?;
    let seconds = started.elapsed().as_secs_f64();
    if !report.status.success() {
        return Err(String::from_utf8_lossy(&report.stderr).into());
    }
    let figures = fs::read_to_string(root.join("time"))?;
    let figures: Vec<f64> = figures.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [user, system, peak_kib] = figures[..] else { return Err("no figures".into()) };
    Ok(Timed { report, seconds, cpu: user + system, peak_mb: peak_kib / 1024.0 })
}

/// A lake's folder without a lake.
pub fn no_lake(root: &Path) -> io::Result<PathBuf> {
    let lake = root.join("lake");
    if lake.exists() {
        fs::remove_dir_all(&lake)?;
    }
    Ok(lake)
}

/// A small generator of numbers (xorshift64*), so that no run differs.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

const ACCOUNTS: [&str; 4] = ["111122223333", "444455556666", "777788889999", "123456789012"];
const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-2"];
const DAY: &str = "2025/03/10";

/// Calls with their service and how often they come; the rest of the record follows from them.
const CALLS: [(&str, &str, bool, u64); 10] = [
    ("s3.amazonaws.com", "GetObject", true, 30),
    ("sts.amazonaws.com", "AssumeRole", true, 15),
    ("ec2.amazonaws.com", "DescribeInstances", true, 14),
    ("kms.amazonaws.com", "Decrypt", true, 12),
    ("logs.amazonaws.com", "PutLogEvents", false, 8),
    ("dynamodb.amazonaws.com", "Query", true, 8),
    ("s3.amazonaws.com", "PutObject", false, 6),
    ("iam.amazonaws.com", "ListRoles", true, 4),
    ("lambda.amazonaws.com", "Invoke", false, 2),
    ("iam.amazonaws.com", "AttachRolePolicy", false, 1),
];

/// A CloudTrail record of one of the common shapes, about 1.4 kB.
pub fn cloudtrail_record(numbers: &mut Numbers, account: &str, region: &str, out: &mut String) {
    let mut pick = numbers.below(100);
    let call = CALLS.iter().find(|(.., weight)| {
        let hit = pick < *weight;
        pick = pick.saturating_sub(*weight);
        hit
    });
    let (source, name, read_only, _) = call.unwrap_or(&CALLS[0]);
    let (user, role) = (numbers.below(300), numbers.below(40));
    let second = numbers.below(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (a, b, c) = (numbers.next(), numbers.next(), numbers.next());
    let (key, address) = (numbers.below(2000), numbers.below(400));
    let data = match *name {
        "GetObject" | "PutObject" => format!(
            r#"{{"bucketName":"data-{role}","key":"raw/2025/03/10/part-{a:016x}.parquet","Host":"data-{role}.s3.{region}.amazonaws.com"}}"#
        ),
        "AssumeRole" => format!(
            r#"{{"roleArn":"arn:aws:iam::{account}:role/role-{role}","roleSessionName":"session-{user}","durationSeconds":3600}}"#
        ),
        "Decrypt" => format!(
            r#"{{"encryptionContext":{{"aws:s3:arn":"arn:aws:s3:::data-{role}"}},"encryptionAlgorithm":"SYMMETRIC_DEFAULT","keyId":"arn:aws:kms:{region}:{account}:key/{role:08x}-1111-2222-3333-444455556666"}}"#
        ),
        _ => format!(
            r#"{{"maxResults":{key},"filterSet":{{"items":[{{"name":"tag:team","valueSet":{{"items":[{{"value":"team-{role}"}}]}}}}]}}}}"#
        ),
    };
    let response = if *name == "AssumeRole" {
        format!(
            r#"{{"credentials":{{"accessKeyId":"ASIA{key:016}","sessionToken":"{a:016x}{b:016x}{c:016x}{a:016x}","expiration":"Mar 10, 2025, 8:00:00 PM"}},"assumedRoleUser":{{"assumedRoleId":"AROA{role:016}:session-{user}","arn":"arn:aws:sts::{account}:assumed-role/role-{role}/session-{user}"}}}}"#
        )
    } else {
        "null".to_owned()
    };
    let error = if numbers.below(20) == 0 {
        r#""errorCode":"AccessDenied","errorMessage":"User is not authorized to perform this operation","#
    } else {
        ""
    };
    write!(
        out,
        r#"{{"eventVersion":"1.08","userIdentity":{{"type":"AssumedRole","principalId":"AROA{role:016}:session-{user}","arn":"arn:aws:sts::{account}:assumed-role/role-{role}/session-{user}","accountId":"{account}","accessKeyId":"ASIA{key:016}","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROA{role:016}","arn":"arn:aws:iam::{account}:role/role-{role}","accountId":"{account}","userName":"role-{role}"}},"webIdFederationData":{{}},"attributes":{{"creationDate":"2025-03-10T00:00:00Z","mfaAuthenticated":"false"}}}}}},"eventTime":"2025-03-10T{hour:02}:{minute:02}:{second:02}Z","eventSource":"{source}","eventName":"{name}","awsRegion":"{region}","sourceIPAddress":"198.51.{}.{}","userAgent":"aws-sdk-go-v2/1.{}.0 os/linux lang/go#1.22 md/GOOS#linux md/GOARCH#amd64 api/{source}",{error}"requestParameters":{data},"responseElements":{response},"requestID":"{a:08x}-{:04x}","eventID":"{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}","readOnly":{read_only},"eventType":"AwsApiCall","managementEvent":{},"recipientAccountId":"{account}","eventCategory":"Management","tlsDetails":{{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"{source}"}}}}"#,
        address / 250,
        address % 250,
        role % 30,
        b & 0xffff,
        b >> 32,
        (b >> 16) & 0xffff,
        c & 0xfff,
        (c >> 12) & 0xfff,
        c >> 16,
        *name != "GetObject",
    )
    .expect("a String takes everything");
}

/// A flow log row of ten minutes from `window` on, of the default format or with version 5 columns.
pub fn flow_row(
    numbers: &mut Numbers,
    account: &str,
    window: u64,
    version_5: bool,
    out: &mut String,
) {
    let (interface, instance) = (numbers.below(60), numbers.below(60));
    let start = window + numbers.below(600);
    let packets = 1 + numbers.below(200);
    let (action, flags) = if numbers.below(8) == 0 { ("REJECT", 2) } else { ("ACCEPT", 19) };
    let (direction, peer) = (numbers.below(2), numbers.below(50_000));
    let peer = format!("203.0.{}.{}", peer / 250, peer % 250);
    let own = format!("10.0.{}.{}", interface / 8, 10 + instance);
    let (src, dst) = if direction == 0 { (&peer, &own) } else { (&own, &peer) };
    let port = 1024 + numbers.below(60_000);
    let version = if version_5 { 5 } else { 2 };
    write!(
        out,
        "{version} {account} eni-{interface:017x} {src} {dst} {port} 443 6 {packets} {} {start} {} {action} OK",
        packets * 512,
        start + 60,
    )
    .expect("a String takes everything");
    if version_5 {
        let (way, path) = if direction == 0 { ("ingress", "-") } else { ("egress", "8") };
        write!(
            out,
            " vpc-0a1b2c3d subnet-{:08x} i-{instance:017x} {flags} IPv4 {src} {dst} us-east-1 use1-az1 - - - - {way} {path}",
            interface / 10,
        )
        .expect("a String takes everything");
    }
    out.push('\n');
}

const FLOW_HEADER: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
const VERSION_5_HEADER: &str = " vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path";

/// Text of a CloudTrail object of about `bytes`.
pub fn cloudtrail_object(numbers: &mut Numbers, bytes: usize, place: usize) -> String {
    let (account, region) = (ACCOUNTS[place % ACCOUNTS.len()], REGIONS[place % REGIONS.len()]);
    let mut text = String::from("{\"Records\":[");
    while text.len() < bytes {
        if !text.ends_with('[') {
            text.push(',');
        }
        cloudtrail_record(numbers, account, region, &mut text);
    }
    text.push_str("]}");
    text
}

/// Text of a flow log object of about `bytes`: two of three have the default format.
pub fn flow_object(numbers: &mut Numbers, bytes: usize, place: usize) -> String {
    let version_5 = place % 3 == 2;
    // An object holds ten minutes; a large one goes on with the next ten.
    let mut window = 1_741_564_800 + place as u64 * 600 % 86_400;
    let mut rows = 0;
    let mut text = String::from(FLOW_HEADER);
    text.push_str(if version_5 { VERSION_5_HEADER } else { "" });
    text.push('\n');
    while text.len() < bytes {
        flow_row(numbers, ACCOUNTS[place % ACCOUNTS.len()], window, version_5, &mut text);
        rows += 1;
        window += u64::from(rows % 40_000 == 0) * 600;
    }
    text
}

/// An archive of one source with `total` bytes of text in objects of `each`; made once.
pub fn archive(root: &Path, source: &str, total: usize, each: usize) -> io::Result<PathBuf> {
    let dir = root.join(format!("{source}-{total}-{each}"));
    if dir.join("complete").exists() {
        return Ok(dir);
    }
    let mut numbers = Numbers::new(7);
    for place in 0..total.div_ceil(each) {
        let (account, region) = (ACCOUNTS[place % ACCOUNTS.len()], REGIONS[place % REGIONS.len()]);
        let (folder, name, text) = if source == "cloudtrail" {
            let name = format!("{account}_CloudTrail_{region}_20250310T0005Z_{place:016}.json.gz");
            ("CloudTrail", name, cloudtrail_object(&mut numbers, each, place))
        } else {
            let name = format!(
                "{account}_vpcflowlogs_{region}_fl-0a1b2c3d_20250310T0005Z_{place:08x}.log.gz"
            );
            ("vpcflowlogs", name, flow_object(&mut numbers, each, place))
        };
        let path = dir.join(format!("AWSLogs/{account}/{folder}/{region}/{DAY}"));
        fs::create_dir_all(&path)?;
        let mut gz = GzEncoder::new(fs::File::create(path.join(name))?, Compression::fast());
        gz.write_all(text.as_bytes())?;
        gz.finish()?;
    }
    fs::write(dir.join("complete"), "")?;
    Ok(dir)
}
