//! Janus' door: the VideoRoom plugin over a WebSocket, as its own page uses it. Each person has a
//! session with one handle to be in the room and publish, and one on which it watches: there Janus
//! offers, and offers again as publishers come.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use fanlight::load::clock::Clock;
use fanlight::load::door::{Ask, Door, Line, Told, Visit};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, http::HeaderValue};

/// How long it may take until a person has its session, handles and room.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often Janus hears that the client is there; it gives up after 60 s of silence.
const KEEPALIVE: Duration = Duration::from_secs(25);

/// How long leaving may take.
const PARTING: Duration = Duration::from_secs(2);

/// The peer connection that Janus offers.
const WATCHING: u8 = 1;

/// The plugin's error for a room that somebody has created before.
const ROOM_EXISTS: u64 = 427;

/// The door of one Janus.
#[derive(Clone, Debug)]
pub struct JanusDoor {
    /// Where its WebSocket listens.
    pub signaling: SocketAddr,
    /// Where its media comes from; the port says nothing.
    pub media: SocketAddr,
    /// The clock of the run.
    pub clock: Clock,
}

impl Door for JanusDoor {
    fn address(&self) -> SocketAddr {
        self.media
    }

    fn first_seats(&self) -> usize {
        0
    }

    async fn attend(self, visit: Visit, line: &mut Line) -> Result<(), String> {
        let mut offer = None;
        if visit.publishes {
            let Some(Ask::Offer { sdp, .. }) = line.asks.recv().await else { return Ok(()) };
            offer = Some(sdp);
        }
        let entered = timeout(PATIENCE, Visitor::enter(&self, &visit, line)).await;
        let mut visitor = entered.map_err(|_| "janus does not answer in time".to_owned())??;
        visitor.offer = offer;
        visitor.stay(line).await
    }
}

type Socket = WebSocketStream<TcpStream>;

/// One person's signaling.
struct Visitor {
    socket: Socket,
    transaction: u64,
    session: u64,
    /// The handle that is in the room.
    inside: u64,
    /// The handle that watches, of those who do.
    watching: Option<u64>,
    room: u64,
    /// What it publishes, until it may.
    offer: Option<String>,
    /// Publishers that are to be watched with the next offer, and all that ever were.
    waiting: Vec<u64>,
    known: BTreeSet<u64>,
    /// The watching handle has begun; an offer of it is in flight.
    subscribed: bool,
    pending: bool,
}

impl Visitor {
    /// Connects, and is in the room as soon as Janus says so.
    async fn enter(door: &JanusDoor, visit: &Visit, line: &Line) -> Result<Self, String> {
        let socket = connect(door.signaling).await?;
        line.tell(Told::Began(door.clock.now())).await;
        let number = visit.room.rsplit('-').next().and_then(|word| word.parse::<u64>().ok());
        let room = number.ok_or("a room without a number")? + 1;
        let mut visitor = Self {
            socket,
            transaction: 0,
            session: 0,
            inside: 0,
            watching: None,
            room,
            offer: None,
            waiting: Vec::new(),
            known: BTreeSet::new(),
            subscribed: false,
            pending: false,
        };
        let created = visitor.request(json!({ "janus": "create" })).await?;
        visitor.session = id(&created)?;
        visitor.inside = visitor.attach().await?;
        if visit.watches {
            visitor.watching = Some(visitor.attach().await?);
        }
        visitor.open_room().await?;
        let me = u64::from(visit.person) + 1;
        let join = json!({ "request": "join", "ptype": "publisher", "room": room, "id": me });
        visitor.tell(visitor.inside, join, None).await?;
        Ok(visitor)
    }

    async fn attach(&mut self) -> Result<u64, String> {
        let attach = json!({ "janus": "attach", "plugin": "janus.plugin.videoroom" });
        id(&self.request(attach).await?)
    }

    /// Makes the room, unless somebody has. Nothing in it limits what is measured, and it has no
    /// duties that the load does not ask for.
    async fn open_room(&mut self) -> Result<(), String> {
        let body = json!({
            "request": "create",
            "room": self.room,
            "publishers": 1000,
            "bitrate": 0,
            "fir_freq": 0,
            "audiocodec": "opus",
            "videocodec": "vp8",
            "audiolevel_event": false,
            "notify_joining": false,
            "require_pvtid": false,
        });
        let message = json!({ "janus": "message", "handle_id": self.inside, "body": body });
        let reply = self.request(message).await?;
        match refusal(&reply) {
            Some((code, why)) if code != ROOM_EXISTS => Err(format!("no room, {code}: {why}")),
            _ => Ok(()),
        }
    }

    /// Sends a request and waits for what Janus says to it at once.
    async fn request(&mut self, message: Value) -> Result<Value, String> {
        self.send(message).await?;
        let mine = self.transaction.to_string();
        loop {
            let reply = self.socket.next().await;
            let Some(reply) = read(reply)? else { continue };
            if reply.get("transaction").and_then(Value::as_str) != Some(mine.as_str()) {
                continue;
            }
            return match word(&reply, "/janus") {
                "success" => Ok(reply),
                _ => Err(format!("janus refused: {}", word(&reply, "/error/reason"))),
            };
        }
    }

    /// Sends the plugin something whose answer comes as an event.
    async fn tell(&mut self, handle: u64, body: Value, jsep: Option<Value>) -> Result<(), String> {
        let mut message = json!({ "janus": "message", "handle_id": handle, "body": body });
        if let (Some(jsep), Some(message)) = (jsep, message.as_object_mut()) {
            message.insert("jsep".to_owned(), jsep);
        }
        self.send(message).await
    }

    async fn send(&mut self, mut message: Value) -> Result<(), String> {
        self.transaction += 1;
        if let Some(message) = message.as_object_mut() {
            message.insert("transaction".to_owned(), self.transaction.to_string().into());
            if self.session != 0 {
                message.insert("session_id".to_owned(), self.session.into());
            }
        }
        let sent = self.socket.send(Message::text(message.to_string())).await;
        sent.map_err(|error| format!("the signaling is lost: {error}"))
    }

    /// Carries messages both ways until one side ends it.
    async fn stay(&mut self, line: &mut Line) -> Result<(), String> {
        let mut keepalive = tokio::time::interval(KEEPALIVE);
        keepalive.reset();
        loop {
            tokio::select! {
                ask = line.asks.recv() => match ask {
                    Some(Ask::Answer { sdp, .. }) => {
                        let Some(watching) = self.watching else { continue };
                        let answer = json!({ "type": "answer", "sdp": complete(&sdp) });
                        self.tell(watching, json!({ "request": "start" }), Some(answer)).await?;
                    }
                    Some(Ask::Offer { .. }) => {}
                    Some(Ask::Leave) | None => return self.leave().await,
                },
                message = self.socket.next() => {
                    if let Some(message) = read(message)? {
                        self.handle(&message, line).await?;
                    }
                }
                _ = keepalive.tick() => self.send(json!({ "janus": "keepalive" })).await?,
            }
        }
    }

    async fn leave(&mut self) -> Result<(), String> {
        let parting = async {
            let _ = self.send(json!({ "janus": "destroy" })).await;
            let _ = self.socket.close(None).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = timeout(PARTING, parting).await;
        Ok(())
    }

    async fn handle(&mut self, message: &Value, line: &Line) -> Result<(), String> {
        match word(message, "/janus") {
            "event" => {}
            "error" => return Err(format!("janus refused: {}", word(message, "/error/reason"))),
            "hangup" => return Err(format!("janus hung up: {}", word(message, "/reason"))),
            "timeout" => return Err("janus timed the session out".to_owned()),
            _ => return Ok(()),
        }
        if let Some((code, why)) = refusal(message) {
            return Err(format!("refused, {code}: {why}"));
        }
        let sdp = message.pointer("/jsep/sdp").and_then(Value::as_str).map(str::to_owned);
        let sender = message.get("sender").and_then(Value::as_u64);
        if sender.is_some() && sender == self.watching {
            match sdp {
                Some(sdp) => line.tell(Told::Offer { leg: WATCHING, sdp }).await,
                // An offer is over when its answer has been taken, or when there was none to make.
                None => self.pending = false,
            }
        } else {
            if let Some(sdp) = sdp {
                line.tell(Told::Answer(sdp)).await;
            }
            if word(message, "/plugindata/data/videoroom") == "joined" {
                self.publish().await?;
            }
            self.note_publishers(message);
        }
        self.subscribe().await
    }

    async fn publish(&mut self) -> Result<(), String> {
        let Some(sdp) = self.offer.take() else { return Ok(()) };
        let offer = json!({ "type": "offer", "sdp": complete(&sdp) });
        self.tell(self.inside, json!({ "request": "publish" }), Some(offer)).await
    }

    fn note_publishers(&mut self, message: &Value) {
        let publishers = message.pointer("/plugindata/data/publishers").and_then(Value::as_array);
        let feeds = publishers.into_iter().flatten().filter_map(|one| one.get("id")?.as_u64());
        let new = feeds.filter(|feed| self.known.insert(*feed)).collect::<Vec<_>>();
        self.waiting.extend(new);
    }

    /// Asks for those who came, unless an offer is in flight: after it they are asked for together.
    async fn subscribe(&mut self) -> Result<(), String> {
        let Some(watching) = self.watching.filter(|_| !self.pending) else { return Ok(()) };
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.pending = true;
        let feeds: Vec<Value> =
            self.waiting.drain(..).map(|feed| json!({ "feed": feed })).collect();
        let body = if self.subscribed {
            json!({ "request": "update", "subscribe": feeds })
        } else {
            let room = self.room;
            json!({ "request": "join", "ptype": "subscriber", "room": room, "streams": feeds })
        };
        self.subscribed = true;
        self.tell(watching, body, None).await
    }
}

async fn connect(address: SocketAddr) -> Result<Socket, String> {
    let failed = |error: &dyn std::fmt::Display| format!("janus does not answer: {error}");
    let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    let _ = stream.set_nodelay(true);
    let request = format!("ws://{address}/").into_client_request();
    let mut request = request.map_err(|error| failed(&error))?;
    let protocol = HeaderValue::from_static("janus-protocol");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let opened = tokio_tungstenite::client_async(request, stream).await;
    opened.map(|(socket, _)| socket).map_err(|error| failed(&error))
}

/// The SDP without its promise of further candidates, for which Janus would wait. All are in it.
fn complete(sdp: &str) -> String {
    sdp.replace("a=ice-options:trickle\r\n", "")
}

/// What came, if it is a message of Janus.
fn read(message: Option<Result<Message, tungstenite::Error>>) -> Result<Option<Value>, String> {
    match message {
        Some(Ok(Message::Text(text))) => {
            let message = serde_json::from_str(&text);
            message.map(Some).map_err(|error| format!("janus sent no JSON: {error}"))
        }
        Some(Ok(Message::Close(_))) | None => Err("janus closed the signaling".to_owned()),
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(format!("the signaling is lost: {error}")),
    }
}

fn word<'a>(message: &'a Value, pointer: &str) -> &'a str {
    message.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn id(reply: &Value) -> Result<u64, String> {
    let id = reply.pointer("/data/id").and_then(Value::as_u64);
    id.ok_or_else(|| "janus gave no id".to_owned())
}

/// What the plugin refused, and why.
fn refusal(message: &Value) -> Option<(u64, &str)> {
    let code = message.pointer("/plugindata/data/error_code")?.as_u64()?;
    Some((code, word(message, "/plugindata/data/error")))
}
