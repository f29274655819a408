//! S3 inside the test process: the real wire protocol (signatures, XML, chunked bodies, checksums)
//! over objects that are files of a temporary folder.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use bytes::Bytes;
use futures_util::TryStreamExt;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{
    S3, S3Error, S3Request,
    access::{S3Access, S3AccessContext},
    auth::SimpleAuth,
    dto::{
        CreateBucketInput, DeleteObjectInput, GetObjectInput, ListObjectsV2Input, PutObjectInput,
    },
    service::S3ServiceBuilder,
};
use tempfile::TempDir;
use walkdir::WalkDir;

pub use super::strict::Created;
use super::{
    KEY, REGION, SECRET, Server, Variables, block_on, credentials, identity, set,
    strict::{self, Strict},
};
/// For faults: `Err(s3_error!(SlowDown))`.
pub use s3s::{S3Result, s3_error};

type Fault = Arc<dyn Fn(&str, &str, &str) -> S3Result<()> + Send + Sync>;

/// What every request over the wire goes through: it is counted, and a test may refuse it.
#[derive(Default)]
pub struct Gate {
    fault: Mutex<Option<Fault>>,
    requests: Mutex<BTreeMap<String, u64>>,
}

impl Gate {
    fn enter(&self, operation: &str, bucket: &str, key: &str) -> S3Result<()> {
        *self.requests.lock().unwrap().entry(operation.to_owned()).or_default() += 1;
        let fault = self.fault.lock().unwrap().clone();
        fault.map_or(Ok(()), |fault| fault(operation, bucket, key))
    }

    /// The same for a request with a body, once that is received.
    pub fn admit<T>(
        &self,
        request: &S3Request<T>,
        operation: &str,
        bucket: &str,
        key: &str,
    ) -> S3Result<()> {
        let is_from_wire = request.credentials.is_some();
        if is_from_wire { self.enter(operation, bucket, key) } else { Ok(()) }
    }
}

struct Entrance(Arc<Gate>);

#[async_trait]
impl S3Access for Entrance {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "a request must be signed"));
        }
        let operation = request.s3_op().name();
        if matches!(operation, "PutObject" | "UploadPart") {
            return Ok(()); // `Strict` admits them
        }
        let path = request.s3_path();
        let key = path.get_object_key().unwrap_or("");
        self.0.enter(operation, path.get_bucket_name().unwrap_or(""), key)
    }
}

/// A running server. Its own methods do not pass the wire: they are neither counted nor refused.
pub struct S3Server {
    root: TempDir,
    gate: Arc<Gate>,
    store: Strict,
    server: Server,
}

impl S3Server {
    pub fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::default());
        let store = Strict::new(root.path(), gate.clone());
        let mut builder = S3ServiceBuilder::new(store.clone());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        builder.set_access(Entrance(gate.clone()));
        let service = builder.build();
        let server = Server::start(move |stream| {
            let service = service.clone();
            async move {
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            }
        });
        Self { root, gate, store, server }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// What the program has to know to use this server.
    pub fn variables(&self) -> Variables {
        let mut variables = identity();
        variables.push(("AWS_ENDPOINT_URL_S3".to_owned(), self.endpoint()));
        variables
    }

    pub fn env(&self, command: &mut Command) {
        set(command, self.variables());
    }

    /// The folder of the objects, `<bucket>/<key>`, among files of the server.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn create_bucket(&self, bucket: &str) {
        let input = CreateBucketInput::builder().bucket(bucket.to_owned()).build().unwrap();
        block_on(self.store.create_bucket(strict::request(input))).unwrap();
    }

    pub fn put(&self, bucket: &str, key: &str, bytes: impl Into<Vec<u8>>) {
        let body = strict::body(Bytes::from(bytes.into()));
        let builder = PutObjectInput::builder().bucket(bucket.to_owned()).key(key.to_owned());
        let input = builder.body(Some(body)).build().unwrap();
        block_on(self.store.put_object(strict::request(input))).unwrap();
    }

    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let builder = GetObjectInput::builder().bucket(bucket.to_owned()).key(key.to_owned());
        let input = builder.build().unwrap();
        block_on(async {
            let found = match self.store.get_object(strict::request(input)).await {
                Ok(found) => found.output.body.unwrap(),
                Err(error) if error.code().as_str() == "NoSuchKey" => return None,
                Err(error) => panic!("{bucket}/{key}: {error}"),
            };
            let chunks: Vec<Bytes> = found.try_collect().await.unwrap();
            Some(chunks.concat())
        })
    }

    pub fn delete(&self, bucket: &str, key: &str) {
        let builder = DeleteObjectInput::builder().bucket(bucket.to_owned()).key(key.to_owned());
        let input = builder.build().unwrap();
        block_on(self.store.delete_object(strict::request(input))).unwrap();
    }

    /// The keys with a prefix, in order.
    pub fn list(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let builder = ListObjectsV2Input::builder().bucket(bucket.to_owned());
        let input = builder.prefix(Some(prefix.to_owned())).max_keys(Some(i32::MAX)).build();
        let found = block_on(self.store.list_objects_v2(strict::request(input.unwrap()))).unwrap();
        let objects = found.output.contents.unwrap_or_default();
        objects.into_iter().map(|object| object.key.unwrap()).collect()
    }

    /// Writes the objects with a prefix into a folder, under what follows the prefix in their keys.
    pub fn download(&self, bucket: &str, prefix: &str, folder: &Path) {
        for key in self.list(bucket, prefix) {
            let path = folder.join(key[prefix.len()..].trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, self.get(bucket, &key).unwrap()).unwrap();
        }
    }

    /// Makes an object of each file of a folder; a prefix that is a folder ends in `/`. They are
    /// copied past the server, whose own files for an object have names that are too long for keys
    /// of CloudTrail.
    pub fn upload_dir(&self, folder: &Path, bucket: &str, prefix: &str) {
        for entry in WalkDir::new(folder) {
            let path = entry.unwrap().into_path();
            if path.is_file() {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                let object = self.root().join(bucket).join(format!("{prefix}{name}"));
                fs::create_dir_all(object.parent().unwrap()).unwrap();
                fs::copy(&path, object).unwrap();
            }
        }
    }

    /// Asks `fault` before every request: for an operation (`GetObject`), a bucket and a key (the
    /// last two are empty if the request names none), an error is what the client gets.
    pub fn fault(&self, fault: impl Fn(&str, &str, &str) -> S3Result<()> + Send + Sync + 'static) {
        *self.gate.fault.lock().unwrap() = Some(Arc::new(fault));
    }

    pub fn no_fault(&self) {
        *self.gate.fault.lock().unwrap() = None;
    }

    /// From now on, access to these operations is denied, as by a policy that leaves them out.
    pub fn deny(&self, operations: &'static [&'static str]) {
        self.fault(
            move |operation, _, _| {
                if operations.contains(&operation) { Err(access_denied()) } else { Ok(()) }
            },
        );
    }

    /// The objects created since this was last asked, by whomever.
    pub fn created(&self) -> Vec<Created> {
        std::mem::take(&mut self.store.created.lock().unwrap())
    }

    /// How often each operation was asked for over the wire, refused requests included.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.gate.requests.lock().unwrap().clone()
    }

    pub fn reset_requests(&self) {
        self.gate.requests.lock().unwrap().clear();
    }

    /// A client that a test can use as the program would.
    pub fn client(&self) -> aws_sdk_s3::Client {
        client(&self.endpoint())
    }
}

pub fn access_denied() -> S3Error {
    s3_error!(AccessDenied, "Access Denied")
}

/// A client of a server or of a proxy in front of it.
pub fn client(endpoint: &str) -> aws_sdk_s3::Client {
    let builder = aws_sdk_s3::Config::builder().behavior_version(BehaviorVersion::latest());
    let builder = builder.region(Region::new(REGION)).credentials_provider(credentials());
    aws_sdk_s3::Client::from_conf(builder.endpoint_url(endpoint).build())
}
