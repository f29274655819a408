//! The bytes of an object, in pieces.
//!
//! # Input
//! A file, or the stream of a GET.
//! # Maps to
//! Pieces. A stream that breaks goes on from where it broke, if the object is still the same.
//! # Known gaps
//! A resumed stream has no checksum; its length is checked, and gzip has one of its own.
//! # Reference
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>: `Range`, `If-Match`.

use std::{sync::Arc, time::Duration};

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use tokio::task::spawn_blocking;

use super::{Bucket, Kind, ObjectRef, StoreError, access::chain, local, s3::backoff};

/// How often a stream may break before the object fails, without a byte in between.
pub(super) const MAX_BREAKS: u32 = 5;

/// What follows of an object.
pub enum Body {
    /// Of a file.
    Local(local::Body),
    /// Of an object in a bucket.
    S3(Box<S3Body>),
}

/// A GET that goes on.
pub struct S3Body {
    pub(super) bucket: Arc<Bucket>,
    pub(super) object: ObjectRef,
    pub(super) stream: ByteStream,
    /// Bytes that were received.
    pub(super) at: u64,
    /// Bytes that there are.
    pub(super) size: u64,
    /// As the first answer gave it.
    pub(super) etag: Option<String>,
    pub(super) piece_bytes: usize,
    /// Bytes that were received and belong to the next piece.
    pub(super) rest: Bytes,
}

impl Body {
    pub(super) fn open_file(
        object: &ObjectRef,
        piece_bytes: usize,
    ) -> Result<(Bytes, Self), StoreError> {
        let opened = local::open(object, piece_bytes);
        let (first, body) = opened.map_err(|error| StoreError::local(&error))?;
        Ok((first, Self::Local(body)))
    }

    /// The next piece, and what follows; an empty piece at the end.
    pub async fn read(self) -> Result<(Bytes, Self), StoreError> {
        match self {
            Self::Local(mut body) => {
                let read = spawn_blocking(move || body.read().map(|piece| (piece, body))).await;
                let (piece, body) = read
                    .map_err(|error| StoreError::panicked(&error))?
                    .map_err(|error| StoreError::local(&error))?;
                Ok((piece, Self::Local(body)))
            }
            Self::S3(mut body) => {
                let piece = body.next().await?;
                Ok((piece, Self::S3(body)))
            }
        }
    }

    /// True if nothing follows what was read.
    pub fn is_at_end(&self) -> bool {
        match self {
            Self::Local(body) => body.is_at_end(),
            Self::S3(body) => body.at == body.size && body.rest.is_empty(),
        }
    }
}

impl S3Body {
    pub(super) async fn next(&mut self) -> Result<Bytes, StoreError> {
        let mut piece = BytesMut::new();
        let mut breaks = 0;
        loop {
            let room = self.piece_bytes - piece.len();
            if room == 0 {
                return Ok(piece.freeze());
            }
            if !self.rest.is_empty() {
                let part = self.rest.split_to(room.min(self.rest.len()));
                let is_all = self.at == self.size && self.rest.is_empty();
                if piece.is_empty() && (part.len() == room || is_all) {
                    return Ok(part);
                }
                piece.extend_from_slice(&part);
                continue;
            }
            if self.at == self.size {
                return Ok(piece.freeze());
            }
            match self.stream.next().await {
                Some(Ok(chunk)) => {
                    breaks = 0;
                    self.at += chunk.len() as u64;
                    self.rest = chunk;
                    if self.at > self.size {
                        let what = format!(
                            "{}: the answer is longer than the {} bytes it announced",
                            self.object.location(),
                            self.size
                        );
                        return Err(StoreError { kind: Kind::Other, what });
                    }
                    // The checksum of all is looked at only when the end is asked for.
                    if self.at == self.size
                        && let Some(Err(error)) = self.stream.next().await
                    {
                        let location = self.object.location();
                        let why = chain(&error);
                        let what = format!("{location}: its bytes arrived damaged: {why}");
                        return Err(StoreError { kind: Kind::Transient, what });
                    }
                }
                broken => {
                    breaks += 1;
                    let why = match broken {
                        Some(Err(error)) => error.to_string(),
                        _ => "the connection was closed".to_owned(),
                    };
                    if breaks > MAX_BREAKS {
                        let what = format!(
                            "{}: the answer broke off at byte {} of {}, {MAX_BREAKS} times: {why}",
                            self.object.location(),
                            self.at,
                            self.size
                        );
                        return Err(StoreError { kind: Kind::Transient, what });
                    }
                    tokio::time::sleep(backoff(breaks, Duration::from_millis(50))).await;
                    self.stream =
                        self.bucket.resume(&self.object, self.at, self.etag.clone()).await?;
                }
            }
        }
    }
}
