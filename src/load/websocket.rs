//! Fanlight's own door: the envelopes of `docs/protocol.md` over a WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::clock::Clock;
use super::door::{Ask, Door, Line, OfferedTrack, Told, Visit};
use super::tls;

/// Pairs of receive sections in the first offer: as many as the SDK has.
const SEATS: usize = 4;

/// How often the server hears that the client is there; it gives up after 8 s of silence.
const PING: Duration = Duration::from_secs(5);

/// How long connecting, and the answer to a hello, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a closed socket may take to be closed by the server too.
const PARTING: Duration = Duration::from_secs(2);

/// The door of one Fanlight server.
#[derive(Clone, Debug)]
pub struct FanlightDoor {
    address: SocketAddr,
    url: String,
    host: String,
    tls: Option<Arc<tls::Config>>,
    clock: Clock,
}

/// A message of the server, as far as a client looks at it.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    id: Option<u64>,
    #[serde(default)]
    data: Value,
}

impl FanlightDoor {
    /// Finds the server. `http`, `https`, `ws` and `wss` addresses are read.
    ///
    /// # Errors
    /// The address cannot be read or found.
    pub async fn find(server: &str, insecure: bool, clock: Clock) -> Result<Self, String> {
        let (secure, host, port) = split(server)?;
        let mut found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port))
            .await
            .map_err(|error| format!("{host} is not found: {error}"))?;
        let address = found.next().ok_or_else(|| format!("{host} has no address"))?;
        let scheme = if secure { "wss" } else { "ws" };
        let any = insecure || address.ip().is_loopback();
        Ok(Self {
            address,
            url: format!("{scheme}://{host}:{port}/v1/ws"),
            host: host.trim_matches(['[', ']']).to_owned(),
            tls: secure.then(|| tls::config(any)).transpose()?,
            clock,
        })
    }

    /// Whether somebody answers at all, before a thousand people ask.
    ///
    /// # Errors
    /// Nobody does.
    pub async fn knock(&self) -> Result<(), String> {
        let knocked = tokio::time::timeout(PATIENCE, TcpStream::connect(self.address)).await;
        match knocked {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("no server at {}: {error}", self.address)),
            Err(_) => Err(format!("no server at {}: no answer in time", self.address)),
        }
    }

    async fn connect(&self) -> Result<Socket, String> {
        let failed =
            |error: &dyn std::fmt::Display| format!("{} does not answer: {error}", self.url);
        let stream = TcpStream::connect(self.address).await.map_err(|error| failed(&error))?;
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = match &self.tls {
            Some(config) => {
                let stream = tls::connect(config, &self.host, stream).await;
                Box::new(stream.map_err(|error| failed(&error))?)
            }
            None => Box::new(stream),
        };
        let mut request =
            self.url.as_str().into_client_request().map_err(|error| failed(&error))?;
        let protocol = tungstenite::http::HeaderValue::from_static("fanlight.v1");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let opened = tokio_tungstenite::client_async(request, stream).await;
        opened.map(|(socket, _)| socket).map_err(|error| failed(&error))
    }
}

/// What a WebSocket runs over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// Whether TLS is wanted, the host and the port.
fn split(server: &str) -> Result<(bool, String, u16), String> {
    let (scheme, rest) = server.split_once("://").unwrap_or(("http", server));
    let secure = match scheme {
        "http" | "ws" => false,
        "https" | "wss" => true,
        other => return Err(format!("--server: {other} is not http, https, ws or wss")),
    };
    let place = rest.split('/').next().unwrap_or_default();
    let default = if secure { 443 } else { 80 };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| format!("--server: {port} is not a port"))?)
        }
        _ => (place, default),
    };
    if host.is_empty() {
        return Err(format!("--server: there is no host in {server}"));
    }
    Ok((secure, host.to_owned(), port))
}

impl Door for FanlightDoor {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn first_seats(&self) -> usize {
        SEATS
    }

    async fn attend(self, visit: Visit, line: &mut Line) -> Result<(), String> {
        let Some(Ask::Offer { sdp, tracks }) = line.asks.recv().await else { return Ok(()) };
        let connected = tokio::time::timeout(PATIENCE, self.connect()).await;
        let socket = connected.map_err(|_| format!("{} does not answer in time", self.url))??;
        let latest = (String::new(), Vec::new());
        let mut visitor =
            Visitor { socket, nid: 0, seen: 0, latest, again: None, welcomed: false, door: self };
        visitor.greet(&visit, &sdp, &tracks, line).await?;
        visitor.stay(line).await
    }
}

/// One person's signaling.
struct Visitor {
    socket: Socket,
    nid: u64,
    /// Last revision of the seats.
    seen: u64,
    /// The latest offer, and when it is to be sent again because it came too early.
    latest: (String, Vec<OfferedTrack>),
    again: Option<Instant>,
    welcomed: bool,
    door: FanlightDoor,
}

impl Visitor {
    async fn greet(
        &mut self,
        visit: &Visit,
        sdp: &str,
        tracks: &[OfferedTrack],
        line: &Line,
    ) -> Result<(), String> {
        let offer = self.offer(sdp, tracks);
        let hello = json!({
            "protocols": ["1"],
            "room": visit.room,
            "name": format!("Load {}", visit.person),
            "client": { "sdk": "load", "version": env!("CARGO_PKG_VERSION") },
            "offer": offer,
        });
        line.tell(Told::Began(self.door.clock.now())).await;
        self.send("hello", Some(1), hello).await
    }

    fn offer(&mut self, sdp: &str, tracks: &[OfferedTrack]) -> Value {
        self.nid += 1;
        let track = |track: &OfferedTrack| json!({ "mid": track.mid, "cid": format!("c{}", track.mid), "source": track.source });
        let tracks: Vec<Value> = tracks.iter().map(track).collect();
        json!({ "nid": self.nid, "sdp": sdp, "tracks": tracks })
    }

    async fn send(&mut self, kind: &str, id: Option<u64>, data: Value) -> Result<(), String> {
        let mut message = json!({ "type": kind, "data": data });
        if let (Some(id), Some(message)) = (id, message.as_object_mut()) {
            message.insert("id".to_owned(), id.into());
        }
        let sent = self.socket.send(Message::text(message.to_string())).await;
        sent.map_err(|error| format!("the signaling is lost: {error}"))
    }

    /// Carries messages both ways until one side ends it.
    async fn stay(&mut self, line: &mut Line) -> Result<(), String> {
        let mut ping = tokio::time::interval(PING);
        ping.reset();
        loop {
            let again = self.again.unwrap_or_else(|| self.door.clock.now().into());
            tokio::select! {
                ask = line.asks.recv() => match ask {
                    Some(Ask::Offer { sdp, tracks }) => {
                        self.latest = (sdp, tracks);
                        self.offer_latest().await?;
                    }
                    Some(Ask::Answer { .. }) => {}
                    Some(Ask::Leave) | None => return self.leave().await,
                },
                () = sleep_until(again), if self.again.is_some() => self.offer_latest().await?,
                message = self.socket.next() => self.handle(message, line).await?,
                _ = ping.tick() => {
                    let ts = self.door.clock.nanos(self.door.clock.now()) / 1_000_000;
                    self.send("ping", None, json!({ "ts": ts })).await?;
                }
            }
        }
    }

    async fn offer_latest(&mut self) -> Result<(), String> {
        self.again = None;
        let (sdp, tracks) = self.latest.clone();
        let offer = self.offer(&sdp, &tracks);
        self.send("offer", Some(self.nid), offer).await
    }

    /// What the server refuses ends the person, but for what it wants later: an offer goes out
    /// again, and of `seated` there are enough.
    fn refused(&mut self, id: Option<u64>, data: &Value) -> Result<(), String> {
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("code") == "rate-limited" && self.welcomed {
            if id.is_some() {
                let after = data.get("retryAfterMs").and_then(Value::as_u64).unwrap_or(2_000);
                self.again = Some((self.door.clock.now() + Duration::from_millis(after)).into());
            }
            return Ok(());
        }
        Err(format!("refused, {}: {}", text("code"), text("message")))
    }

    async fn leave(&mut self) -> Result<(), String> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let parting = async {
            let _ = self.socket.close(Some(frame)).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = tokio::time::timeout(PARTING, parting).await;
        Ok(())
    }

    async fn handle(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
        line: &Line,
    ) -> Result<(), String> {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.map(|f| format!(" with {}: {}", u16::from(f.code), f.reason));
                return Err(format!("the server closed{}", frame.unwrap_or_default()));
            }
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => return Err(format!("the signaling is lost: {error}")),
            None => return Err("the signaling is lost".to_owned()),
        };
        let Ok(Envelope { kind, id, data }) = serde_json::from_str(&text) else {
            return Err("the server sent what is no envelope".to_owned());
        };
        let word = |pointer: &str| {
            data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        match kind.as_str() {
            "welcome" => {
                self.welcomed = true;
                line.tell(Told::Answer(word("/answer/sdp"))).await;
            }
            "answer" => line.tell(Told::Answer(word("/sdp"))).await,
            "seats" => self.seat(&data, line).await?,
            "error" => self.refused(id, &data)?,
            "goodbye" => return Err(format!("the server said good-bye: {}", word("/reason"))),
            _ => {}
        }
        Ok(())
    }

    /// Says that it sits. Nothing is to be done for it: whose a packet is stands in the packet.
    async fn seat(&mut self, data: &Value, line: &Line) -> Result<(), String> {
        let number = |pointer: &str| data.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let rev = number("/rev");
        if rev < self.seen {
            return Ok(());
        }
        self.seen = rev;
        self.send("seated", None, json!({ "rev": rev })).await?;
        let want = number("/want/audio").min(number("/want/video"));
        line.tell(Told::Want(usize::try_from(want).unwrap_or(0))).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_and_without_scheme_and_port() {
        let read = |text: &str| split(text).unwrap();
        assert_eq!(read("http://127.0.0.1:8443"), (false, "127.0.0.1".to_owned(), 8443));
        assert_eq!(read("https://meet.example/x"), (true, "meet.example".to_owned(), 443));
        assert_eq!(read("[::1]:9"), (false, "[::1]".to_owned(), 9));
        assert_eq!(read("wss://[::1]"), (true, "[::1]".to_owned(), 443));
        for wrong in ["ftp://a", "http://a:b", "http://"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
