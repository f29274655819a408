//! What stands for AWS in the tests: servers on loopback ports, inside the test process or as its
//! children, that the program reaches as it would reach AWS.
//!
//! The tests are plain functions and the program is a child process, so the servers run on a
//! runtime of their own and everything here may block.

use std::{future::Future, net::SocketAddr, process::Command, sync::LazyLock};

use aws_sdk_s3::config::Credentials;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::{AbortHandle, JoinSet},
};

use super::not_run;

mod elasticmq;
mod java;
pub mod lambda;
mod maven;
pub mod opensearch;
pub mod proxy;
pub mod queue;
mod runtime_api;
pub mod s3;
mod strict;
pub mod trino;

/// The only key that the servers accept, and its secret.
pub const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub const REGION: &str = "eu-west-1";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Waits for a future; what it spawns goes on in the background.
pub fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// A listener on a loopback port, and the connections to it: all of them end with this.
struct Server {
    address: SocketAddr,
    task: AbortHandle,
}

impl Server {
    fn start<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let accept = async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let _ = stream.set_nodelay(true);
                connections.spawn(handle(stream));
                while connections.try_join_next().is_some() {}
            }
        };
        Self { address, task: RUNTIME.spawn(accept).abort_handle() }
    }

    /// `http://127.0.0.1:<port>`.
    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether `TRAILHOUND_SKIP` says to do without a component; if so, says that `test` did not run.
fn is_skipped(test: &str, component: &str) -> bool {
    let skip = std::env::var("TRAILHOUND_SKIP").unwrap_or_default();
    let is_named = skip.split([',', ' ']).any(|part| part == component);
    if is_named {
        not_run(test, &format!("TRAILHOUND_SKIP says {component}"));
    }
    is_named
}

/// Names and values of environment variables.
pub type Variables = Vec<(String, String)>;

fn variables<const N: usize>(pairs: [(&str, &str); N]) -> Variables {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Who the program is, where it is, and that it should look nowhere else for either.
fn identity() -> Variables {
    variables([
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ])
}

/// Sets the variables, and takes away what the environment of the tests says about AWS otherwise.
fn set(command: &mut Command, variables: Variables) {
    for name in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"] {
        command.env_remove(name);
    }
    command.envs(variables);
}

fn credentials() -> Credentials {
    Credentials::new(KEY, SECRET, None, None, "test")
}
