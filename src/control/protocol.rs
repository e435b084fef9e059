//! The signaling messages as values: what a client may say, and the JSON of what it is told.
//! `docs/protocol.md` is the contract; the fixtures hold both to it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::envelope::Envelope;
use crate::config::Config;
use crate::ids::{DisplayName, RoomName, SessionId, TrackId};
use crate::model::{ErrorCode, Intent, Notice, Refusal, Source};
use crate::worker::command::{Event, NewTrack, SdpAnswer, SeatStats, Seats, ViewerStats};

/// The protocol version that is spoken here.
const PROTOCOL: &str = "1";

/// Largest `hello` and `offer` in bytes.
pub(super) const MAX_OFFER: usize = 512 * 1024;

/// Largest message of any other kind in bytes.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;

/// Longest `cid` and `mid` in bytes, and most tracks that an offer may list.
const MAX_CID: usize = 128;
const MAX_MID: usize = 16;
const MAX_TRACKS: usize = 16;

/// Most tracks that a list of intents may name; more than a room of hundreds publishes.
const MAX_INTENTS: usize = 1_024;

/// A `hello`.
#[derive(Debug, Deserialize)]
struct HelloData {
    protocols: Vec<String>,
    room: String,
    name: String,
    identity: Option<String>,
    offer: Option<OfferData>,
}

#[derive(Debug, Deserialize)]
struct OfferData {
    nid: u64,
    sdp: String,
    #[serde(default)]
    tracks: Vec<TrackData>,
}

#[derive(Debug, Deserialize)]
struct TrackData {
    mid: String,
    cid: String,
    source: Source,
    name: Option<String>,
    #[serde(default)]
    muted: bool,
    width: Option<u16>,
    height: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MuteData {
    track_id: String,
    muted: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnpublishData {
    track_id: String,
}

#[derive(Debug, Deserialize)]
struct CandidateData {
    #[serde(rename = "candidate")]
    _candidate: String,
    #[serde(rename = "mid")]
    _mid: String,
    #[serde(rename = "ufrag")]
    _ufrag: String,
}

#[derive(Debug, Deserialize)]
struct SeatedData {
    rev: u64,
}

#[derive(Debug, Deserialize)]
struct IntentsData {
    tracks: Vec<IntentData>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntentData {
    track_id: String,
    height: u16,
    #[serde(default)]
    priority: u8,
    #[serde(default)]
    pinned: bool,
}

#[derive(Debug, Deserialize)]
struct PingData {
    ts: Value,
}

/// Somebody who wants to come in.
#[derive(Debug)]
pub(super) struct Hello {
    pub room: RoomName,
    pub name: DisplayName,
    pub offer: Option<OfferText>,
}

/// An offer as it came.
#[derive(Debug)]
pub(super) struct OfferText {
    pub nid: u64,
    pub sdp: String,
    pub tracks: Vec<NewTrack>,
}

/// What a client says once it is in.
#[derive(Debug)]
pub(super) enum ClientMessage {
    Offer(OfferText),
    Candidate,
    Seated { rev: u64 },
    Mute { track: TrackId, muted: bool },
    Unpublish { track: TrackId },
    Intents(Vec<Intent>),
    Stats,
    Ping { ts: Value },
    Unknown,
}

/// What is wrong with a message: a `bad-message` with a place, or a refusal of its own.
pub(super) type Wrong = Refusal;

fn bad(message: impl Into<String>) -> Wrong {
    Refusal::new(ErrorCode::BadMessage, message)
}

impl Hello {
    /// Reads a `hello`.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn read(envelope: &Envelope) -> Result<Self, Wrong> {
        let data: HelloData = envelope.data().map_err(bad)?;
        if !data.protocols.iter().any(|protocol| protocol == PROTOCOL) {
            let text = format!("This server speaks protocol {PROTOCOL}.");
            return Err(Refusal::new(ErrorCode::UnsupportedProtocol, text));
        }
        if data.identity.is_some() {
            let text = "data.identity: without tokens the server makes the identity.";
            return Err(Refusal::new(ErrorCode::NotAllowed, text));
        }
        let room =
            RoomName::new(&data.room).map_err(|error| bad(format!("data.room: {error}.")))?;
        let name =
            DisplayName::new(&data.name).map_err(|error| bad(format!("data.name: {error}.")))?;
        let offer = data.offer.map(|offer| offer.check("data.offer")).transpose()?;
        Ok(Self { room, name, offer })
    }
}

impl OfferData {
    fn check(self, at: &str) -> Result<OfferText, Wrong> {
        if self.tracks.len() > MAX_TRACKS {
            let text = format!("{at}.tracks: at most {MAX_TRACKS} tracks.");
            return Err(Refusal::new(ErrorCode::TooMany, text));
        }
        let check = |(n, track): (usize, TrackData)| track.check(&format!("{at}.tracks.{n}"));
        let tracks = self.tracks.into_iter().enumerate().map(check).collect::<Result<_, _>>()?;
        Ok(OfferText { nid: self.nid, sdp: self.sdp, tracks })
    }
}

impl TrackData {
    fn check(self, at: &str) -> Result<NewTrack, Wrong> {
        if self.mid.is_empty() || self.mid.len() > MAX_MID {
            return Err(bad(format!("{at}.mid: must have 1 to {MAX_MID} bytes.")));
        }
        if self.cid.is_empty() || self.cid.len() > MAX_CID {
            return Err(bad(format!("{at}.cid: must have 1 to {MAX_CID} bytes.")));
        }
        let name = self.name.map(|name| DisplayName::new(&name)).transpose();
        Ok(NewTrack {
            mid: self.mid,
            cid: self.cid,
            source: self.source,
            name: name.map_err(|error| bad(format!("{at}.name: {error}.")))?,
            muted: self.muted,
            width: self.width,
            height: self.height,
        })
    }
}

impl ClientMessage {
    /// Reads a message of a client that is in.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn read(envelope: &Envelope) -> Result<Self, Wrong> {
        Ok(match envelope.kind.as_str() {
            "offer" => {
                let data: OfferData = envelope.data().map_err(bad)?;
                Self::Offer(data.check("data")?)
            }
            "candidate" => {
                let _: CandidateData = envelope.data().map_err(bad)?;
                Self::Candidate
            }
            "seated" => {
                let data: SeatedData = envelope.data().map_err(bad)?;
                Self::Seated { rev: data.rev }
            }
            "mute" => {
                let data: MuteData = envelope.data().map_err(bad)?;
                Self::Mute { track: track(&data.track_id)?, muted: data.muted }
            }
            "unpublish" => {
                let data: UnpublishData = envelope.data().map_err(bad)?;
                Self::Unpublish { track: track(&data.track_id)? }
            }
            "intents" => {
                let data: IntentsData = envelope.data().map_err(bad)?;
                Self::Intents(data.check()?)
            }
            "stats" => Self::Stats,
            "ping" => {
                let data: PingData = envelope.data().map_err(bad)?;
                Self::Ping { ts: data.ts }
            }
            _ => Self::Unknown,
        })
    }
}

impl IntentsData {
    fn check(self) -> Result<Vec<Intent>, Wrong> {
        if self.tracks.len() > MAX_INTENTS {
            let text = format!("data.tracks: at most {MAX_INTENTS} tracks.");
            return Err(Refusal::new(ErrorCode::TooMany, text));
        }
        // A track that is gone by now, or was never there, is wanted in vain and no fault.
        let read = |intent: &IntentData| {
            let IntentData { height, priority, pinned, .. } = *intent;
            Some(Intent { track: TrackId::parse(&intent.track_id)?, height, priority, pinned })
        };
        Ok(self.tracks.iter().filter_map(read).collect())
    }
}

fn track(id: &str) -> Result<TrackId, Wrong> {
    let missing = || Refusal::new(ErrorCode::NoSuchTrack, format!("There is no track {id:.40}."));
    TrackId::parse(id).ok_or_else(missing)
}

/// What the welcome says beside the room.
#[derive(Debug)]
pub(super) struct Welcome<'a> {
    pub id: Option<u64>,
    pub session: SessionId,
    pub room: &'a RoomName,
    pub config: &'a Config,
    pub node: &'a str,
}

/// A message to the client, and whether it changes state and so is numbered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ServerMessage {
    kind: &'static str,
    id: Option<u64>,
    numbered: bool,
    data: Option<Value>,
}

impl ServerMessage {
    fn state(kind: &'static str, data: Value) -> Self {
        Self { kind, id: None, numbered: true, data: Some(data) }
    }

    fn plain(kind: &'static str, data: Value) -> Self {
        Self { kind, id: None, numbered: false, data: Some(data) }
    }

    /// A refusal, under the id of its request if that had one.
    pub fn error(id: Option<u64>, refusal: &Refusal) -> Self {
        Self { id, ..Self::plain("error", json!(refusal)) }
    }

    /// A request is done.
    pub fn ok(id: u64) -> Self {
        Self { kind: "ok", id: Some(id), numbered: false, data: None }
    }

    /// The answer to a ping.
    pub fn pong(ts: &Value) -> Self {
        Self::plain("pong", json!({ "ts": ts }))
    }

    /// The message as JSON; `seq` rises if it is numbered.
    pub fn render(self, seq: &mut u64) -> Value {
        let mut object = Map::new();
        object.insert("type".to_owned(), self.kind.into());
        if let Some(id) = self.id {
            object.insert("id".to_owned(), id.into());
        }
        if self.numbered {
            *seq += 1;
            object.insert("seq".to_owned(), (*seq).into());
        }
        if let Some(data) = self.data {
            object.insert("data".to_owned(), data);
        }
        Value::Object(object)
    }

    /// What an event says to the client it is for. The first one takes `welcome`.
    pub fn of(event: &Event, welcome: &Welcome<'_>) -> Vec<Self> {
        match event {
            Event::Joined { participants, me, answer, seats } => {
                let mut data = welcome.data();
                data["me"] = json!(me);
                data["me"]["permissions"] =
                    json!({ "publish": true, "subscribe": true, "data": true });
                data["participants"] = json!(participants);
                if let Some(answer) = answer {
                    data["answer"] = answer_data(answer);
                }
                let first = Self { id: welcome.id, ..Self::state("welcome", data) };
                vec![first, seats_message(seats)]
            }
            Event::Refused { id, refusal } => vec![Self::error(*id, refusal)],
            Event::Done { id } => vec![Self::ok(*id)],
            Event::Answer(answer) => vec![Self::plain("answer", answer_data(answer))],
            Event::Notice(notice) => vec![notice_message(notice)],
            Event::Seats(seats) => vec![seats_message(seats)],
            Event::StreamState(state) => {
                let mut data = json!({
                    "trackId": state.track,
                    "active": state.active,
                    "reason": state.reason,
                });
                if let Some(viewer) = &state.viewer {
                    data["viewer"] = json!(viewer);
                }
                vec![Self::state("streamState", data)]
            }
            Event::Layers { track, rids } => {
                vec![Self::state("layers", json!({ "trackId": track, "rids": rids }))]
            }
            Event::Quality(connection) => {
                vec![Self::plain("quality", json!({ "participants": [connection] }))]
            }
            Event::Stats { id, stats } => {
                vec![Self { id: Some(*id), ..Self::plain("stats", stats_data(stats)) }]
            }
            Event::Speakers(speakers) => {
                // A float would be written with all the digits of its binary form.
                let speakers: Vec<Value> = speakers
                    .iter()
                    .map(|speaker| {
                        let level = (f64::from(speaker.level) * 100.0).round() / 100.0;
                        json!({ "identity": speaker.identity, "level": level })
                    })
                    .collect();
                vec![Self::plain("speakers", json!({ "speakers": speakers }))]
            }
            Event::Goodbye { reason, retry, after_ms } => {
                let data = json!({ "reason": reason, "retry": retry, "afterMs": after_ms });
                vec![Self::state("goodbye", data)]
            }
        }
    }
}

impl Welcome<'_> {
    fn data(&self) -> Value {
        let doors = &self.config.doors;
        json!({
            "protocol": PROTOCOL,
            "server": { "version": env!("CARGO_PKG_VERSION"), "node": self.node },
            "session": { "id": self.session, "graceMs": millis(doors.grace) },
            "room": self.room,
            "iceServers": [],
            "ping": {
                "intervalMs": millis(doors.ping_every),
                "timeoutMs": millis(doors.ping_timeout),
            },
            "limits": {
                "dataBytes": self.config.media.data_bytes,
                "messageBytes": MAX_MESSAGE,
                "offerBytes": MAX_OFFER,
                "seats": self.config.media.seats,
                "tracks": self.config.media.tracks,
            },
            "resumed": false,
        })
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn answer_data(answer: &SdpAnswer) -> Value {
    let tracks: Map<String, Value> =
        answer.tracks.iter().map(|(cid, id)| (cid.clone(), json!(id))).collect();
    json!({ "nid": answer.nid, "sdp": answer.sdp, "tracks": tracks })
}

/// What a viewer is sent, as JSON: for itself and for operators.
pub(super) fn stats_data(stats: &ViewerStats) -> Value {
    let seat = |seat: &SeatStats| {
        let served = seat.served.map(|served| {
            // More than is measured stands for all that there are.
            let temporal = (served.temporal < u8::MAX).then_some(served.temporal);
            json!({ "layer": served.layer, "temporal": temporal })
        });
        json!({
            "trackId": seat.track,
            "mid": seat.mid,
            "wanted": seat.wanted.map(|height| json!({ "height": height })),
            "served": served,
            "bitrate": seat.bitrate,
            "reason": seat.reason,
        })
    };
    let bandwidth = &stats.bandwidth;
    json!({
        "estimate": bandwidth.estimate,
        "loss": (f64::from(bandwidth.loss) * 1_000.0).round() / 1_000.0,
        "rtt": bandwidth.rtt.map(millis),
        "seats": stats.seats.iter().map(seat).collect::<Vec<_>>(),
    })
}

fn seats_message(seats: &Seats) -> ServerMessage {
    let occupied: Vec<Value> =
        seats.occupied.iter().map(|(mid, track)| json!({ "mid": mid, "trackId": track })).collect();
    ServerMessage::state(
        "seats",
        json!({
            "rev": seats.rev,
            "want": { "audio": seats.want, "video": seats.want },
            "occupied": occupied,
            "unseated": seats.unseated,
        }),
    )
}

fn notice_message(notice: &Notice) -> ServerMessage {
    match notice {
        Notice::Joined(participant) => {
            ServerMessage::state("joined", json!({ "participant": participant }))
        }
        Notice::Leaving { identity, reason } => {
            ServerMessage::state("leaving", json!({ "identity": identity, "reason": reason }))
        }
        Notice::Left { identity, reason } => {
            ServerMessage::state("left", json!({ "identity": identity, "reason": reason }))
        }
        Notice::Published { identity, track } => {
            ServerMessage::state("published", json!({ "identity": identity, "track": track }))
        }
        Notice::Unpublished { identity, track } => {
            ServerMessage::state("unpublished", json!({ "identity": identity, "trackId": track }))
        }
        Notice::TrackUpdated { identity, track } => {
            ServerMessage::state("trackUpdated", json!({ "identity": identity, "track": track }))
        }
    }
}

#[cfg(test)]
mod tests;
