//! An OpenSearch cluster, or a collection of OpenSearch Serverless: who we are to it, and requests.
//!
//! # Input
//! [`ClusterArgs`]; secrets from variables or a file, never from arguments.
//! # Maps to
//! Requests with their answers, whatever the status; or why there is no answer.
//! # Known gaps
//! One address: behind it is a load balancer, as with Amazon's domains, or one node.
//! # Reference
//! <https://docs.opensearch.org/latest/api-reference/>,
//! <https://docs.aws.amazon.com/opensearch-service/latest/developerguide/request-signing.html>.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use flate2::{Compression, write::GzEncoder};
use opensearch::{
    auth::Credentials,
    cert::{Certificate, CertificateValidation},
    http::{
        Method, Url,
        headers::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
        transport::{SingleNodeConnectionPool, Transport, TransportBuilder},
    },
};
use serde_json::Value;

use crate::store::access::environment;

/// A request that has no answer by then is given up; a bulk request may well take a minute.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Where the cluster is, and as whom it is used.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// OpenSearch cluster that holds every record as a document, such as `https://search.example.com`
    #[arg(long, env = "TRAILHOUND_OPENSEARCH", value_name = "URL")]
    pub opensearch: Option<String>,
    /// How to sign in: `aws` for hosts of Amazon, `basic` where there is a user, else `none`
    #[arg(long, env = "TRAILHOUND_OPENSEARCH_AUTH", value_name = "HOW")]
    pub opensearch_auth: Option<Auth>,
    /// User for `basic`; the password is in `TRAILHOUND_OPENSEARCH_PASSWORD` or a file
    #[arg(long, env = "TRAILHOUND_OPENSEARCH_USER", value_name = "NAME")]
    pub opensearch_user: Option<String>,
    /// File with the user's password
    #[arg(long, env = "TRAILHOUND_OPENSEARCH_PASSWORD_FILE", value_name = "FILE")]
    pub opensearch_password_file: Option<PathBuf>,
    /// Certificates (PEM) of the authority that signed the cluster's own
    #[arg(long, env = "TRAILHOUND_OPENSEARCH_CA", value_name = "FILE")]
    pub opensearch_ca: Option<PathBuf>,
    /// Region that requests are signed for, where the host does not tell
    #[arg(long, env = "TRAILHOUND_OPENSEARCH_REGION", value_name = "REGION")]
    pub opensearch_region: Option<String>,
}

/// How to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// Not at all.
    None,
    /// User and password.
    Basic,
    /// Requests signed with AWS credentials (`SigV4`).
    Aws,
}

/// Why a cluster cannot be used as it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer: it is not there, or the connection broke, or it took too long.
    Unreachable,
    /// Its name leads to no address.
    Unknown,
    /// It has too much to do, or parts of it are missing.
    Busy,
    /// It takes no writes at present: the disk is full, or somebody has set a block.
    Blocked,
    /// It does not know who we are, or does not let us.
    Denied,
    /// It does not do what was asked, and will not.
    Refused,
}

impl Trouble {
    /// True if it may well be gone in a while without anybody's doing.
    pub fn passes(self) -> bool {
        matches!(self, Self::Unreachable | Self::Unknown | Self::Busy | Self::Blocked)
    }
}

/// What a cluster did not do, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct ClusterError {
    /// The kind of trouble.
    pub trouble: Trouble,
    /// What, where, and what to do.
    pub what: String,
}

/// An answer, of whatever status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The reason that the server gives, and its type.
    pub fn reason(&self) -> String {
        let json = self.json();
        // Of a search it says only that all parts failed, and why below.
        let error = match &json["error"] {
            outer
                if outer["type"] == "search_phase_execution_exception"
                    && outer["caused_by"]["type"].is_string() =>
            {
                &outer["caused_by"]
            }
            error => error,
        };
        match (error["type"].as_str(), error["reason"].as_str(), error.as_str()) {
            (Some(kind), Some(reason), _) => format!("{kind}: {reason}"),
            (_, _, Some(error)) => error.to_owned(),
            // As Amazon says it, one way or the other.
            _ => {
                let message = json["message"].as_str().or(json["Message"].as_str());
                message.map_or_else(|| self.start(), str::to_owned)
            }
        }
    }

    fn start(&self) -> String {
        const MAX_CHARS: usize = 200;
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        if text.is_empty() {
            return "no reason given".into();
        }
        text.chars().take(MAX_CHARS).collect()
    }
}

/// A cluster as one principal.
#[derive(Clone)]
pub struct Cluster {
    transport: Transport,
    shared: Arc<Shared>,
}

struct Shared {
    /// Without user and password.
    url: String,
    who: String,
    serverless: bool,
    near: bool,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster").field(&self.shared.url).finish()
    }
}

impl ClusterArgs {
    /// The cluster, if there is one. Nothing is asked of it yet.
    pub async fn cluster(&self) -> Result<Option<Cluster>, ClusterError> {
        let url = self.opensearch.as_deref().map(str::trim).filter(|url| !url.is_empty());
        match url {
            None => Ok(None),
            Some(url) => self.connect(url).await.map(Some).map_err(|what| ClusterError {
                trouble: Trouble::Refused,
                what: format!("cannot use the OpenSearch cluster: {what}"),
            }),
        }
    }

    async fn connect(&self, url: &str) -> Result<Cluster, String> {
        let parsed = address(url)?;
        let host = parsed.host_str().unwrap_or_default().to_owned();
        let auth = self.auth(&host);
        if !matches!(auth, Auth::Basic) && self.opensearch_password_file.is_some() {
            return Err("there is a password file but no user: set --opensearch-user".into());
        }
        let service = if host.ends_with(".aoss.amazonaws.com") { "aoss" } else { "es" };
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(parsed.clone()))
            .timeout(TIMEOUT)
            .service_name(service);
        let who = match auth {
            Auth::None => "without signing in".into(),
            Auth::Basic => {
                let user = self.opensearch_user.clone().unwrap_or_default();
                builder = builder.auth(Credentials::Basic(user.clone(), self.password()?));
                format!("as user {user:?}")
            }
            Auth::Aws => {
                let config = environment().await;
                let provider = config.credentials_provider().ok_or("no AWS credentials found")?;
                let region = self.region(&host).map(aws_config::Region::new);
                let region = region.or_else(|| config.region().cloned());
                let region = region.ok_or("which region? set --opensearch-region")?;
                let who = format!("signed for {service} in {region}");
                builder = builder.auth(Credentials::AwsSigV4(provider, region));
                who
            }
        };
        if let Some(path) = &self.opensearch_ca {
            let on_error = |error: String| {
                format!("cannot use the certificates in {}: {error}", path.display())
            };
            let pem = std::fs::read(path).map_err(|error| on_error(error.to_string()))?;
            let chain = Certificate::from_pem(&pem).map_err(|error| on_error(error.to_string()))?;
            builder = builder.cert_validation(CertificateValidation::Full(chain));
        }
        let transport = builder.build().map_err(|error| error.to_string())?;
        let shared = Shared {
            url: parsed.as_str().trim_end_matches('/').to_owned(),
            who,
            serverless: service == "aoss",
            near: is_near(&host),
        };
        Ok(Cluster { transport, shared: Arc::new(shared) })
    }

    fn auth(&self, host: &str) -> Auth {
        let has_user = self.opensearch_user.as_deref().is_some_and(|user| !user.is_empty());
        self.opensearch_auth.unwrap_or(match host.ends_with(".amazonaws.com") {
            _ if has_user => Auth::Basic,
            true => Auth::Aws,
            false => Auth::None,
        })
    }

    /// `search-x.eu-west-1.es.amazonaws.com`, `id.eu-west-1.aoss.amazonaws.com`.
    fn region(&self, host: &str) -> Option<String> {
        let own = self.opensearch_region.clone().filter(|region| !region.is_empty());
        own.or_else(|| {
            let rest = host.strip_suffix(".amazonaws.com")?;
            let rest = rest.strip_suffix(".es").or_else(|| rest.strip_suffix(".aoss"))?;
            rest.rsplit('.').next().map(str::to_owned)
        })
    }

    fn password(&self) -> Result<String, String> {
        if let Some(path) = &self.opensearch_password_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                format!("cannot read the password file {}: {error}", path.display())
            })?;
            let password = text.trim_end_matches(['\r', '\n']);
            if password.is_empty() {
                return Err(format!("the password file {} is empty", path.display()));
            }
            return Ok(password.to_owned());
        }
        let password = std::env::var("TRAILHOUND_OPENSEARCH_PASSWORD").unwrap_or_default();
        if password.is_empty() {
            return Err("there is a user but no password: set TRAILHOUND_OPENSEARCH_PASSWORD or \
                        --opensearch-password-file"
                .into());
        }
        Ok(password)
    }
}

impl Cluster {
    /// Its address, for people.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// True for a collection of OpenSearch Serverless, which has no cluster, no lifecycle policies
    /// and no security plugin.
    pub fn is_serverless(&self) -> bool {
        self.shared.serverless
    }

    /// True if it is on this machine or in this network: then compressing takes longer than sending.
    pub fn is_near(&self) -> bool {
        self.shared.near
    }

    /// What tells it from other clusters: its own id, or its address where it does not tell that one
    /// (a collection has none, and a narrow role may not ask).
    pub async fn identity(&self) -> Result<String, ClusterError> {
        if self.is_serverless() {
            return Ok(self.url().to_owned());
        }
        let reply = self.call(Method::Get, "/", None).await?;
        let json = reply.json();
        match (reply.status, json["cluster_uuid"].as_str()) {
            (200, Some(id)) if json["version"]["number"].is_string() => Ok(id.to_owned()),
            (403, _) => Ok(self.url().to_owned()),
            (401 | 408 | 429 | 500.., _) => Err(self.error("say who it is", &reply)),
            (status, _) => Err(ClusterError {
                trouble: Trouble::Refused,
                what: format!(
                    "what answers at {} is not OpenSearch (status {status}): check the address",
                    self.url()
                ),
            }),
        }
    }

    /// Sends a request with a JSON body, or none.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, ClusterError> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        self.send(method, path, body, HeaderMap::new()).await
    }

    /// Sends lines of JSON. `body` is not copied; compressed it is gzip of level 1.
    pub async fn bulk(&self, path: &str, body: Bytes, gzip: bool) -> Result<Reply, ClusterError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        self.send(Method::Post, path, Some(body), headers).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        headers: HeaderMap,
    ) -> Result<Reply, ClusterError> {
        // Path and query are one text here; the transport joins it to the address.
        let no_query: Option<&str> = None;
        let sent = self.transport.send(method, path, headers, no_query, body, None).await;
        let response = sent.map_err(|error| self.unreachable(&error))?;
        let status = response.status_code().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok(Reply { status, retry_after: retry_after.map(Duration::from_secs), body })
    }

    /// The causes of an error, without repetition, because the first says only "error sending".
    fn unreachable(&self, error: &opensearch::Error) -> ClusterError {
        let mut what = String::new();
        let mut next: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if !what.contains(&text) {
                let colon = if what.is_empty() { "" } else { ": " };
                what = format!("{what}{colon}{text}");
            }
            next = error.source();
        }
        let url = self.url();
        if what.contains("Signing Failed") {
            let what = format!(
                "the request to OpenSearch at {url} cannot be signed ({what}): check the AWS \
                 credentials"
            );
            return ClusterError { trouble: Trouble::Denied, what };
        }
        let (trouble, help) = if what.contains("certificate") {
            (
                Trouble::Refused,
                "its certificate is not trusted: give the authority's by --opensearch-ca, and the \
                 name that the certificate is for in the address",
            )
        } else if what.contains("corrupt message") {
            (Trouble::Refused, "it does not speak TLS: is its address http://?")
        } else if what.contains("dns error") {
            (Trouble::Unknown, "is its name right?")
        } else {
            (Trouble::Unreachable, "is it running, and is this its address?")
        };
        ClusterError {
            trouble,
            what: format!("no answer from OpenSearch at {url} ({what}): {help}"),
        }
    }

    /// What an answer that is no success means; `doing` says what was asked for, such as `index`.
    pub fn error(&self, doing: &str, reply: &Reply) -> ClusterError {
        let (url, who) = (self.url(), &self.shared.who);
        let (status, reason) = (reply.status, reply.reason());
        let said = format!("status {status}, {reason}");
        let (trouble, what) = match status {
            403 | 429 if reason.contains("cluster_block_exception") => (
                Trouble::Blocked,
                format!(
                    "OpenSearch at {url} takes no writes ({said}): free disk space, or take the \
                     block away"
                ),
            ),
            401 => (
                Trouble::Denied,
                format!("OpenSearch at {url} does not know us, {who} ({said}): check credentials"),
            ),
            403 => (
                Trouble::Denied,
                format!(
                    "OpenSearch at {url} does not let us {doing}, {who} ({said}): map our user or \
                     role to one that may, see `trailhound setup opensearch`"
                ),
            ),
            408 | 429 | 500.. => {
                (Trouble::Busy, format!("OpenSearch at {url} cannot {doing} at present ({said})"))
            }
            _ => (Trouble::Refused, format!("OpenSearch at {url} does not {doing} ({said})")),
        };
        ClusterError { trouble, what }
    }
}

/// Reads the address of a cluster. A user or password in it is not repeated.
fn address(url: &str) -> Result<Url, String> {
    if url.contains('@') {
        return Err("the address holds a user or password, which others can read: use \
                    --opensearch-user and TRAILHOUND_OPENSEARCH_PASSWORD"
            .into());
    }
    if !url.contains("://") {
        return Err(format!(
            "{url:?} does not say how to connect: write https://{url}, or http://{url} if it has no TLS"
        ));
    }
    let parsed = Url::parse(url).map_err(|error| format!("{url:?} is not an address: {error}"))?;
    let host = parsed.host_str().unwrap_or_default();
    if !matches!(parsed.scheme(), "http" | "https") || host.is_empty() {
        return Err(format!("{url:?} is not an address such as https://search.example.com"));
    }
    if parsed.path() != "/" || parsed.query().is_some() || parsed.fragment().is_some() {
        let origin = parsed.origin().ascii_serialization();
        return Err(format!(
            "{url:?} is more than an address: give {origin}, without what follows"
        ));
    }
    Ok(parsed)
}

/// By the look of its name or address.
fn is_near(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    match address {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
        Err(_) => {
            let ends = [".local", ".internal", ".lan", ".localdomain"];
            !host.contains('.') || ends.iter().any(|end| host.ends_with(end))
        }
    }
}

/// `body` as gzip of level 1.
pub fn gzip(body: &[u8]) -> Bytes {
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_amazon_tell_how_to_sign_and_where() {
        let args = ClusterArgs::default();
        let domain = "search-x-abc.eu-west-1.es.amazonaws.com";
        assert_eq!((args.auth(domain), args.region(domain)), (Auth::Aws, Some("eu-west-1".into())));
        let collection = "abc.us-east-2.aoss.amazonaws.com";
        assert_eq!(args.region(collection).as_deref(), Some("us-east-2"));
        assert_eq!((args.auth("localhost"), args.region("localhost")), (Auth::None, None));
        let with_user = ClusterArgs { opensearch_user: Some("loader".into()), ..args };
        assert_eq!(with_user.auth(domain), Auth::Basic);
    }

    #[test]
    fn a_cluster_of_this_network_is_told_by_its_name_or_address() {
        for host in ["localhost", "127.0.0.1", "[::1]", "10.1.2.3", "search", "es.soc.internal"] {
            assert!(is_near(host), "{host}");
        }
        for host in ["search-x.eu-west-1.es.amazonaws.com", "203.0.113.5", "search.example.com"] {
            assert!(!is_near(host), "{host}");
        }
    }

    #[test]
    fn an_address_is_a_scheme_and_a_host_and_nothing_else() {
        assert!(address("http://localhost:9200").is_ok() && address("https://[::1]/").is_ok());
        for (bad, told) in [
            ("localhost:9200", "http://localhost:9200"),
            ("search.example.com", "https://search.example.com"),
            ("ftp://localhost", "not an address"),
            ("https://", "address"),
            ("https://localhost/_search", "give https://localhost,"),
            ("http://localhost:9200?pretty", "give http://localhost:9200,"),
            ("https://loader:secret@localhost", "--opensearch-user"),
            ("loader:secret@localhost", "--opensearch-user"),
        ] {
            let error = address(bad).unwrap_err();
            assert!(error.contains(told) && !error.contains("secret"), "{bad}: {error}");
        }
    }
}
