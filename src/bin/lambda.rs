//! The AWS Lambda function: S3 events, mostly through SQS, become staged batches.
//!
//! # Input
//! An SQS event, or an S3 event that was invoked directly; settings from `TRAILHOUND_*` variables.
//! # Maps to
//! A partial batch response with the ids of the messages that failed; for a direct event an error
//! if anything failed. Logs and embedded metrics on standard output, one JSON object a line.
//! # Known gaps
//! None.
//! # Reference
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use clap::Parser;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::sync::Mutex;
use tracing_subscriber::EnvFilter;
use trailhound::{
    batch::now_ms,
    config::{LakeArgs, SizeArgs, SourceArgs},
    indexing::IndexArgs,
    intake::{Done, Failure, Intake, Message},
    metrics,
};

/// The least time that is kept for the answer.
const ANSWER: Duration = Duration::from_millis(300);
/// The share of a function's memory that buffers may fill.
const MEMORY_PERCENT: usize = 90;

/// The Lambda function of Trailhound. It is set up by environment variables and started by AWS Lambda.
#[derive(Parser)]
#[command(version)]
struct Settings {
    #[command(flatten)]
    lake: LakeArgs,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    index: IndexArgs,
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("TRAILHOUND_LOG").unwrap_or_else(|_| "info".into());
    let level_of_others =
        "aws_config=warn,aws_smithy_runtime=warn,aws_sdk_s3=error,hyper_util=warn";
    let filter =
        level_of_others.split(',').fold(filter, |filter, directive| match directive.parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        });
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the function cannot start");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut settings = Settings::try_parse().map_err(|error| sentence(&error))?;
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return Err(
            "AWS_LAMBDA_RUNTIME_API is not set: this program is started by AWS Lambda".into()
        );
    }
    if std::env::var_os("TRAILHOUND_MEMORY").is_none()
        && let Some(mb) = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
            .ok()
            .and_then(|mb| mb.parse::<usize>().ok())
    {
        settings.size.memory =
            ((mb << 20) / 100 * MEMORY_PERCENT).max(trailhound::budget::MIN_BYTES);
    }
    let budget = settings.size.budget();
    budget.map_err(|error| {
        let instead = "without it the memory setting of the function counts";
        format!("{}; {instead}", variables(&error))
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let Settings { lake, sources, size, index } = &settings;
        let intake = Box::pin(Intake::open(lake, sources, size, index)).await;
        let intake = Mutex::new(intake.map_err(|error| error.to_string())?);
        let handle = service_fn(|event: LambdaEvent<Box<RawValue>>| async {
            let LambdaEvent { payload, context } = event;
            handle(&mut *intake.lock().await, payload.get(), &context).await
        });
        Box::pin(lambda_runtime::run(handle)).await.map_err(|error| error.to_string())
    })
}

/// The first paragraph of what clap says.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    variables(text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: "))
}

/// A text in terms of the variables that set up a function: `--lake` is `TRAILHOUND_LAKE`.
fn variables(text: &str) -> String {
    let mut parts = text.split("--");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
        let end = part.find(|c| !is_name(c)).unwrap_or(part.len());
        let name = part[..end].to_ascii_uppercase().replace('-', "_");
        said.extend(["TRAILHOUND_", &name, &part[end..]]);
    }
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn handle(
    intake: &mut Intake,
    payload: &str,
    context: &Context,
) -> Result<Value, Diagnostic> {
    let deadline = Some(deadline(context));
    let Some(event) = queue_event(payload) else {
        let message = Message { body: payload.to_owned(), receive_count: 1, ..Message::default() };
        // An asynchronous invocation that failed is repeated by Lambda, under the same id, and
        // nothing tells so. Nothing is lost or doubled by that.
        let done = intake.run(&[message], deadline).await;
        report(&done, context);
        return match done.failed.into_iter().next() {
            None => Ok(Value::Null),
            Some((_, kind, why)) => Err(diagnostic(kind.name(), why)),
        };
    };
    let event = event.map_err(|why| diagnostic("body", why))?;
    let mut messages = Vec::new();
    for record in event.records {
        let Some(id) = record.message_id else {
            return Err(diagnostic("body", "a message of the event has no id".into()));
        };
        let number = |name: &str| record.attributes.get(name).and_then(|text| text.parse().ok());
        messages.push(Message {
            id,
            body: record.body.unwrap_or_default(),
            receive_count: number("ApproximateReceiveCount").unwrap_or(1).max(0) as u32,
            first_received: number("ApproximateFirstReceiveTimestamp"),
        });
    }
    let done = intake.run(&messages, deadline).await;
    report(&done, context);
    // A message that comes twice in a batch is named once.
    let ids: BTreeSet<&String> = done.failed.iter().map(|(id, ..)| id).collect();
    let failures = ids.into_iter().map(|id| {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier.clone_from(id);
        failure
    });
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.collect();
    serde_json::to_value(response).map_err(|error| diagnostic("internal", error.to_string()))
}

/// The event of a queue, if it is one.
fn queue_event(payload: &str) -> Option<Result<SqsEvent, String>> {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "Records", default)]
        records: Vec<Source>,
    }
    #[derive(Deserialize)]
    struct Source {
        #[serde(rename = "eventSource", default)]
        event_source: Option<String>,
    }
    let probe: Probe = serde_json::from_str(payload).ok()?;
    let is_queue = probe.records.first()?.event_source.as_deref() == Some("aws:sqs");
    is_queue.then(|| {
        serde_json::from_str(payload)
            .map_err(|error| format!("the event of SQS is damaged: {error}"))
    })
}

fn diagnostic(kind: &str, why: String) -> Diagnostic {
    Diagnostic { error_type: format!("Trailhound.{kind}"), error_message: why }
}

/// When a batch must be done so that its answer comes in time.
fn deadline(context: &Context) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_millis(context.deadline).saturating_sub(now);
    Instant::now() + left.saturating_sub(ANSWER.max(left / 20))
}

fn report(done: &Done, context: &Context) {
    for ((kind, why), (messages, first)) in done.causes() {
        let kind = match kind {
            Failure::Permanent => "permanent: it will end in the dead-letter queue",
            kind => kind.name(),
        };
        tracing::warn!(message_id = first, messages, kind, error = why, "message failed");
    }
    metrics::log(done);
    let mut stdout = std::io::stdout().lock();
    for line in metrics::embedded(done, &context.env_config.function_name, now_ms()) {
        // There is nobody to tell that there is nobody to tell.
        let _ = writeln!(stdout, "{line}");
    }
}
