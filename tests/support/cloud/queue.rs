//! Queues as SQS has them: each with a visibility timeout and a queue for dead letters.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use aws_sdk_sqs::{
    Client,
    config::{BehaviorVersion, Region},
    types::{MessageSystemAttributeName, QueueAttributeName},
};
use serde_json::json;

use super::{
    REGION, Variables, block_on, credentials, elasticmq::ElasticMq, identity, is_skipped, set,
};

/// The queue server of this test process.
pub struct Queues {
    server: &'static ElasticMq,
}

impl Queues {
    /// Panics if the server cannot run here. `None`, after saying so, if `TRAILHOUND_SKIP` says
    /// `elasticmq`.
    pub fn or_skip(test: &str) -> Option<Self> {
        if is_skipped(test, "elasticmq") {
            return None;
        }
        match ElasticMq::shared() {
            Ok(server) => Some(Self { server }),
            Err(why) => panic!("{why}"),
        }
    }

    /// A new queue. A received message comes again after `visibility_seconds` unless it is deleted,
    /// and after so many receipts goes to the dead letters instead.
    pub fn create(&self, name: &str, visibility_seconds: u32, max_receive_count: u32) -> Queue {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let endpoint = format!("http://127.0.0.1:{}", self.server.port);
        let client = client(&endpoint);
        let (url, dead_url) = block_on(async {
            let dead = client.create_queue().queue_name(format!("{name}-dead")).send();
            let dead_url = dead.await.unwrap().queue_url.unwrap();
            let arn = attribute(&client, &dead_url, QueueAttributeName::QueueArn).await;
            let redrive =
                json!({ "deadLetterTargetArn": arn, "maxReceiveCount": max_receive_count });
            let create = client
                .create_queue()
                .queue_name(&name)
                .attributes(QueueAttributeName::VisibilityTimeout, visibility_seconds.to_string())
                .attributes(QueueAttributeName::RedrivePolicy, redrive.to_string());
            (create.send().await.unwrap().queue_url.unwrap(), dead_url)
        });
        Queue { name, url, dead_url, endpoint, client }
    }
}

pub struct Queue {
    pub name: String,
    pub url: String,
    dead_url: String,
    endpoint: String,
    client: Client,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    /// What deletes it.
    pub receipt: String,
    pub body: String,
    pub md5: String,
    /// Such as `ApproximateReceiveCount`.
    pub attributes: BTreeMap<String, String>,
}

impl Queue {
    /// What the program has to know to use this server.
    pub fn variables(&self) -> Variables {
        let mut variables = identity();
        variables.push(("AWS_ENDPOINT_URL_SQS".to_owned(), self.endpoint.clone()));
        variables
    }

    pub fn env(&self, command: &mut Command) {
        set(command, self.variables());
    }

    /// The queue's name as an event for a function has it.
    pub fn arn(&self) -> String {
        format!("arn:aws:sqs:{REGION}:111122223333:{}", self.name)
    }

    /// Sends a message; returns its id.
    pub fn send(&self, body: impl Into<String>) -> String {
        let send = self.client.send_message().queue_url(&self.url).message_body(body);
        block_on(send.send()).unwrap().message_id.unwrap()
    }

    /// Receives up to so many of the visible messages, in steps of ten, as SQS hands them out.
    pub fn receive_batch(&self, max: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        while messages.len() < max {
            let more = self.receive(&self.url, (max - messages.len()).min(10), None);
            if more.is_empty() {
                break;
            }
            messages.extend(more);
        }
        messages
    }

    fn receive(&self, url: &str, max: usize, visibility_seconds: Option<i32>) -> Vec<Message> {
        let receive = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(max as i32)
            .set_visibility_timeout(visibility_seconds)
            .message_system_attribute_names(MessageSystemAttributeName::All);
        let received = block_on(receive.send()).unwrap().messages.unwrap_or_default();
        let message = |message: aws_sdk_sqs::types::Message| Message {
            id: message.message_id.unwrap(),
            receipt: message.receipt_handle.unwrap(),
            body: message.body.unwrap(),
            md5: message.md5_of_body.unwrap(),
            attributes: message
                .attributes
                .unwrap_or_default()
                .into_iter()
                .map(|(name, value)| (name.as_str().to_owned(), value))
                .collect(),
        };
        received.into_iter().map(message).collect()
    }

    pub fn delete(&self, message: &Message) {
        let delete = self.client.delete_message().queue_url(&self.url);
        block_on(delete.receipt_handle(&message.receipt).send()).unwrap();
    }

    /// How many messages there are, received ones that are not deleted included. A message whose
    /// receipts are used up counts until somebody asks for messages once more.
    pub fn len(&self) -> usize {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible,
            ApproximateNumberOfMessagesNotVisible as InFlight,
        };
        // Of one moment: a message that becomes visible between two questions would be in neither.
        let get = self.client.get_queue_attributes().queue_url(&self.url);
        let get = get.attribute_names(Visible).attribute_names(InFlight).send();
        let counts = block_on(get).unwrap().attributes.unwrap();
        [Visible, InFlight].iter().map(|name| counts[name].parse::<usize>().unwrap()).sum()
    }

    /// The bodies of the messages that were received too often. They stay where they are.
    pub fn dead_letters(&self) -> Vec<String> {
        let mut letters = Vec::new();
        loop {
            let more = self.receive(&self.dead_url, 10, Some(60));
            if more.is_empty() {
                break;
            }
            letters.extend(more);
        }
        for letter in &letters {
            let put_back = self.client.change_message_visibility().queue_url(&self.dead_url);
            let put_back = put_back.receipt_handle(&letter.receipt).visibility_timeout(0);
            block_on(put_back.send()).unwrap();
        }
        letters.into_iter().map(|letter| letter.body).collect()
    }
}

fn client(endpoint: &str) -> Client {
    let builder = aws_sdk_sqs::Config::builder().behavior_version(BehaviorVersion::latest());
    let builder = builder.region(Region::new(REGION)).credentials_provider(credentials());
    Client::from_conf(builder.endpoint_url(endpoint).build())
}

async fn attribute(client: &Client, url: &str, name: QueueAttributeName) -> String {
    let get = client.get_queue_attributes().queue_url(url).attribute_names(name.clone());
    get.send().await.unwrap().attributes.unwrap().remove(&name).unwrap()
}
