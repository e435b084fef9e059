//! A server of one's own on a free port, and a client that speaks raw WebSocket and HTTP to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fanlight::config::{Config, DoorLimits, MediaLimits};
use fanlight::server::Server;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The longest that anything here may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A running server. Its data directory goes with it.
pub struct TestServer {
    pub port: u16,
    server: Option<Server>,
    data_dir: PathBuf,
}

pub fn config(name: &str) -> Config {
    let data_dir = std::env::temp_dir().join(format!("fanlight-it-{}-{name}", std::process::id()));
    Config {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        public_ips: Vec::new(),
        data_dir,
        workers: 2,
        domains: vec!["meet.example".to_owned()],
        origins: vec!["https://product.example".to_owned()],
        media: MediaLimits::default(),
        doors: DoorLimits::default(),
    }
}

impl TestServer {
    pub async fn start(name: &str) -> Self {
        Self::with(config(name)).await
    }

    pub async fn with(config: Config) -> Self {
        let data_dir = config.data_dir.clone();
        let server = Server::start(config).await.unwrap();
        Self { port: server.local_addr().port(), server: Some(server), data_dir }
    }

    pub async fn stop(mut self) {
        self.server.take().unwrap().stop().await;
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// One request with the given headers; `Host` is the server's own unless it is among them.
    pub async fn http(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        request(stream, &format!("localhost:{}", self.port), (method, path), headers).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.http("GET", path, &[]).await
    }

    /// The metrics once they hold; a report is half a second old.
    pub async fn metrics_until(&self, holds: impl Fn(&str) -> bool) -> String {
        let found = async {
            loop {
                let text = self.get("/metrics").await.body;
                if holds(&text) {
                    return text;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, found).await.expect("the metrics say so in time")
    }

    pub async fn socket(&self) -> Socket {
        let url = format!("ws://localhost:{}/v1/ws", self.port);
        let mut request = url.into_client_request().unwrap();
        let protocol = "fanlight.v1".parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let (line, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        Socket { line, id: 0 }
    }

    /// A client that has joined a room without media, and its welcome.
    pub async fn join(&self, room: &str, name: &str) -> (Socket, Value) {
        let mut socket = self.socket().await;
        socket.send("hello", json!({ "protocols": ["1"], "room": room, "name": name })).await;
        let welcome = socket.next("welcome").await;
        (socket, welcome)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// One request over a stream that stands.
pub async fn request(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    host: &str,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
) -> Answer {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", host);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let answer = tokio::time::timeout(LIMIT, sender.send_request(request)).await;
    let response = answer.expect("an answer in time").unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// A WebSocket to the server.
pub struct Socket {
    pub line: WebSocketStream<TcpStream>,
    id: u64,
}

impl Socket {
    /// Sends a message with an id of its own.
    pub async fn send(&mut self, kind: &str, data: Value) -> u64 {
        self.id += 1;
        self.raw(&json!({ "type": kind, "id": self.id, "data": data }).to_string()).await;
        self.id
    }

    pub async fn raw(&mut self, text: &str) {
        self.line.send(Message::text(text)).await.unwrap();
    }

    /// The next message, whatever it is.
    pub async fn any(&mut self) -> Value {
        loop {
            match self.frame().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    pub async fn frame(&mut self) -> Message {
        let next = tokio::time::timeout(LIMIT, self.line.next()).await;
        next.expect("a frame in time").expect("an open socket").unwrap()
    }

    /// The next message of a kind; others are passed over.
    pub async fn next(&mut self, kind: &str) -> Value {
        loop {
            let message = self.any().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// The code with which the server closes; messages before that are passed over.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.frame().await {
                return frame.map_or(1005, |frame| u16::from(frame.code));
            }
        }
    }

    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.line.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = self.line.next().await {}
    }
}
