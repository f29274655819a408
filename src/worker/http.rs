//! Health and metrics of a worker, over HTTP.
//!
//! # Input
//! `GET /health`, `GET /metrics`.
//! # Maps to
//! 200 while the queue answers, else 503; totals in the text format of Prometheus.
//! # Known gaps
//! No TLS and no passwords: it is for the network of the container only.
//! # Reference
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::lock;
use crate::{intake::Done, metrics::Totals};

/// A queue that does not answer for so long is worth an alarm.
const LATE: Duration = Duration::from_mins(1);

/// How a worker is.
#[derive(Default)]
pub struct Health {
    totals: Mutex<Totals>,
    queue: Mutex<Polls>,
}

#[derive(Clone, Copy, Default)]
enum Polls {
    /// None yet.
    #[default]
    Starting,
    /// The last one was answered.
    Answered,
    /// Since then none was answered.
    Failing(Instant),
}

impl Health {
    /// Adds a batch.
    pub fn add(&self, done: &Done) {
        lock(&self.totals).add(done);
    }

    /// The queue has answered, or not.
    pub fn polled(&self, answered: bool) {
        let mut queue = lock(&self.queue);
        *queue = match *queue {
            _ if answered => Polls::Answered,
            Polls::Failing(since) => Polls::Failing(since),
            Polls::Starting | Polls::Answered => Polls::Failing(Instant::now()),
        };
    }

    fn answer(&self, path: &str) -> (StatusCode, String) {
        match path {
            "/metrics" => (StatusCode::OK, lock(&self.totals).text()),
            "/health" => match *lock(&self.queue) {
                Polls::Failing(since) if since.elapsed() > LATE => {
                    let seconds = since.elapsed().as_secs();
                    let why = format!("the queue has not answered for {seconds} s\n");
                    (StatusCode::SERVICE_UNAVAILABLE, why)
                }
                Polls::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".into()),
                Polls::Answered | Polls::Failing(_) => (StatusCode::OK, "ok\n".into()),
            },
            _ => (StatusCode::NOT_FOUND, "there are /health and /metrics\n".into()),
        }
    }
}

/// Answers until the program ends.
pub async fn serve(address: SocketAddr, health: Arc<Health>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving /health and /metrics");
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let health = Arc::clone(&health);
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (status, text) = health.answer(request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from(text)));
                *response.status_mut() = status;
                async { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(async move {
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection broke");
                }
            });
        }
    });
    Ok(())
}
