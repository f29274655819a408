//! One bucket.
//!
//! # Input
//! Keys.
//! # Maps to
//! Pages of a listing, bodies, small files; uploads (`s3/write.rs`). Throttling, errors of the server and of the
//! network are tried again by the SDK, with growing and random pauses; what is denied or missing is
//! not.
//! # Known gaps
//! None.
//! # Reference
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use std::{
    ops::Range,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_config::{Region, SdkConfig};
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        get_object::{GetObjectOutput, builders::GetObjectFluentBuilder},
        list_objects_v2::ListObjectsV2Output,
    },
    primitives::ByteStream,
    types::{ChecksumMode, EncodingType},
};
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::{
    Body, Found, Kind, ObjectRef, StoreError,
    access::{Access, Principal, chain, has_endpoint},
    body::{MAX_BREAKS, S3Body},
};

mod write;

/// A bucket, with a client for its region.
pub struct Bucket {
    client: Client,
    uri: Arc<str>,
    owner: Option<String>,
    kms_key_id: Option<String>,
    who: Arc<Principal>,
}

/// A page of a listing.
pub struct Page {
    /// Objects, in the order of their keys.
    pub objects: Vec<ObjectRef>,
    /// Folders, with the `/` at their end, if a delimiter was given.
    pub folders: Vec<String>,
    /// How to go on.
    pub next: Option<String>,
}

/// A pause before another attempt: doubled each time, and random, so that many that failed together
/// do not come together again.
pub(super) fn backoff(attempt: u32, first: Duration) -> Duration {
    let most = first * 2_u32.pow(attempt.min(10));
    most.mul_f64(fastrand::f64())
}

/// A key or prefix of a listing as it is.
fn decoded(key: Option<&str>, output: &ListObjectsV2Output) -> String {
    let key = key.unwrap_or_default();
    if output.encoding_type() != Some(&EncodingType::Url) {
        return key.to_owned();
    }
    percent_encoding::percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}

impl Bucket {
    /// A bucket with its region looked up.
    pub(super) async fn new(
        config: &SdkConfig,
        name: &str,
        access: &Access,
        who: Arc<Principal>,
    ) -> Result<Self, StoreError> {
        let is_elsewhere = config.endpoint_url().is_some()
            || has_endpoint("AWS_ENDPOINT_URL_S3")
            || has_endpoint("AWS_ENDPOINT_URL");
        // Each request may be tried again, however many others were: many objects are read at once,
        // and when S3 is slow it is slow for all of them.
        let patience = RetryPartition::custom("trailhound").token_bucket(TokenBucket::unlimited());
        let builder = aws_sdk_s3::config::Builder::from(config)
            .retry_partition(patience.build())
            .force_path_style(is_elsewhere);
        let mut bucket = Self {
            client: Client::from_conf(builder.clone().build()),
            uri: format!("s3://{name}").into(),
            owner: access.expected_bucket_owner.clone(),
            kms_key_id: access.kms_key_id.clone(),
            who,
        };
        let head = bucket.client.head_bucket().bucket(name).send().await;
        let region = match &head {
            Ok(output) => output.bucket_region().map(str::to_owned),
            Err(error) => error
                .raw_response()
                .and_then(|raw| raw.headers().get("x-amz-bucket-region"))
                .map(str::to_owned),
        };
        let status = head
            .as_ref()
            .err()
            .and_then(|error| error.raw_response())
            .map(|raw| raw.status().as_u16());
        match (head, status) {
            (Err(_), Some(404)) => {
                return Err(StoreError {
                    kind: Kind::Configuration,
                    what: format!("there is no bucket {name}: check the name"),
                });
            }
            // It may be read although it may not be listed; a request for what is there tells.
            (Err(_), Some(301 | 400 | 403)) | (Ok(_), _) => {}
            (Err(error), _) => return Err(bucket.fail("s3:ListBucket", "", error).await),
        }
        let configured = config.region().map(Region::as_ref);
        if let Some(region) =
            region.filter(|region| Some(region.as_str()) != configured && !is_elsewhere)
        {
            bucket.client = Client::from_conf(builder.region(Region::new(region)).build());
        }
        Ok(bucket)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.uri["s3://".len()..]
    }

    /// One page of a listing.
    pub async fn page(
        &self,
        prefix: &str,
        delimiter: bool,
        after: Option<String>,
        next: Option<String>,
    ) -> Result<Page, StoreError> {
        let output = self.list(prefix, delimiter, after, next).await?;
        let objects = output.contents().iter().map(|object| ObjectRef {
            size: object.size().unwrap_or_default().max(0) as u64,
            etag: object.e_tag().unwrap_or_default().trim_matches('"').to_owned(),
            ..self.object(&decoded(object.key(), &output))
        });
        let folders = output.common_prefixes().iter();
        Ok(Page {
            objects: objects.collect(),
            folders: folders.map(|folder| decoded(folder.prefix(), &output)).collect(),
            next: output.next_continuation_token.clone(),
        })
    }

    async fn list(
        &self,
        prefix: &str,
        delimiter: bool,
        after: Option<String>,
        next: Option<String>,
    ) -> Result<ListObjectsV2Output, StoreError> {
        let list = self
            .client
            .list_objects_v2()
            .bucket(self.name())
            .prefix(prefix)
            .set_expected_bucket_owner(self.owner.clone())
            .set_delimiter(delimiter.then(|| "/".to_owned()))
            .set_start_after(after.filter(|_| next.is_none()))
            .set_continuation_token(next)
            // A key may hold characters that XML cannot.
            .encoding_type(EncodingType::Url);
        match list.send().await {
            Ok(output) => Ok(output),
            Err(error) => Err(self.fail("s3:ListBucket", prefix, error).await),
        }
    }

    /// All files below a folder, whose name ends with `/`.
    pub(super) async fn files(
        &self,
        folder: &str,
        after: Option<String>,
    ) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        let mut next = None;
        let now = SystemTime::now();
        loop {
            let output = self.list(folder, false, after.clone(), next).await?;
            for object in output.contents() {
                let written =
                    object.last_modified().and_then(|time| SystemTime::try_from(*time).ok());
                found.push(Found {
                    path: decoded(object.key(), &output),
                    size: object.size().unwrap_or_default().max(0) as u64,
                    age: now.duration_since(written.unwrap_or(now)).unwrap_or_default(),
                });
            }
            next = output.next_continuation_token;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// The names of the folders right below one, whose name ends with `/`.
    pub(super) async fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        let mut next = None;
        loop {
            let page = self.page(folder, true, None, next).await?;
            names.extend(
                page.folders
                    .iter()
                    .map(|path| path[folder.len()..].trim_end_matches('/').to_owned()),
            );
            next = page.next;
            if next.is_none() {
                return Ok(names);
            }
        }
    }

    /// The object of a key as it is now; None if there is none.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectRef>, StoreError> {
        let head = self.client.head_object().bucket(self.name()).key(key);
        match head.set_expected_bucket_owner(self.owner.clone()).send().await {
            Ok(output) => Ok(Some(ObjectRef {
                size: output.content_length().unwrap_or_default().max(0) as u64,
                etag: output.e_tag().unwrap_or_default().trim_matches('"').to_owned(),
                ..self.object(key)
            })),
            Err(error) => match self.fail("s3:GetObject", key, error).await {
                StoreError { kind: Kind::Missing, .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Starts to read an object.
    pub(super) async fn open(
        self: &Arc<Self>,
        object: &ObjectRef,
        piece_bytes: usize,
    ) -> Result<(Bytes, Body), StoreError> {
        let get = self.client.get_object().checksum_mode(ChecksumMode::Enabled);
        let output = self.send_get(get, object).await?;
        let mut body = Box::new(S3Body {
            bucket: Arc::clone(self),
            object: object.clone(),
            at: 0,
            size: output.content_length().unwrap_or_default().max(0) as u64,
            etag: output.e_tag,
            stream: output.body,
            piece_bytes,
            rest: Bytes::new(),
        });
        let first = body.next().await?;
        Ok((first, Body::S3(body)))
    }

    /// Goes on reading at a byte, if the object is still the same.
    pub(super) async fn resume(
        &self,
        object: &ObjectRef,
        at: u64,
        etag: Option<String>,
    ) -> Result<ByteStream, StoreError> {
        let get = self.client.get_object().set_if_match(etag).range(format!("bytes={at}-"));
        Ok(self.send_get(get, object).await?.body)
    }

    /// Bytes of an object. An answer that breaks is asked for again.
    pub(super) async fn range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let object = self.object(key);
        let length = range.end - range.start;
        let mut attempt = 0;
        loop {
            let bytes = format!("bytes={}-{}", range.start, range.end - 1);
            let output = self.send_get(self.client.get_object().range(bytes), &object).await?;
            let why = match output.body.collect().await {
                Ok(body) => {
                    let body = body.into_bytes();
                    if body.len() as u64 == length {
                        return Ok(body);
                    }
                    format!("{} bytes came of {length}", body.len())
                }
                Err(error) => chain(&error),
            };
            attempt += 1;
            if attempt == MAX_BREAKS {
                let what = format!("{}: the answer breaks off: {why}", object.location());
                return Err(StoreError { kind: Kind::Transient, what });
            }
            tokio::time::sleep(backoff(attempt, Duration::from_millis(100))).await;
        }
    }

    async fn send_get(
        &self,
        get: GetObjectFluentBuilder,
        object: &ObjectRef,
    ) -> Result<GetObjectOutput, StoreError> {
        let get = get
            .bucket(self.name())
            .key(&object.key)
            .set_version_id(object.version.clone())
            .set_expected_bucket_owner(self.owner.clone());
        match get.send().await {
            Ok(output) => Ok(output),
            Err(error) => Err(self.fail("s3:GetObject", &object.key, error).await),
        }
    }

    /// A small file as a whole; None if there is none.
    pub(super) async fn get(self: &Arc<Self>, key: &str) -> Result<Option<Bytes>, StoreError> {
        match self.open(&self.object(key), usize::MAX).await {
            Ok((content, _)) => Ok(Some(content)),
            Err(StoreError { kind: Kind::Missing, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Brings an object to a file of this machine.
    pub(super) async fn download(self: &Arc<Self>, key: &str, to: &Path) -> Result<(), StoreError> {
        let on_error = |error: std::io::Error| StoreError {
            kind: Kind::Other,
            what: format!("cannot write {}: {error}", to.display()),
        };
        let mut file = tokio::fs::File::create(to).await.map_err(on_error)?;
        let (mut piece, mut body) = self.open(&self.object(key), 1 << 20).await?;
        loop {
            file.write_all(&piece).await.map_err(on_error)?;
            if body.is_at_end() {
                return file.flush().await.map_err(on_error);
            }
            (piece, body) = body.read().await?;
        }
    }

    /// An object of this bucket of which only the key is known.
    fn object(&self, key: &str) -> ObjectRef {
        ObjectRef {
            bucket: Arc::clone(&self.uri),
            key: key.to_owned(),
            size: 0,
            etag: String::new(),
            version: None,
        }
    }

    fn name_of(&self, key: &str) -> String {
        if key.is_empty() { self.uri.to_string() } else { format!("{}/{key}", self.uri) }
    }

    /// An error of the SDK as a sentence.
    async fn fail<E>(&self, action: &str, key: &str, error: SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let place = self.name_of(key);
        let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let message = error.message().unwrap_or_default().to_owned();
        let (kind, what) = match (status, code.as_str()) {
            (_, "NoSuchBucket") => {
                (Kind::Configuration, format!("there is no bucket {}: check the name", self.name()))
            }
            (404, _) => (Kind::Missing, format!("{place} is not there")),
            (_, "ExpiredToken" | "TokenRefreshRequired" | "RequestExpired") => (
                Kind::Configuration,
                format!("the AWS credentials for {place} have expired: sign in again"),
            ),
            (
                _,
                "InvalidAccessKeyId" | "NotSignedUp" | "SignatureDoesNotMatch" | "InvalidToken",
            ) => (
                Kind::Configuration,
                format!("the AWS credentials for {place} are not valid ({code}): check them"),
            ),
            (403, "InvalidObjectState") => (
                Kind::Other,
                format!("{place} is archived (Glacier): restore it, then load it again"),
            ),
            (403, "RequestTimeTooSkewed") => (
                Kind::Configuration,
                format!("the clock of this machine is wrong, says S3 for {place}: {message}"),
            ),
            (403, _) => {
                let resource = match action {
                    "s3:ListBucket" => format!("arn:aws:s3:::{}", self.name()),
                    _ => format!("arn:aws:s3:::{}/{key}", self.name()),
                };
                let who = self.who.name().await;
                let told = if message.is_empty() { String::new() } else { format!(": {message}") };
                let owner = self.owner.as_ref().map(|owner| {
                    format!(", and the bucket must belong to the account {owner}, as you say")
                });
                let told = owner.unwrap_or_default() + &told;
                (
                    Kind::Denied,
                    format!(
                        "access denied: {who} needs {action} on {resource}, and for objects under a \
                         KMS key kms:Decrypt (reading) or kms:GenerateDataKey (writing){told}"
                    ),
                )
            }
            (412 | 409, _) => (Kind::Changed, format!("{place} has changed meanwhile")),
            (301 | 307, _) => (
                Kind::Configuration,
                format!("{place} is in another region than its bucket said: {message}"),
            ),
            (500.. | 429, _) | (_, "SlowDown" | "RequestTimeout" | "Throttling") => {
                (Kind::Transient, format!("{place}: S3 answers {status} {code}: {message}"))
            }
            (..=299, _) => (
                Kind::Transient,
                format!(
                    "{place}: no answer from S3, check network and endpoint: {}",
                    chain(&error)
                ),
            ),
            _ => (Kind::Other, format!("{place}: S3 answers {status} {code}: {message}")),
        };
        StoreError { kind, what }
    }
}
