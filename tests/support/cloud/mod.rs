//! What stands for AWS in the tests: servers on loopback ports, inside the test process or as its
//! children, that the program reaches as it would reach AWS.
//!
//! The tests are plain functions and the program is a child process, so the servers run on a
//! runtime of their own and everything here may block.

use std::{future::Future, process::Command, sync::LazyLock};

use aws_sdk_s3::config::Credentials;
use tokio::runtime::Runtime;

pub mod s3;
mod strict;

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
