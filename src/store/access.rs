//! S3 as one principal: credentials, roles, a client for the region of each bucket.
//!
//! # Input
//! What the AWS SDK finds (environment, profiles, SSO, web identity, instance and container
//! credentials, endpoint variables), and [`Access`].
//! # Maps to
//! [`Bucket`]s.
//! # Known gaps
//! A custom endpoint that only a profile names must be an address, not a host name: path style is
//! taken for the endpoints of environment variables.
//! # Reference
//! <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, meta::region::RegionProviderChain, retry::RetryConfig,
    sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_credential_types::provider::ProvideCredentials;
use tokio::sync::{Mutex, OnceCell};

use super::{Bucket, Kind, StoreError};

/// Where a bucket's region is asked for if no region is configured.
const DEFAULT_REGION: &str = "us-east-1";
/// How often a request is tried, with growing, random pauses.
const ATTEMPTS: u32 = 5;

/// How buckets of other accounts are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The role that is assumed.
    pub role_arn: Option<String>,
    /// The external id that the role asks for.
    pub external_id: Option<String>,
    /// The account that the buckets must belong to.
    pub expected_bucket_owner: Option<String>,
    /// The KMS key for what is written, instead of the bucket's default.
    pub kms_key_id: Option<String>,
}

/// S3 as one principal. Nothing is looked up before a bucket is asked for.
pub struct S3 {
    access: Access,
    config: OnceCell<SdkConfig>,
    buckets: Mutex<HashMap<String, Arc<Bucket>>>,
}

/// The configuration of the environment, without a role.
pub async fn environment() -> SdkConfig {
    static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
    let load = || async {
        let region =
            RegionProviderChain::default_provider().or_else(Region::from_static(DEFAULT_REGION));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(30));
        aws_config::defaults(BehaviorVersion::latest())
            .region(region)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts.build())
            .load()
            .await
    };
    CONFIG.get_or_init(load).await.clone()
}

impl S3 {
    /// S3 with this access.
    pub fn new(access: Access) -> Self {
        Self { access, config: OnceCell::new(), buckets: Mutex::default() }
    }

    async fn config(&self) -> &SdkConfig {
        let load = || async {
            let config = environment().await;
            let Some(role) = &self.access.role_arn else { return config };
            let mut builder =
                AssumeRoleProvider::builder(role).session_name("trailhound").configure(&config);
            if let Some(id) = &self.access.external_id {
                builder = builder.external_id(id);
            }
            let provider = builder.build().await;
            let provider = aws_credential_types::provider::SharedCredentialsProvider::new(provider);
            config.into_builder().credentials_provider(provider).build()
        };
        self.config.get_or_init(load).await
    }

    /// A bucket, with a client for its region. An error if there is no such bucket, or there are no
    /// credentials.
    pub async fn bucket(&self, name: &str) -> Result<Arc<Bucket>, StoreError> {
        let mut buckets = self.buckets.lock().await;
        if let Some(bucket) = buckets.get(name) {
            return Ok(Arc::clone(bucket));
        }
        let config = self.config().await;
        let Some(provider) = config.credentials_provider() else {
            return Err(no_credentials(name, "no provider is configured"));
        };
        if let Err(error) = provider.provide_credentials().await {
            let why = chain(&error);
            return Err(match &self.access.role_arn {
                Some(role) => StoreError {
                    kind: Kind::Configuration,
                    what: format!("cannot assume the role {role} for s3://{name}: {why}"),
                },
                None => no_credentials(name, &why),
            });
        }
        let who = Arc::new(Principal { config: config.clone(), name: OnceCell::new() });
        let bucket = Arc::new(Bucket::new(config, name, &self.access, who).await?);
        buckets.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }
}

/// An error and its causes in one line, without what they repeat.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let one = error.to_string();
        // What follows is a list of everything that was tried.
        let one = one.lines().next().unwrap_or_default().trim_end_matches(". Attempted:");
        if !text.contains(one) {
            text += if text.is_empty() { "" } else { ": " };
            text += one;
        }
        next = error.source();
    }
    text
}

fn no_credentials(bucket: &str, why: &str) -> StoreError {
    StoreError {
        kind: Kind::Configuration,
        what: format!(
            "no AWS credentials for s3://{bucket}: set AWS_PROFILE, or run `aws sso login`, or give \
             this machine a role ({why})"
        ),
    }
}

/// Who asks, for messages.
pub struct Principal {
    config: SdkConfig,
    name: OnceCell<String>,
}

impl Principal {
    /// The ARN, or the id of the access key if STS does not tell.
    pub async fn name(&self) -> &str {
        let ask = || async {
            let identity = async {
                let sts = aws_sdk_sts::Client::new(&self.config);
                sts.get_caller_identity().send().await.ok()?.arn
            };
            // Behind an endpoint of its own S3 has nothing to do with AWS's STS.
            let elsewhere =
                has_endpoint("AWS_ENDPOINT_URL_S3") && !has_endpoint("AWS_ENDPOINT_URL_STS");
            let arn = if elsewhere {
                None
            } else {
                tokio::time::timeout(Duration::from_secs(3), identity).await.ok().flatten()
            };
            match (arn, self.config.credentials_provider()) {
                (Some(arn), _) => arn,
                (None, Some(provider)) => match provider.provide_credentials().await {
                    Ok(credentials) => format!("access key {}", credentials.access_key_id()),
                    Err(_) => "nobody".to_owned(),
                },
                (None, None) => "nobody".to_owned(),
            }
        };
        self.name.get_or_init(ask).await
    }
}

/// True if this variable names an endpoint.
pub(super) fn has_endpoint(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|url| !url.is_empty())
}
