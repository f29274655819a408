//! The queue: receive, keep, give back, delete.
//!
//! # Input
//! The URL of a queue.
//! # Maps to
//! Messages, and receipts for what is held.
//! # Known gaps
//! A receipt that has become stale because its message was received again is refused by SQS; the
//! message is then somebody else's, and nothing is lost.
//! # Reference
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html>.

use std::time::Duration;

use aws_config::Region;
use aws_sdk_sqs::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
        MessageSystemAttributeName, QueueAttributeName,
    },
};

use crate::{
    intake::Message,
    store::access::{chain, environment},
};

/// Messages of one request.
const BATCH: usize = 10;
/// The longest poll. SQS knows 20 s, but a worker that is told to end waits for it.
const POLL: Duration = Duration::from_secs(10);

/// The queue cannot be used. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct QueueError(String);

/// The receipt of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held(String);

/// A queue.
pub struct Queue {
    client: Client,
    url: String,
    visibility: Duration,
}

impl Queue {
    /// A queue that is there and may be used.
    pub async fn open(url: &str) -> Result<Self, QueueError> {
        let mut config = environment().await;
        // `https://sqs.<region>.amazonaws.com/<account>/<name>`: the region of the queue, which need
        // not be that of this machine.
        let host =
            url.split("://").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
        let region = host.strip_prefix("sqs.").and_then(|rest| rest.split('.').next());
        if let Some(region) = region {
            config = config.into_builder().region(Region::new(region.to_owned())).build();
        }
        let mut queue =
            Self { client: Client::new(&config), url: url.to_owned(), visibility: Duration::ZERO };
        let ask = queue.client.get_queue_attributes().queue_url(url);
        let output = ask.attribute_names(QueueAttributeName::VisibilityTimeout).send().await;
        let output = output.map_err(|error| queue.fail("sqs:GetQueueAttributes", &error))?;
        let seconds = output
            .attributes()
            .and_then(|all| all.get(&QueueAttributeName::VisibilityTimeout))
            .and_then(|text| text.parse().ok());
        queue.visibility = Duration::from_secs(seconds.unwrap_or(30));
        if queue.visibility < Duration::from_secs(1) {
            return Err(QueueError(format!(
                "the visibility timeout of the queue {url} is 0: set it to 5 minutes or so"
            )));
        }
        Ok(queue)
    }

    /// For how long a message is invisible to others once it was received.
    pub fn visibility(&self) -> Duration {
        self.visibility
    }

    /// Waits for messages, at most that long.
    pub async fn receive(&self, wait: Duration) -> Result<Vec<(Message, Held)>, QueueError> {
        let receive = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(BATCH as i32)
            .wait_time_seconds(wait.min(POLL).as_secs() as i32)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(
                MessageSystemAttributeName::ApproximateFirstReceiveTimestamp,
            );
        let output =
            receive.send().await.map_err(|error| self.fail("sqs:ReceiveMessage", &error))?;
        let messages = output.messages.unwrap_or_default().into_iter().map(|message| {
            let number = |name| {
                let attributes = message.attributes.as_ref();
                attributes.and_then(|all| all.get(&name)).and_then(|text| text.parse::<i64>().ok())
            };
            let count = number(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1);
            let first = number(MessageSystemAttributeName::ApproximateFirstReceiveTimestamp);
            let held = Held(message.receipt_handle.unwrap_or_default());
            let message = Message {
                id: message.message_id.unwrap_or_default(),
                body: message.body.unwrap_or_default(),
                receive_count: count.max(0) as u32,
                first_received: first,
            };
            (message, held)
        });
        Ok(messages.collect())
    }

    /// Deletes what is done. What cannot be deleted comes again, and is found to be done.
    pub async fn delete(&self, messages: &[Held]) {
        for messages in messages.chunks(BATCH) {
            let entries = messages.iter().enumerate().filter_map(|(number, Held(receipt))| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
                entry.receipt_handle(receipt).build().ok()
            });
            let delete = self.client.delete_message_batch().queue_url(&self.url);
            match delete.set_entries(Some(entries.collect())).send().await {
                Ok(output) => {
                    for failed in output.failed() {
                        tracing::warn!(error = failed.message(), "a message cannot be deleted");
                    }
                }
                Err(error) => {
                    let error = self.fail("sqs:DeleteMessage", &error);
                    tracing::warn!(%error, messages = messages.len(), "cannot delete");
                }
            }
        }
    }

    /// Keeps messages for another while.
    pub async fn keep(&self, messages: &[Held]) {
        self.change(messages, self.visibility.as_secs() as i32).await;
    }

    /// Makes messages visible to others at once.
    pub async fn give_back(&self, messages: &[Held]) {
        self.change(messages, 0).await;
    }

    async fn change(&self, messages: &[Held], seconds: i32) {
        for messages in messages.chunks(BATCH) {
            let entries = messages.iter().enumerate().filter_map(|(number, Held(receipt))| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder();
                let entry = entry.id(number.to_string()).visibility_timeout(seconds);
                entry.receipt_handle(receipt).build().ok()
            });
            let change = self.client.change_message_visibility_batch().queue_url(&self.url);
            if let Err(error) = change.set_entries(Some(entries.collect())).send().await {
                let error = self.fail("sqs:ChangeMessageVisibility", &error);
                tracing::warn!(%error, messages = messages.len(), "cannot change the visibility");
            }
        }
    }

    /// An error of the SDK as a sentence.
    fn fail<E>(&self, action: &str, error: &SdkError<E>) -> QueueError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let url = &self.url;
        let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
        let code = error.code().unwrap_or_default();
        let message = error.message().unwrap_or_default();
        QueueError(match (status, code) {
            (_, code)
                if code.contains("NonExistentQueue") || code.contains("QueueDoesNotExist") =>
            {
                format!("there is no queue {url}: check the URL, its region and its account")
            }
            (_, code) if code.contains("ExpiredToken") => {
                format!("the AWS credentials for {url} have expired: sign in again")
            }
            (403, _) | (_, "AccessDenied" | "AccessDeniedException") => {
                format!("access denied: {action} on the queue {url} is needed: {message}")
            }
            (1.., _) => format!("{url}: SQS answers {status} {code}: {message}"),
            _ => {
                format!("{url}: no answer from SQS, check network and endpoint: {}", chain(&error))
            }
        })
    }
}
