//! A network that fails on demand, between a client and one of the servers.
//!
//! Each connection carries one request: the proxy adds `Connection: close` to both sides and
//! changes nothing else, so that signatures (which cover `Host`) hold. What it counts are bytes of
//! the answer's body as they are sent, chunk lengths included.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::Server;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Pass,
    /// The connection is reset after so many bytes of the answer's body.
    Reset(usize),
    /// The connection is closed, as if that was all, after so many bytes of the answer's body.
    Truncate(usize),
    /// The body of the answer comes in pieces of so many bytes, with a pause before each.
    Slow(usize, Duration),
    /// The server does not hear of the request; this is the status of the answer.
    Status(u16),
    /// The server has done what it was asked to, but the connection is reset before it can say so.
    LoseAnswer,
    /// The server does not hear of the request, and nobody answers.
    Hang,
    /// The body of the request is damaged at its first byte.
    Corrupt,
}

type Script = Arc<dyn Fn(u64, &str) -> Fault + Send + Sync>;

#[derive(Default)]
struct State {
    script: Option<Script>,
    requests: Vec<String>,
}

pub struct Proxy {
    state: Arc<Mutex<State>>,
    server: Server,
}

impl Proxy {
    /// A proxy in front of `http://<address>` that passes everything for now.
    pub fn start(endpoint: &str) -> Self {
        let upstream = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let server = Server::start(move |client| {
            let state = shared.clone();
            async move {
                // An error is a side that went away, which is for the other one to notice.
                let _ = exchange(client, upstream, &state).await;
            }
        });
        Self { state, server }
    }

    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Lets the program reach S3 through this proxy; to be called after `S3Server::env`.
    pub fn env(&self, command: &mut Command) {
        command.env("AWS_ENDPOINT_URL_S3", self.endpoint());
    }

    /// Decides about each request from its number, from 1 on since this call, and its first line,
    /// such as `GET /logs/key HTTP/1.1`.
    pub fn script(&self, script: impl Fn(u64, &str) -> Fault + Send + Sync + 'static) {
        *self.state.lock().unwrap() =
            State { script: Some(Arc::new(script)), requests: Vec::new() };
    }

    /// The first lines of the requests since the last call of `script`.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

async fn exchange(
    mut client: TcpStream,
    upstream: SocketAddr,
    state: &Mutex<State>,
) -> io::Result<()> {
    let mut request = Message::read(&mut client, Vec::new()).await?;
    let (script, number, line) = {
        let mut state = state.lock().unwrap();
        let line = String::from_utf8_lossy(&request.head);
        let line = line.lines().next().unwrap_or("").to_owned();
        state.requests.push(line.clone());
        (state.script.clone(), state.requests.len() as u64, line)
    };
    let fault = script.map_or(Fault::Pass, |script| script(number, &line));
    match fault {
        Fault::Status(status) => {
            let head = format!(
                "HTTP/1.1 {status} Injected\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            client.write_all(head.as_bytes()).await?;
            return close(client).await;
        }
        Fault::Hang => return drain(&mut client).await,
        Fault::Corrupt => {
            while request.rest.is_empty() && client.read_buf(&mut request.rest).await? > 0 {}
            request.rest[0] ^= 0xff;
        }
        _ => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    let fate = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        to_server.write_all(&request.closing()).await?;
        to_server.write_all(&request.rest).await?;
        let sending = async {
            // Ends at the latest when the client goes away, and so should the server's part.
            let _ = copy(&mut from_client, &mut to_server).await;
            let _ = to_server.shutdown().await;
            pending().await
        };
        tokio::select! {
            fate = answer(&mut from_server, &mut to_client, fault) => fate?,
            never = sending => never,
        }
    };
    match fate {
        Fate::Close => close(client).await,
        Fate::Reset => {
            // A reset overtakes what was sent before it.
            sleep(Duration::from_millis(20)).await;
            client.set_zero_linger()
        }
    }
}

/// How far a message has been read.
struct Message {
    /// The first line and the headers, with the empty line after them.
    head: Vec<u8>,
    /// What came with it of the body.
    rest: Vec<u8>,
}

impl Message {
    /// Reads a head; `bytes` have been read before.
    async fn read(source: &mut (impl AsyncRead + Unpin), mut bytes: Vec<u8>) -> io::Result<Self> {
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = bytes.split_off(end + 4);
                return Ok(Self { head: bytes, rest });
            }
            if source.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// `100 Continue`: the answer is still to come.
    fn is_interim(&self) -> bool {
        self.head.starts_with(b"HTTP/1.1 1")
    }

    /// The head, with `Connection: close`.
    fn closing(&self) -> Vec<u8> {
        let lines = self.head.split_inclusive(|byte| *byte == b'\n');
        let is_other = |line: &&[u8]| {
            let name = line.get(..11).unwrap_or_default();
            !name.eq_ignore_ascii_case(b"connection:") && *line != b"\r\n"
        };
        let mut head = lines.filter(is_other).collect::<Vec<_>>().concat();
        head.extend_from_slice(b"connection: close\r\n\r\n");
        head
    }
}

enum Fate {
    Close,
    Reset,
}

/// Passes the answer on, as far as the fault lets it.
async fn answer(
    server: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    fault: Fault,
) -> io::Result<Fate> {
    let mut answer = Message::read(server, Vec::new()).await?;
    while answer.is_interim() {
        client.write_all(&answer.head).await?;
        answer = Message::read(server, answer.rest).await?;
    }
    if fault == Fault::LoseAnswer {
        return Ok(Fate::Reset);
    }
    client.write_all(&answer.closing()).await?;
    let mut body = answer.rest.as_slice().chain(server);
    match fault {
        Fault::Reset(bytes) => {
            copy(&mut body.take(bytes as u64), client).await?;
            return Ok(Fate::Reset);
        }
        Fault::Truncate(bytes) => _ = copy(&mut body.take(bytes as u64), client).await?,
        Fault::Slow(bytes, pause) => {
            let mut piece = vec![0; bytes];
            loop {
                let length = body.read(&mut piece).await?;
                if length == 0 {
                    break;
                }
                sleep(pause).await;
                client.write_all(&piece[..length]).await?;
            }
        }
        _ => _ = copy(&mut body, client).await?,
    }
    Ok(Fate::Close)
}

/// Says that this is all. A socket that is closed with bytes it has not read resets the connection.
async fn close(mut client: TcpStream) -> io::Result<()> {
    client.shutdown().await?;
    drain(&mut client).await
}

async fn drain(client: &mut TcpStream) -> io::Result<()> {
    let all = async { copy(client, &mut tokio::io::sink()).await };
    let _ = timeout(Duration::from_mins(1), all).await;
    Ok(())
}
