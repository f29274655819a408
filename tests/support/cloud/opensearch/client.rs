//! A client for the tests that has nothing in common with the program's.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{super::block_on, ADMIN};

type Error = Box<dyn std::error::Error + Send + Sync>;

pub struct Client {
    /// Host and port.
    address: String,
    secure: Option<Secure>,
}

struct Secure {
    trust: Arc<ClientConfig>,
    /// Who the other side has to be.
    name: &'static str,
}

impl Client {
    pub fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), secure: None }
    }

    /// To a port of this machine, where `name` has to answer.
    pub fn secure(port: u16, trust: Arc<ClientConfig>, name: &'static str) -> Self {
        let secure = Some(Secure { trust, name });
        Self { address: format!("localhost:{port}"), secure }
    }

    pub fn url(&self) -> String {
        let scheme = if self.secure.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// As the administrator, where there are users.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Value), String> {
        let who = self.secure.is_some().then_some(ADMIN);
        self.call_as(who, method, path, body)
    }

    pub fn call_as(
        &self,
        who: Option<(&str, &str)>,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Value), String> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::HOST, &self.address);
        if let Some((user, password)) = who {
            let basic = BASE64_STANDARD.encode(format!("{user}:{password}"));
            request = request.header(header::AUTHORIZATION, format!("Basic {basic}"));
        }
        if body.is_some() {
            // It is taken for lines as well.
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default())).unwrap();
        block_on(self.send(request)).map_err(|e| format!("{method} {}{path}: {e}", self.url()))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(u16, Value), Error> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        match &self.secure {
            None => exchange(stream, request).await,
            Some(secure) => {
                let connector = TlsConnector::from(secure.trust.clone());
                let name = ServerName::try_from(secure.name)?;
                exchange(connector.connect(name, stream).await?, request).await
            }
        }
    }
}

/// One request on a connection of its own.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(u16, Value), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    if body.is_empty() {
        return Ok((status, Value::Null));
    }
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    Ok((status, serde_json::from_slice(&body).unwrap_or_else(|_| text())))
}
