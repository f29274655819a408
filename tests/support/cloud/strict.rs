//! s3s-fs 0.14.1 with what it gets wrong put right, as far as the program can notice it:
//!
//! - it looks at a condition first and at the object later, so that of 32 racing
//!   `If-None-Match: *` all win, and stores an object and its entity tag one after the other, so that a
//!   reader gets one with the other's: here bodies are received first, and then one lock is taken;
//! - a body with a wrong checksum is refused, but is stored all the same;
//! - the checksums of an object that a multipart upload replaces stay, and no reader accepts them;
//! - lists have no entity tags; reads have no conditions; a folder is taken for an object, a missing
//!   bucket for a missing object;
//! - only two storage classes are accepted.
//!
//! Still unlike S3: an object cannot be named as a "folder" of another one (`x` and `x/y`),
//! `a//b` is `a/b`, an object whose name ends in `/` is not listed, and there are no versions.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use hyper::{HeaderMap, Method, StatusCode, Uri, http::Extensions};
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateBucketInput,
        CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, ETag,
        ETagCondition, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput,
        HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectsV2Input,
        ListObjectsV2Output, ListPartsInput, ListPartsOutput, PutObjectInput, PutObjectOutput,
        StreamingBlob, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};
use s3s_fs::FileSystem;
use tokio::sync::RwLock;

use super::s3::Gate;

/// An object that came to be: what S3 says in a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub bucket: String,
    pub key: String,
    pub size: i64,
    pub etag: String,
}

/// A clone is the same store.
#[derive(Clone)]
pub struct Strict {
    root: PathBuf,
    files: Arc<FileSystem>,
    /// Writers of objects are alone, and never wait for a client meanwhile.
    lock: Arc<RwLock<()>>,
    gate: Arc<Gate>,
    pub created: Arc<Mutex<Vec<Created>>>,
}

/// A request that did not come over the wire.
pub fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: Method::GET,
        uri: Uri::from_static("/"),
        headers: HeaderMap::new(),
        extensions: Extensions::new(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

pub fn body(bytes: Bytes) -> StreamingBlob {
    StreamingBlob::wrap(stream::iter([Ok::<_, io::Error>(bytes)]))
}

/// Receives all of a body, also if the request will be refused: who answers earlier has to reset
/// the connection, and then the client may not see the answer.
async fn received(body: &mut Option<StreamingBlob>) -> S3Result<()> {
    if let Some(mut arriving) = body.take() {
        let mut all = Vec::new();
        let cut = |error| S3Error::with_source(S3ErrorCode::IncompleteBody, error);
        while let Some(chunk) = arriving.try_next().await.map_err(cut)? {
            all.extend_from_slice(&chunk);
        }
        *body = Some(self::body(all.into()));
    }
    Ok(())
}

impl Strict {
    pub fn new(root: &Path, gate: Arc<Gate>) -> Self {
        let files = Arc::new(FileSystem::new(root).unwrap());
        let (lock, created) = (Arc::default(), Arc::default());
        Self { root: root.to_owned(), files, lock, gate, created }
    }

    pub fn path(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.join(bucket).join(key)
    }

    /// Where s3s-fs keeps entity tag and checksums.
    fn details(&self, bucket: &str, key: &str) -> PathBuf {
        let [bucket, key] = [bucket, key].map(|name| BASE64_URL_SAFE_NO_PAD.encode(name));
        self.root.join(format!(".bucket-{bucket}.object-{key}.internal.json"))
    }

    /// The size and entity tag of an object.
    async fn head(&self, bucket: &str, key: &str) -> S3Result<(i64, ETag)> {
        self.is_object(bucket, key)?;
        let builder = HeadObjectInput::builder().bucket(bucket.to_owned()).key(key.to_owned());
        let found = self.files.head_object(request(builder.build().unwrap())).await?.output;
        Ok((found.content_length.unwrap_or(0), found.e_tag.ok_or_else(|| s3_error!(NoSuchKey))?))
    }

    fn is_bucket(&self, bucket: &str) -> S3Result<()> {
        let is_folder = self.root.join(bucket).is_dir();
        is_folder.then_some(()).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    fn is_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        self.is_bucket(bucket)?;
        let is_file = self.path(bucket, key).is_file();
        is_file.then_some(()).ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// What `If-Match` and `If-None-Match` of a reader say.
    async fn may_read(
        &self,
        (bucket, key): (&str, &str),
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<()> {
        let (_, etag) = self.head(bucket, key).await?;
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(wanted) => wanted.value() == etag.value(),
        };
        if if_match.is_some_and(|condition| !is(condition)) {
            return Err(s3_error!(PreconditionFailed));
        }
        if if_none_match.is_some_and(is) {
            let mut error = S3Error::new(S3ErrorCode::NotModified);
            error.set_status_code(StatusCode::NOT_MODIFIED);
            return Err(error);
        }
        Ok(())
    }

    async fn note(&self, bucket: String, key: String) {
        let Ok((size, etag)) = self.head(&bucket, &key).await else { return };
        let etag = etag.into_value();
        self.created.lock().unwrap().push(Created { bucket, key, size, etag });
    }

    /// Removes what s3s-fs leaves of a deleted object: details, and folders in the way of objects.
    fn clear(&self, bucket: &str, key: &str) {
        let path = self.path(bucket, key);
        if path.is_file() {
            return;
        }
        let _ = fs::remove_file(self.details(bucket, key));
        let bucket = self.root.join(bucket);
        for folder in path.ancestors().take_while(|folder| **folder != bucket) {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Operations that s3s-fs does well enough.
macro_rules! as_it_is {
    ($($operation:ident($input:ident) -> $output:ident;)*) => { $(
        fn $operation<'s, 'a>(
            &'s self,
            request: S3Request<$input>,
        ) -> futures_util::future::BoxFuture<'a, S3Result<S3Response<$output>>>
        where
            's: 'a,
            Self: 'a,
        {
            self.files.$operation(request)
        }
    )* };
}

#[async_trait]
impl S3 for Strict {
    as_it_is! {
        create_bucket(CreateBucketInput) -> CreateBucketOutput;
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        list_buckets(ListBucketsInput) -> ListBucketsOutput;
        list_parts(ListPartsInput) -> ListPartsOutput;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = request.input.bucket.clone();
        let _shared = self.lock.read().await;
        let mut found = self.files.list_objects_v2(request).await?;
        for object in found.output.contents.iter_mut().flatten() {
            let (_, etag) = self.head(&bucket, object.key.as_deref().unwrap_or("")).await?;
            object.e_tag = Some(etag);
        }
        Ok(found)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let _shared = self.lock.read().await;
        let input = &request.input;
        let conditions = (input.if_match.as_ref(), input.if_none_match.as_ref());
        self.may_read((&input.bucket, &input.key), conditions.0, conditions.1).await?;
        self.files.head_object(request).await
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        // The file is open at the end of this, so it stays what it is while it is sent.
        let _shared = self.lock.read().await;
        let input = &request.input;
        let conditions = (input.if_match.as_ref(), input.if_none_match.as_ref());
        self.may_read((&input.bucket, &input.key), conditions.0, conditions.1).await?;
        self.files.get_object(request).await
    }

    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        received(&mut request.input.body).await?;
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        self.gate.admit(&request, "PutObject", &bucket, &key)?;
        request.input.storage_class = None;
        let _alone = self.lock.write().await;
        self.is_bucket(&bucket)?;
        // A second name keeps the object that a refused body replaces.
        let (path, kept) = (self.path(&bucket, &key), self.root.join(".kept"));
        let had_one = fs::hard_link(&path, &kept).is_ok();
        let put = self.files.put_object(request).await;
        match &put {
            Err(error) if *error.code() == S3ErrorCode::BadDigest => {
                let put_back =
                    if had_one { fs::rename(&kept, &path) } else { fs::remove_file(&path) };
                put_back.map_err(|error| s3_error!(error, InternalError))?;
                self.clear(&bucket, &key);
            }
            _ => _ = fs::remove_file(&kept),
        }
        if put.is_ok() {
            self.note(bucket, key).await;
        }
        put
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        let _alone = self.lock.write().await;
        let copied = self.files.copy_object(request).await?;
        self.note(bucket, key).await;
        Ok(copied)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.is_bucket(&request.input.bucket)?;
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        received(&mut request.input.body).await?;
        self.gate.admit(&request, "UploadPart", &request.input.bucket, &request.input.key)?;
        self.files.upload_part(request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        let _alone = self.lock.write().await;
        let completed = self.files.complete_multipart_upload(request).await?;
        let details = self.details(&bucket, &key);
        let mut known: serde_json::Map<_, _> =
            serde_json::from_slice(&fs::read(&details).unwrap()).unwrap();
        known.retain(|name, _| name == "e_tag");
        fs::write(&details, serde_json::to_vec(&known).unwrap()).unwrap();
        self.note(bucket, key).await;
        Ok(completed)
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        let _alone = self.lock.write().await;
        match self.is_object(&bucket, &key) {
            Ok(()) => {}
            Err(error) if *error.code() == S3ErrorCode::NoSuchKey => {
                return Ok(S3Response::new(DeleteObjectOutput::default()));
            }
            Err(error) => return Err(error),
        }
        let deleted = self.files.delete_object(request).await?;
        self.clear(&bucket, &key);
        Ok(deleted)
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let bucket = request.input.bucket.clone();
        let _alone = self.lock.write().await;
        let deleted = self.files.delete_objects(request).await?;
        for object in deleted.output.deleted.iter().flatten() {
            self.clear(&bucket, object.key.as_deref().unwrap_or(""));
        }
        Ok(deleted)
    }
}
