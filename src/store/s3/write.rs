//! What is written to a bucket and removed from it.
//!
//! # Input
//! Keys; bytes, or files of this machine.
//! # Maps to
//! Objects that appear whole; whether one was made, where there must be none of its name.
//! # Known gaps
//! An upload in parts that is killed leaves its parts in the bucket, invisible: a lifecycle rule
//! (`AbortIncompleteMultipartUpload`) removes them.
//! # Reference
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html>.

use std::path::Path;

use aws_sdk_s3::{
    error::DisplayErrorContext,
    primitives::{ByteStream, Length},
    types::{
        CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier, ServerSideEncryption,
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Bucket, Kind, StoreError};

/// Files up to this size are written by one request.
const PUT_BYTES: u64 = 16 << 20;
/// Size of a part of a larger file, unless there would be over 10,000.
const PART_BYTES: u64 = 8 << 20;
const MAX_PARTS: u64 = 10_000;
/// Parts of one file that are sent at the same time.
const PARTS_AT_ONCE: usize = 2;
/// `If-None-Match`: only if there is none.
const NEW: &str = "*";
/// Keys that one request deletes.
const DELETE_KEYS: usize = 1000;

impl Bucket {
    /// Writes a file by one request.
    pub(in crate::store) async fn put(&self, key: &str, content: Bytes) -> Result<(), StoreError> {
        self.put_if(key, content, None).await
    }

    /// Writes a file if there is none of this key; false if there is.
    pub(in crate::store) async fn create(
        &self,
        key: &str,
        content: Bytes,
    ) -> Result<bool, StoreError> {
        created(self.put_if(key, content, Some(NEW.to_owned())).await)
    }

    async fn put_if(
        &self,
        key: &str,
        content: Bytes,
        if_none_match: Option<String>,
    ) -> Result<(), StoreError> {
        let put = self
            .client
            .put_object()
            .bucket(self.name())
            .key(key)
            .set_expected_bucket_owner(self.owner.clone())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key_id.clone())
            .set_if_none_match(if_none_match)
            .body(content.into());
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.fail("s3:PutObject", key, error).await),
        }
    }

    fn encryption(&self) -> Option<ServerSideEncryption> {
        self.kms_key_id.as_ref().map(|_| ServerSideEncryption::AwsKms)
    }

    /// Writes a file of this machine, by one request or in parts. Nothing is visible before all is
    /// there.
    pub(in crate::store) async fn upload(&self, key: &str, from: &Path) -> Result<(), StoreError> {
        self.upload_if(key, from, None).await
    }

    /// The same if there is no file of this key; false if there is.
    pub(in crate::store) async fn upload_new(
        &self,
        key: &str,
        from: &Path,
    ) -> Result<bool, StoreError> {
        created(self.upload_if(key, from, Some(NEW.to_owned())).await)
    }

    async fn upload_if(
        &self,
        key: &str,
        from: &Path,
        if_none_match: Option<String>,
    ) -> Result<(), StoreError> {
        let on_error = |error: &dyn std::fmt::Display| StoreError {
            kind: Kind::Other,
            what: format!("cannot read {}: {error}", from.display()),
        };
        let size = tokio::fs::metadata(from).await.map_err(|error| on_error(&error))?.len();
        if size <= PUT_BYTES {
            let content = tokio::fs::read(from).await.map_err(|error| on_error(&error))?;
            return self.put_if(key, content.into(), if_none_match).await;
        }
        let create = self
            .client
            .create_multipart_upload()
            .bucket(self.name())
            .key(key)
            .set_expected_bucket_owner(self.owner.clone())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key_id.clone());
        let upload = match create.send().await {
            Ok(output) => output.upload_id.unwrap_or_default(),
            Err(error) => return Err(self.fail("s3:PutObject", key, error).await),
        };
        let result = self.parts(key, &upload, from, size, if_none_match).await;
        if result.is_err() {
            let abort = self.client.abort_multipart_upload().bucket(self.name()).key(key);
            let abort = abort.upload_id(&upload).set_expected_bucket_owner(self.owner.clone());
            if let Err(error) = abort.send().await {
                let error = DisplayErrorContext(error);
                tracing::warn!(key, %error, "parts of an upload that failed stay in the bucket");
            }
        }
        result
    }

    async fn parts(
        &self,
        key: &str,
        upload: &str,
        from: &Path,
        size: u64,
        if_none_match: Option<String>,
    ) -> Result<(), StoreError> {
        let part_bytes = PART_BYTES.max(size.div_ceil(MAX_PARTS));
        let send = |number: u64| async move {
            let offset = number * part_bytes;
            let length = part_bytes.min(size - offset);
            let body = ByteStream::read_from()
                .path(from)
                .offset(offset)
                .length(Length::Exact(length))
                .build()
                .await
                .map_err(|error| StoreError {
                    kind: Kind::Other,
                    what: format!("cannot read {}: {error}", from.display()),
                })?;
            let put = self.client.upload_part().bucket(self.name()).key(key).upload_id(upload);
            let put = put.set_expected_bucket_owner(self.owner.clone());
            match put.part_number(number as i32 + 1).body(body).send().await {
                Ok(output) => Ok(CompletedPart::builder()
                    .set_e_tag(output.e_tag)
                    .set_checksum_crc32(output.checksum_crc32)
                    .set_checksum_crc32_c(output.checksum_crc32_c)
                    .set_checksum_crc64_nvme(output.checksum_crc64_nvme)
                    .part_number(number as i32 + 1)
                    .build()),
                Err(error) => Err(self.fail("s3:PutObject", key, error).await),
            }
        };
        let parts: Vec<CompletedPart> = stream::iter(0..size.div_ceil(part_bytes))
            .map(send)
            .buffered(PARTS_AT_ONCE)
            .try_collect()
            .await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(self.name())
            .key(key)
            .upload_id(upload)
            .set_expected_bucket_owner(self.owner.clone())
            .set_if_none_match(if_none_match)
            .multipart_upload(parts);
        match complete.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.fail("s3:PutObject", key, error).await),
        }
    }

    /// Removes files; it is no error if one is not there.
    pub(in crate::store) async fn remove(&self, keys: Vec<String>) -> Result<(), StoreError> {
        for keys in keys.chunks(DELETE_KEYS) {
            let objects =
                keys.iter().filter_map(|key| ObjectIdentifier::builder().key(key).build().ok());
            let Ok(delete) =
                Delete::builder().set_objects(Some(objects.collect())).quiet(true).build()
            else {
                continue;
            };
            let request = self.client.delete_objects().bucket(self.name()).delete(delete);
            match request.set_expected_bucket_owner(self.owner.clone()).send().await {
                Ok(output) => {
                    if let Some(error) = output.errors().first() {
                        let key = error.key().unwrap_or_default();
                        let why = error.message().or(error.code()).unwrap_or_default();
                        return Err(StoreError {
                            kind: Kind::Other,
                            what: format!("cannot delete {}: {why}", self.name_of(key)),
                        });
                    }
                }
                Err(error) => return Err(self.fail("s3:DeleteObject", &keys[0], error).await),
            }
        }
        Ok(())
    }
}

/// Whether a file was made, of a request that fails if it is there already.
fn created(result: Result<(), StoreError>) -> Result<bool, StoreError> {
    match result {
        Ok(()) => Ok(true),
        Err(StoreError { kind: Kind::Changed, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
