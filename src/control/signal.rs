//! One WebSocket: says hello, joins, passes messages on in both directions, says good-bye.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, interval, sleep_until, timeout, timeout_at};

use super::App;
use super::envelope::{Envelope, EnvelopeError};
use super::error::ApiError;
use super::guard::Host;
use super::limits::{Flood, SocketLimits};
use super::line::{Gone, Line, broken, close};
use super::listen::Peer;
use super::protocol::{
    ClientMessage, Hello, MAX_MESSAGE, MAX_OFFER, OfferText, ServerMessage, Welcome,
};
use super::reach::reach;
use super::stream::Pulse;
use crate::ids::{Identity, RoomName, SessionId};
use crate::io::joiner::{FirstOffer, Reach};
use crate::io::mailbox::{EventReceiver, WorkerHandle, event_queue};
use crate::model::{ErrorCode, Reason, Refusal, Retry};
use crate::worker::command::{Command, Event, Join, Request};

/// Messages that cannot be understood before the socket is closed.
const MAX_BAD: u32 = 10;

/// Pings and pongs of a client in a second.
const MAX_CONTROL: u32 = 10;

/// How long a worker may take to let somebody in.
const LET_IN: Duration = Duration::from_secs(10);

/// A client is asked whether it is there once it was silent for so much longer than it is told to be:
/// one that does as it is told costs no timer and no question.
const LENIENCE: f64 = 1.1;

/// What the others call this node. There is one.
const NODE: &str = "n1";

/// `GET /v1/ws`
pub(super) async fn open(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Extension(pulse): Extension<Pulse>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(host) = Host::of(&headers) else {
        return ApiError::BadRequest("The request needs one Host.").into_response();
    };
    if app.is_stopping() {
        return ApiError::Stopping.into_response();
    }
    let tracker = app.tracker.clone();
    upgrade
        .protocols(["fanlight.v1"])
        .max_message_size(MAX_OFFER)
        // The default of 128 KiB is allocated for each client, and most messages are a line.
        .read_buffer_size(4 * 1024)
        .max_frame_size(MAX_OFFER)
        .on_upgrade(move |socket| {
            tracker.track_future(async move {
                let reach = reach(&app, &host, peer).await;
                let line = Line::new(socket, pulse);
                Visitor { app, line, peer, reach, seq: 0 }.greet().await;
            })
        })
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
        let stop = self.app.stop.clone();
        let first = tokio::select! {
            first = timeout_at(until, self.first()) => first,
            () = stop.cancelled() => return self.line.close(close::AWAY, "the server stops").await,
        };
        let envelope = match first {
            Ok(Ok(envelope)) => envelope,
            Ok(Err((code, reason))) => return self.line.close(code, reason).await,
            Err(_) => return self.line.close(close::SILENT, "no hello").await,
        };
        let (id, hello) = (envelope.id, Hello::read(&envelope));
        // It holds an offer of kilobytes, and the session lasts for hours.
        drop(envelope);
        let result = match hello {
            Ok(hello) => self.join(hello).await,
            Err(refusal) => Err(refusal),
        };
        match result {
            Ok((member, first)) => {
                let mut session = member.into_session(self, id);
                session.run(first).await;
            }
            Err(refusal) => {
                self.app.metrics.joined("refused");
                let text = ServerMessage::error(id, &refusal).render(&mut self.seq);
                let _ = self.line.send(Message::text(text.to_string())).await;
                self.line.close(close::BAD, "hello refused").await;
            }
        }
    }

    /// The first message.
    async fn first(&mut self) -> Result<Envelope, (u16, &'static str)> {
        loop {
            let text = match self.line.recv().await {
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

    /// Lets somebody in; the first event is the room as of that moment.
    async fn join(&mut self, hello: Hello) -> Result<(Member, Event), Refusal> {
        let app = &self.app;
        let wait = |refusal| Refusal { retry_after_ms: Some(1_000), ..refusal };
        if !app.limits.join(self.peer.ip()) {
            app.metrics.refused("joins");
            let text = "Too many joins from this address.";
            return Err(wait(Refusal::new(ErrorCode::RateLimited, text)));
        }
        if !app.rooms.has(&hello.room) && !app.limits.room(self.peer.ip()) {
            app.metrics.refused("rooms");
            let text = "Too many new rooms in a minute.";
            return Err(wait(Refusal::new(ErrorCode::RateLimited, text)));
        }
        let busy = || Refusal::new(ErrorCode::ServerBusy, "The media thread does not answer.");
        let limit = app.config.media.room_packets;
        let placed = app.rooms.place(&hello.room, &app.workers, limit).ok_or_else(busy)?;
        let (home, worker) = (placed.home, placed.worker);
        let session = app.next_session();
        let identity = make_identity(hello.name.as_str())?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let join = Join {
            session,
            room: hello.room.clone(),
            home,
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
        match timeout(LET_IN, events.recv()).await {
            Ok(Some(Event::Refused { refusal, .. })) => Err(refusal),
            Ok(Some(first)) => {
                Ok((Member { session, room: hello.room, worker, events, attached }, first))
            }
            Ok(None) => Err(busy()),
            Err(_) => {
                // Should it be let in after all, nobody would be there.
                let _ = worker.send(Command::Leave { session, reason: Reason::Timeout });
                Err(busy())
            }
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
            flood: Flood::default(),
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
    flood: Flood,
    control: (Instant, u32),
}

impl Session {
    async fn run(&mut self, first: Event) {
        tracing::info!(session = %self.member.session, "joined");
        let told = self.tell(&first).await;
        drop(first);
        let end = match told {
            Ok(()) => self.talk().await,
            Err(Gone) => End::Lost,
        };
        match end {
            End::Goodbye => self.visitor.line.close(close::NORMAL, "goodbye").await,
            End::Left => {
                self.insist(Reason::Client).await;
                self.visitor.line.drain().await;
            }
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

    /// The worker ended the session without a word: its client closed the peer connection, or has
    /// not read what it was told.
    async fn over(&mut self) -> End {
        if self.member.events.overflowed() {
            let _ = self.tell(&too_slow()).await;
        }
        End::Goodbye
    }

    async fn talk(&mut self) -> End {
        let doors = self.visitor.app.config.doors.clone();
        let patience = doors.ping_every.mul_f64(LENIENCE).min(doors.ping_timeout);
        let mut heard = (Instant::now(), self.visitor.line.pulse());
        let mut silence = pin!(sleep_until(heard.0 + patience));
        loop {
            tokio::select! {
                // What has come is read before anybody is called silent.
                biased;
                message = self.visitor.line.recv() => {
                    if let Err(end) = self.hear(message).await {
                        return end;
                    }
                    heard = (Instant::now(), self.visitor.line.pulse());
                    silence.as_mut().reset(heard.0 + patience);
                }
                event = self.member.events.recv() => {
                    let Some(event) = event else { return self.over().await };
                    let last = matches!(event, Event::Goodbye { .. });
                    match self.tell(&event).await {
                        Ok(()) if last => return End::Goodbye,
                        Ok(()) => {}
                        Err(Gone) if last => return End::Goodbye,
                        Err(Gone) => return End::Lost,
                    }
                }
                () = &mut silence => {
                    let pulse = self.visitor.line.pulse();
                    let next = if pulse != heard.1 {
                        // A part of a message came.
                        heard = (Instant::now(), pulse);
                        patience
                    } else if heard.0.elapsed() >= doors.ping_timeout {
                        return End::Lost;
                    } else if self.visitor.line.send(Message::Ping(Bytes::new())).await.is_ok() {
                        doors.ping_timeout
                    } else {
                        return End::Lost;
                    };
                    silence.as_mut().reset(heard.0 + next);
                }
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
        if !self.limits.message(text.len()) {
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
        self.visitor.app.metrics.refused("messages");
        match self.flood.rise(Instant::now().into_std()) {
            Flood::TOLD..Flood::OVER => return Ok(()),
            Flood::OVER.. => return Err(End::Broke(close::FLOOD, "too many messages")),
            0..Flood::TOLD => {}
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
            ClientMessage::Candidate => return self.done(envelope.id).await,
            ClientMessage::Ping { ts } => {
                // A client that does not take the answer is found out by its silence.
                let _ = self.say(ServerMessage::pong(&ts)).await;
                return self.done(envelope.id).await;
            }
            ClientMessage::Unknown if envelope.id.is_none() => return Ok(()),
            ClientMessage::Unknown => {
                let text = format!("type: there is no message {:.40}.", envelope.kind);
                return Err(Refusal::new(ErrorCode::BadMessage, text));
            }
            ClientMessage::Seated { rev } => Request::Seated { rev },
            ClientMessage::Intents(intents) => Request::Intents(intents),
            ClientMessage::Stats => Request::Stats,
            ClientMessage::Mute { track, muted } => Request::Mute { track, muted },
            ClientMessage::Unpublish { track } => Request::Unpublish { track },
        };
        self.ask(envelope.id, request)
    }

    /// Acknowledges what needs no worker.
    async fn done(&mut self, id: Option<u64>) -> Result<(), Refusal> {
        if let Some(id) = id {
            let _ = self.say(ServerMessage::ok(id)).await;
        }
        Ok(())
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

/// What a client is told whose queue of events ran over: the worker's own good-bye had no room.
fn too_slow() -> Event {
    Event::Goodbye { reason: Reason::TooSlow, retry: Retry::Rejoin, after_ms: 1_000 }
}

fn first_offer(offer: OfferText, reach: &Reach) -> FirstOffer {
    let OfferText { nid, sdp, tracks } = offer;
    FirstOffer { nid, sdp, tracks, reach: reach.clone() }
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
