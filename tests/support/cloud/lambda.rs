//! Lambda, as a function's process meets it: `bootstrap` is started, asks for work, has a deadline,
//! and is killed when it misses that; a queue's messages come as events.
//!
//! Unlike Lambda, a process between two invocations is not frozen, and its memory has no limit.

use std::{
    collections::HashSet,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    REGION, Variables,
    queue::{Message, Queue},
    runtime_api::{Invocation, Posted, RuntimeApi},
};

/// How long a process may take until it asks for work, which does not count against its deadline.
const INIT: Duration = Duration::from_secs(10);

/// What came of an invocation.
#[derive(Clone, Debug)]
pub enum Outcome {
    Response(Value),
    Error(Value),
    /// The process missed its deadline, or did not ask for work in time, and was killed.
    TimedOut,
    Exited(ExitStatus),
}

/// What came of a batch of messages.
#[derive(Debug)]
pub struct Delivery {
    pub messages: Vec<Message>,
    pub outcome: Outcome,
    /// The ids of the messages that stay in the queue.
    pub failed: Vec<String>,
}

pub struct Lambda {
    binary: PathBuf,
    variables: Variables,
    timeout: Duration,
    process: Option<Process>,
    init_error: Option<Value>,
    time_to_first_poll: Option<Duration>,
    logs: Arc<Mutex<Vec<u8>>>,
    invocations: u64,
}

struct Process {
    child: Child,
    api: RuntimeApi,
    started: Instant,
    readers: Vec<JoinHandle<()>>,
}

impl Lambda {
    /// A function of a binary, in an environment of Lambda's variables and these; its first process
    /// starts at once.
    pub fn start(
        binary: &Path,
        variables: &[(String, String)],
        timeout: Duration,
        memory_mb: u32,
    ) -> Self {
        let memory = memory_mb.to_string();
        let own = [
            ("AWS_LAMBDA_FUNCTION_NAME", "trailhound"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/trailhound"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_REGION", REGION),
            ("LANG", "en_US.UTF-8"),
            ("TZ", ":UTC"),
        ];
        let mut all = super::variables(own);
        all.extend_from_slice(variables);
        let mut lambda = Self {
            binary: binary.to_owned(),
            variables: all,
            timeout,
            process: None,
            init_error: None,
            time_to_first_poll: None,
            logs: Arc::default(),
            invocations: 0,
        };
        lambda.process = Some(lambda.new_process());
        lambda
    }

    fn new_process(&self) -> Process {
        let api = RuntimeApi::start();
        let mut command = Command::new(&self.binary);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.variables.iter().cloned());
        command.env("AWS_LAMBDA_RUNTIME_API", api.address().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().expect("the function's binary starts");
        let readers = vec![
            collect(child.stdout.take().unwrap(), self.logs.clone()),
            collect(child.stderr.take().unwrap(), self.logs.clone()),
        ];
        Process { child, api, started, readers }
    }

    /// Lets the function work on an event, in the process that is there or a new one.
    pub fn invoke(&mut self, payload: Value) -> Outcome {
        let alive = self.process.take().and_then(Process::if_alive);
        let mut process = alive.unwrap_or_else(|| self.new_process());
        let outcome = self.invoke_in(&mut process, payload);
        self.init_error = process.api.init_error().or(self.init_error.take());
        if matches!(outcome, Outcome::Response(_) | Outcome::Error(_)) {
            self.process = Some(process);
        }
        outcome
    }

    fn invoke_in(&mut self, process: &mut Process, payload: Value) -> Outcome {
        if let Some(outcome) = process.initialise() {
            return outcome;
        }
        self.time_to_first_poll = process.time_to_first_poll();
        self.invocations += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.invocations);
        let (deadline, mut last_words) = (Instant::now() + self.timeout, true);
        process.api.offer(&Invocation { id, payload, timeout: self.timeout });
        loop {
            // An answer that was posted counts, also if the process has gone since.
            let exited = process.child.try_wait().unwrap();
            match (process.api.posted(), exited) {
                (Some(Posted::Response(response)), _) => return Outcome::Response(response),
                (Some(Posted::Error(error)), _) => return Outcome::Error(error),
                (None, Some(status)) if !last_words => return Outcome::Exited(status),
                (None, Some(_)) => {
                    // What it posted at the very end may still be on its way.
                    thread::sleep(Duration::from_millis(50));
                    last_words = false;
                }
                (None, None) if Instant::now() >= deadline => return Outcome::TimedOut,
                (None, None) => process.api.wait(),
            }
        }
    }

    /// How long the first process, or the latest one that was invoked, took to ask for work.
    pub fn time_to_first_poll(&mut self) -> Option<Duration> {
        if let Some(process) = &mut self.process
            && process.initialise().is_none()
        {
            self.time_to_first_poll = process.time_to_first_poll();
        }
        self.time_to_first_poll
    }

    /// The id of the process that is there.
    pub fn process_id(&self) -> Option<u32> {
        Some(self.process.as_ref()?.child.id())
    }

    /// Kills the process, as Lambda does when it takes a function's environment away.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Why a process said that it cannot start.
    pub fn init_error(&self) -> Option<Value> {
        let of_process = self.process.as_ref().and_then(|process| process.api.init_error());
        of_process.or_else(|| self.init_error.clone())
    }

    /// Everything that the processes have printed so far.
    pub fn logs(&self) -> String {
        String::from_utf8_lossy(&self.logs.lock().unwrap()).into_owned()
    }

    /// Does once what Lambda's pollers do: hands visible messages of a queue to the function, and
    /// deletes those that it does not report as failed. `None` if there is no message.
    pub fn drive(&mut self, queue: &Queue, batch_size: usize) -> Option<Delivery> {
        let messages = queue.receive_batch(batch_size);
        if messages.is_empty() {
            return None;
        }
        let records: Vec<Value> = messages.iter().map(|message| record(queue, message)).collect();
        let outcome = self.invoke(json!({ "Records": records }));
        let all: HashSet<&str> = messages.iter().map(|message| message.id.as_str()).collect();
        // None: as if it had reported all of them.
        let reported = match &outcome {
            Outcome::Response(response) => reported(response, &all),
            _ => None,
        };
        let kept = reported.unwrap_or(all);
        let mut failed = Vec::new();
        for message in &messages {
            if kept.contains(message.id.as_str()) {
                failed.push(message.id.clone());
            } else {
                queue.delete(message);
            }
        }
        Some(Delivery { messages, outcome, failed })
    }
}

/// The failed messages of a partial batch response. `None` if Lambda takes the response for a
/// failure of the whole batch: it is not of this form, or names a message that was not in the batch.
fn reported<'m>(response: &Value, all: &HashSet<&'m str>) -> Option<HashSet<&'m str>> {
    let failures = match response {
        Value::Null => return Some(HashSet::new()),
        Value::Object(fields) => fields.get("batchItemFailures").unwrap_or(&Value::Null),
        _ => return None,
    };
    if failures.is_null() {
        return Some(HashSet::new());
    }
    let id = |failure: &Value| all.get(failure["itemIdentifier"].as_str()?).copied();
    failures.as_array()?.iter().map(id).collect()
}

/// A message as an event has it.
fn record(queue: &Queue, message: &Message) -> Value {
    json!({
        "messageId": message.id,
        "receiptHandle": message.receipt,
        "body": message.body,
        "attributes": message.attributes,
        "messageAttributes": {},
        "md5OfBody": message.md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn(),
        "awsRegion": REGION,
    })
}

fn collect(mut output: impl Read + Send + 'static, logs: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut piece) {
            logs.lock().unwrap().extend_from_slice(&piece[..length]);
        }
    })
}

impl Process {
    /// Waits until the process asks for work, or tells why it does not.
    fn initialise(&mut self) -> Option<Outcome> {
        while self.api.polled().is_none() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(Outcome::Exited(status));
            }
            if self.started.elapsed() > INIT {
                return Some(Outcome::TimedOut);
            }
            self.api.wait();
        }
        None
    }

    fn if_alive(mut self) -> Option<Self> {
        self.child.try_wait().unwrap().is_none().then_some(self)
    }

    fn time_to_first_poll(&self) -> Option<Duration> {
        Some(self.api.polled()?.duration_since(self.started))
    }
}

impl Drop for Process {
    /// Kills the process, and waits for what it has printed; but not for a child of its own, which
    /// can hold its output open.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let killed = Instant::now();
        let is_reading = |reader: &JoinHandle<()>| !reader.is_finished();
        while self.readers.iter().any(is_reading) && killed.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
