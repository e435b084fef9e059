//! One WebSocket: says hello, joins, passes messages on in both directions, says good-bye.

use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::App;
use super::envelope::{Envelope, EnvelopeError};
use super::error::ApiError;
use super::guard::Host;
use super::limits::SocketLimits;
use super::listen::Peer;
use super::protocol::{
    ClientMessage, Hello, MAX_MESSAGE, MAX_OFFER, OfferText, ServerMessage, Welcome,
};
use super::reach::reach;
use crate::ids::{Identity, RoomName, SessionId};
use crate::io::joiner::{FirstOffer, Reach};
use crate::io::mailbox::{EventReceiver, WorkerHandle, event_queue};
use crate::model::{ErrorCode, Reason, Refusal};
use crate::worker::command::{Command, Event, Join, Request};

/// Messages that cannot be understood before the socket is closed.
const MAX_BAD: u32 = 10;

/// Messages over the rate before the socket is closed.
const MAX_FLOOD: u32 = 100;

/// Pings and pongs of a client in a second.
const MAX_CONTROL: u32 = 10;

/// What the others call this node. There is one.
const NODE: &str = "n1";

mod close {
    pub const NORMAL: u16 = 1000;
    pub const AWAY: u16 = 1001;
    pub const PROTOCOL: u16 = 1002;
    pub const BINARY: u16 = 1003;
    pub const UTF8: u16 = 1007;
    pub const FLOOD_OF_CONTROL: u16 = 1008;
    pub const TOO_LONG: u16 = 1009;
    pub const BAD: u16 = 4400;
    pub const SILENT: u16 = 4408;
    pub const FLOOD: u16 = 4429;
}

/// `GET /v1/ws`
pub(super) async fn open(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(host) = Host::of(&headers) else {
        return ApiError::BadRequest("The request needs one Host.").into_response();
    };
    if app.is_stopping() {
        return ApiError::Stopping.into_response();
    }
    if !app.limits.join(peer.ip()) {
        app.metrics.refused("joins");
        return ApiError::RateLimited.into_response();
    }
    let tracker = app.tracker.clone();
    upgrade
        .protocols(["fanlight.v1"])
        .max_message_size(MAX_OFFER)
        .max_frame_size(MAX_OFFER)
        .on_upgrade(move |socket| {
            tracker.track_future(async move {
                let reach = reach(&app, &host, peer).await;
                let line = Line { socket, stalled: app.config.doors.stalled_writer };
                Visitor { app, line, peer, reach, seq: 0 }.greet().await;
            })
        })
}

/// The socket, with the time that a client has to take what it is sent.
struct Line {
    socket: WebSocket,
    stalled: Duration,
}

/// The client is gone.
#[derive(Debug)]
struct Gone;

impl Line {
    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match timeout(self.stalled, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        if self.send(Message::Close(Some(frame))).await.is_ok() {
            // The client's own close ends the connection in order; it need not come.
            let drained = async { while let Some(Ok(_)) = self.socket.recv().await {} };
            let _ = timeout(Duration::from_secs(1), drained).await;
        }
    }
}

/// Somebody who has not said hello yet.
struct Visitor {
    app: App,
    line: Line,
    peer: Peer,
    reach: Reach,
    seq: u64,
}

impl Visitor {
    async fn greet(mut self) {
        let until = Instant::now() + self.app.config.doors.hello;
        let envelope = match timeout_at(until, self.first()).await {
            Ok(Ok(envelope)) => envelope,
            Ok(Err((code, reason))) => return self.line.close(code, reason).await,
            Err(_) => return self.line.close(close::SILENT, "no hello").await,
        };
        let result = match Hello::read(&envelope) {
            Ok(hello) => self.join(hello).await,
            Err(refusal) => Err(refusal),
        };
        match result {
            Ok(member) => {
                let mut session = member.into_session(self, envelope.id);
                session.run().await;
            }
            Err(refusal) => {
                self.app.metrics.joined("refused");
                let text = ServerMessage::error(envelope.id, &refusal).render(&mut self.seq);
                let _ = self.line.send(Message::text(text.to_string())).await;
                self.line.close(close::BAD, "hello refused").await;
            }
        }
    }

    /// The first message.
    async fn first(&mut self) -> Result<Envelope, (u16, &'static str)> {
        loop {
            let text = match self.line.socket.recv().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Binary(_))) => return Err((close::BINARY, "text only")),
                Some(Ok(Message::Close(_))) | None => return Err((close::NORMAL, "")),
                Some(Err(error)) => return Err(broken(&error)),
            };
            return match Envelope::read(&text) {
                Ok(envelope) if envelope.kind == "hello" => Ok(envelope),
                Ok(_) | Err(_) => Err((close::BAD, "the first message must be hello")),
            };
        }
    }

    async fn join(&mut self, hello: Hello) -> Result<Member, Refusal> {
        let app = &self.app;
        if !app.rooms.has(&hello.room) && !app.limits.room(self.peer.ip()) {
            app.metrics.refused("rooms");
            return Err(Refusal::new(ErrorCode::RateLimited, "Too many new rooms in a minute."));
        }
        let busy = || Refusal::new(ErrorCode::ServerBusy, "No media thread is there.");
        let worker = app.rooms.home(&hello.room, &app.workers).ok_or_else(busy)?;
        let session = app.next_session();
        let identity = make_identity(hello.name.as_str())?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let join = Join {
            session,
            room: hello.room.clone(),
            identity,
            name: hello.name,
            joined_at: u64::try_from(now.as_millis()).unwrap_or(0),
            max_members: app.config.doors.members,
            media: None,
        };
        let attached = hello.offer.is_some();
        let offer = hello.offer.map(|offer| first_offer(offer, &self.reach));
        let (events_in, mut events) = event_queue();
        app.joiner.join(&worker, join, offer, events_in).await?;
        match events.recv().await {
            Some(Event::Refused { refusal, .. }) => Err(refusal),
            Some(first) => {
                Ok(Member { session, room: hello.room, worker, events, attached, first })
            }
            None => Err(busy()),
        }
    }
}

/// Somebody who was let in.
struct Member {
    session: SessionId,
    room: RoomName,
    worker: WorkerHandle,
    events: EventReceiver,
    attached: bool,
    first: Event,
}

impl Member {
    fn into_session(self, visitor: Visitor, hello: Option<u64>) -> Session {
        let limits = SocketLimits::new(&visitor.app.config.doors);
        visitor.app.metrics.joined("ok");
        Session {
            visitor,
            member: self,
            hello,
            limits,
            bad: 0,
            flood: 0,
            control: (Instant::now(), 0),
        }
    }
}

/// Why a session's loop ends.
enum End {
    /// The worker said good-bye.
    Goodbye,
    /// The client left.
    Left,
    /// The client is not heard any more; it may still send media.
    Lost,
    /// The client broke the protocol; media goes on for the grace time.
    Broke(u16, &'static str),
}

/// A participant's WebSocket.
struct Session {
    visitor: Visitor,
    member: Member,
    hello: Option<u64>,
    limits: SocketLimits,
    bad: u32,
    flood: u32,
    control: (Instant, u32),
}

impl Session {
    async fn run(&mut self) {
        tracing::info!(session = %self.member.session, "joined");
        let first = self.member.first.clone();
        let end = match self.tell(&first).await {
            Ok(()) => self.talk().await,
            Err(Gone) => End::Lost,
        };
        match end {
            End::Goodbye => self.visitor.line.close(close::NORMAL, "goodbye").await,
            End::Left => self.insist(Reason::Client).await,
            End::Lost => self.grace().await,
            End::Broke(code, reason) => {
                self.visitor.line.close(code, reason).await;
                self.grace().await;
            }
        }
        tracing::info!(session = %self.member.session, "left");
    }

    /// Media goes on for a while without signaling; what would be said is not heard.
    async fn grace(&mut self) {
        let until = Instant::now() + self.visitor.app.config.doors.grace;
        loop {
            match timeout_at(until, self.member.events.recv()).await {
                Ok(Some(Event::Goodbye { .. }) | None) => return,
                Ok(Some(_)) => {}
                Err(_) => break,
            }
        }
        self.insist(Reason::Timeout).await;
    }

    /// Leaving must arrive, however busy the worker is.
    async fn insist(&mut self, reason: Reason) {
        let session = self.member.session;
        let mut every = interval(Duration::from_millis(50));
        for _ in 0..100 {
            if self.member.worker.send(Command::Leave { session, reason }).is_ok() {
                return;
            }
            every.tick().await;
        }
        tracing::error!(%session, "a worker did not take a leave for five seconds");
    }

    async fn talk(&mut self) -> End {
        let doors = self.visitor.app.config.doors.clone();
        let mut pings = interval(doors.ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                event = self.member.events.recv() => {
                    let Some(event) = event else { return End::Goodbye };
                    let last = matches!(event, Event::Goodbye { .. });
                    match self.tell(&event).await {
                        Ok(()) if last => return End::Goodbye,
                        Ok(()) => {}
                        Err(Gone) if last => return End::Goodbye,
                        Err(Gone) => return End::Lost,
                    }
                }
                message = self.visitor.line.socket.recv() => {
                    heard = Instant::now();
                    match self.hear(message).await {
                        Ok(()) => {}
                        Err(end) => return end,
                    }
                }
                _ = pings.tick() => {
                    if self.visitor.line.send(Message::Ping(Bytes::new())).await.is_err() {
                        return End::Lost;
                    }
                }
                () = tokio::time::sleep_until(heard + doors.ping_timeout) => return End::Lost,
            }
        }
    }

    async fn tell(&mut self, event: &Event) -> Result<(), Gone> {
        let app = self.visitor.app.clone();
        let welcome = Welcome {
            id: self.hello,
            session: self.member.session,
            room: &self.member.room,
            config: &app.config,
            node: NODE,
        };
        for message in ServerMessage::of(event, &welcome) {
            self.say(message).await?;
        }
        Ok(())
    }

    async fn say(&mut self, message: ServerMessage) -> Result<(), Gone> {
        self.visitor.app.metrics.message("out");
        let text = message.render(&mut self.visitor.seq).to_string();
        self.visitor.line.send(Message::text(text)).await
    }

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Text(text))) => self.text(&text).await,
            Some(Ok(Message::Binary(_))) => Err(End::Broke(close::BINARY, "text only")),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.count_control(),
            Some(Ok(Message::Close(frame))) => match frame.map(|frame| frame.code) {
                Some(close::NORMAL | close::AWAY) => Err(End::Left),
                _ => Err(End::Lost),
            },
            Some(Err(error)) => {
                let (code, reason) = broken(&error);
                Err(End::Broke(code, reason))
            }
            None => Err(End::Lost),
        }
    }

    fn count_control(&mut self) -> Result<(), End> {
        let (since, count) = &mut self.control;
        if since.elapsed() >= Duration::from_secs(1) {
            *since = Instant::now();
            *count = 0;
        }
        *count += 1;
        if *count > MAX_CONTROL {
            return Err(End::Broke(close::FLOOD_OF_CONTROL, "too many control frames"));
        }
        Ok(())
    }

    async fn text(&mut self, text: &str) -> Result<(), End> {
        self.visitor.app.metrics.message("in");
        if !self.limits.message() {
            return self.flooded().await;
        }
        let envelope = match Envelope::read(text) {
            Ok(envelope) => envelope,
            Err(EnvelopeError::Broken) => return Err(End::Broke(close::BAD, "not JSON")),
            Err(EnvelopeError::Bad { id, message }) => {
                return self.refuse(id, Refusal::new(ErrorCode::BadMessage, message)).await;
            }
        };
        if text.len() > MAX_MESSAGE && envelope.kind != "offer" {
            return Err(End::Broke(close::TOO_LONG, "over 64 KiB"));
        }
        match ClientMessage::read(&envelope) {
            Ok(message) => match self.carry_out(message, &envelope).await {
                Ok(()) => Ok(()),
                Err(refusal) => self.refuse(envelope.id, refusal).await,
            },
            Err(refusal) => self.refuse(envelope.id, refusal).await,
        }
    }

    async fn flooded(&mut self) -> Result<(), End> {
        self.flood += 1;
        self.visitor.app.metrics.refused("messages");
        if self.flood > MAX_FLOOD {
            return Err(End::Broke(close::FLOOD, "too many messages"));
        }
        // Said once for each flood; every further one would be a flood of our own.
        if self.flood > 1 {
            return Ok(());
        }
        let text = format!(
            "More than {} messages in a second.",
            self.visitor.app.config.doors.messages_per_second
        );
        let refusal =
            Refusal { retry_after_ms: Some(1_000), ..Refusal::new(ErrorCode::RateLimited, text) };
        self.say(ServerMessage::error(None, &refusal)).await.map_err(|Gone| End::Lost)
    }

    async fn refuse(&mut self, id: Option<u64>, refusal: Refusal) -> Result<(), End> {
        let bad = refusal.code == ErrorCode::BadMessage;
        self.say(ServerMessage::error(id, &refusal)).await.map_err(|Gone| End::Lost)?;
        if bad {
            self.bad += 1;
            self.visitor.app.metrics.refused("bad_message");
            if self.bad >= MAX_BAD {
                return Err(End::Broke(close::BAD, "ten messages that cannot be understood"));
            }
        }
        Ok(())
    }

    async fn carry_out(
        &mut self,
        message: ClientMessage,
        envelope: &Envelope,
    ) -> Result<(), Refusal> {
        let request = match message {
            ClientMessage::Offer(offer) => return self.offer(offer, envelope.id).await,
            ClientMessage::Candidate => return Ok(()),
            ClientMessage::Ping { ts } => {
                // A client that does not take the answer is found out by its silence.
                let _ = self.say(ServerMessage::pong(&ts)).await;
                return Ok(());
            }
            ClientMessage::Unknown if envelope.id.is_none() => return Ok(()),
            ClientMessage::Unknown => {
                let text = format!("type: there is no message {:.40}.", envelope.kind);
                return Err(Refusal::new(ErrorCode::BadMessage, text));
            }
            ClientMessage::Seated { rev } => Request::Seated { rev },
            ClientMessage::Mute { track, muted } => Request::Mute { track, muted },
            ClientMessage::Unpublish { track } => Request::Unpublish { track },
        };
        self.ask(envelope.id, request)
    }

    fn ask(&self, id: Option<u64>, request: Request) -> Result<(), Refusal> {
        let command = Command::Request { session: self.member.session, id, request };
        let busy = |busy: crate::io::mailbox::Busy| Refusal {
            retry_after_ms: Some(500),
            ..Refusal::new(ErrorCode::ServerBusy, busy.to_string())
        };
        self.member.worker.send(command).map_err(busy)
    }

    async fn offer(&mut self, offer: OfferText, id: Option<u64>) -> Result<(), Refusal> {
        if !self.limits.offer() {
            let text = format!(
                "More than {} offers in ten seconds.",
                self.visitor.app.config.doors.offers
            );
            return Err(Refusal {
                retry_after_ms: Some(2_000),
                ..Refusal::new(ErrorCode::RateLimited, text)
            });
        }
        if self.member.attached {
            let OfferText { nid, sdp, tracks } = offer;
            return self.ask(id, Request::Offer { nid, sdp, tracks });
        }
        let first = first_offer(offer, &self.visitor.reach);
        let joiner = &self.visitor.app.joiner;
        joiner.attach(&self.member.worker, self.member.session, id, first).await?;
        self.member.attached = true;
        Ok(())
    }
}

fn first_offer(offer: OfferText, reach: &Reach) -> FirstOffer {
    let OfferText { nid, sdp, tracks } = offer;
    FirstOffer { nid, sdp, tracks, reach: reach.clone() }
}

/// How a socket is closed that broke the rules of WebSockets (RFC 6455 section 7.4.1).
fn broken(error: &axum::Error) -> (u16, &'static str) {
    let text = error.to_string().to_ascii_lowercase();
    if text.contains("too long") || text.contains("too big") || text.contains("space limit") {
        (close::TOO_LONG, "over 512 KiB")
    } else if text.contains("utf-8") || text.contains("utf8") {
        (close::UTF8, "not UTF-8")
    } else {
        (close::PROTOCOL, "protocol error")
    }
}

/// An identity that nobody can guess and a person can tell from others: what the name has of
/// ASCII letters and digits, and 64 random bits.
fn make_identity(name: &str) -> Result<Identity, Refusal> {
    let internal = || Refusal::new(ErrorCode::Internal, "The server has no randomness.");
    let slug: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(20)
        .collect();
    let slug = if slug.is_empty() { "guest".to_owned() } else { slug };
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| internal())?;
    let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Identity::new(&format!("{slug}-{random}")).map_err(|_| internal())
}
