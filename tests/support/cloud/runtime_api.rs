//! What a function's process talks to in Lambda: it asks for an invocation, and posts what came of
//! it. One server for each process, so that a killed one cannot take what is meant for the next.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::Notify;

use super::{REGION, Server};

const PREFIX: &str = "/2018-06-01/runtime/";

pub struct Invocation {
    pub id: String,
    pub payload: Value,
    /// After now.
    pub timeout: Duration,
}

/// What a process posted.
#[derive(Clone, Debug)]
pub enum Posted {
    Response(Value),
    Error(Value),
}

#[derive(Default)]
struct State {
    polled: Option<Instant>,
    waiting: VecDeque<Response<Full<Bytes>>>,
    /// The id of the invocation at work.
    current: Option<String>,
    posted: Option<Posted>,
    init_error: Option<Value>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was asked for or posted.
    changed: Condvar,
    /// There is an invocation.
    offered: Notify,
}

pub struct RuntimeApi {
    shared: Arc<Shared>,
    server: Server,
}

impl RuntimeApi {
    pub fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let of_server = shared.clone();
        let server = Server::start(move |stream| {
            let shared = of_server.clone();
            async move {
                let service = service_fn(move |request| answer(shared.clone(), request));
                let connection = http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            }
        });
        Self { shared, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub fn offer(&self, invocation: &Invocation) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let deadline = since_epoch + invocation.timeout;
        let arn = format!("arn:aws:lambda:{REGION}:111122223333:function:trailhound");
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", &invocation.id)
            .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
            .header("lambda-runtime-invoked-function-arn", arn)
            .header("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0")
            .body(Full::from(invocation.payload.to_string()))
            .unwrap();
        let mut state = self.shared.state.lock().unwrap();
        state.posted = None;
        state.current = Some(invocation.id.clone());
        state.waiting.push_back(response);
        self.shared.offered.notify_one();
    }

    /// When the process asked for its first invocation.
    pub fn polled(&self) -> Option<Instant> {
        self.shared.state.lock().unwrap().polled
    }

    pub fn posted(&self) -> Option<Posted> {
        self.shared.state.lock().unwrap().posted.clone()
    }

    pub fn init_error(&self) -> Option<Value> {
        self.shared.state.lock().unwrap().init_error.clone()
    }

    /// Returns when the process has done something, or a moment later.
    pub fn wait(&self) {
        let state = self.shared.state.lock().unwrap();
        let _ = self.shared.changed.wait_timeout(state, Duration::from_millis(5)).unwrap();
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let Some(call) = path.strip_prefix(PREFIX) else { return Ok(status(StatusCode::NOT_FOUND)) };
    if call == "invocation/next" {
        shared.state.lock().unwrap().polled.get_or_insert_with(Instant::now);
        shared.changed.notify_all();
        return Ok(next(&shared).await);
    }
    let Ok(body) = request.into_body().collect().await else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let body = body.to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
    let mut state = shared.state.lock().unwrap();
    let call = match call.strip_prefix("invocation/").and_then(|call| call.split_once('/')) {
        // Only the invocation at work can be answered, and only once.
        Some((id, what)) if state.current.as_deref() == Some(id) => what,
        Some(_) => return Ok(status(StatusCode::BAD_REQUEST)),
        None => call,
    };
    match call {
        "response" => state.posted = Some(Posted::Response(body)),
        "error" => state.posted = Some(Posted::Error(body)),
        "init/error" => state.init_error = Some(body),
        _ => return Ok(status(StatusCode::NOT_FOUND)),
    }
    if state.posted.is_some() {
        state.current = None;
    }
    shared.changed.notify_all();
    Ok(status(StatusCode::ACCEPTED))
}

async fn next(shared: &Shared) -> Response<Full<Bytes>> {
    loop {
        let offered = shared.offered.notified();
        if let Some(invocation) = shared.state.lock().unwrap().waiting.pop_front() {
            return invocation;
        }
        offered.await;
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let word = if status.is_success() { "OK" } else { "error" };
    let body = serde_json::json!({ "status": word }).to_string();
    Response::builder().status(status).body(Full::from(body)).unwrap()
}
