//! Every word that the control plane and a worker exchange.
//!
//! Commands and questions go in; events go to one session, answers to whoever asked. All of them
//! are values that are whole in themselves.

use std::sync::Arc;

use crate::forward::layers::Target;
use crate::ids::{DisplayName, Identity, RoomName, SessionId, TrackId, WorkerId};
pub use crate::model::Notice;
use crate::model::{
    Bandwidth, Connection, Intent, Kind, ParticipantInfo, Reason, Refusal, Retry, Source, Speaker,
};
use crate::session::Session;

/// Names a question, so that its [`Answer`] finds the asker. Chosen by the asking shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// What the control plane wants of a worker.
#[derive(Debug)]
pub enum Command {
    /// Let a participant into a room. Answered by [`Event::Joined`] or [`Event::Refused`].
    Join(Join),
    /// The first offer of a session that joined without one, with the engine built for it.
    /// Answered by [`Event::Answer`] or [`Event::Refused`] with the request's id.
    Attach {
        /// Whose it is.
        session: SessionId,
        /// The id of the client's request.
        id: Option<u64>,
        /// The engine, its answer and the tracks of the offer.
        media: Box<Opened>,
    },
    /// A client's request.
    Request {
        /// Whose it is.
        session: SessionId,
        /// The id under which the client wants [`Event::Done`] or [`Event::Refused`].
        id: Option<u64>,
        /// What it wants.
        request: Request,
    },
    /// End a session; the others are told the reason, the client is told good-bye
    /// unless the reason is [`Reason::Client`].
    Leave {
        /// Whose.
        session: SessionId,
        /// Why.
        reason: Reason,
    },
    /// A question about rooms.
    Ask {
        /// Where the answer goes.
        ticket: Ticket,
        /// What is asked.
        question: Question,
    },
    /// Say good-bye to everybody; no session is accepted from now on.
    Shutdown,
}

/// A participant at the door.
#[derive(Debug)]
pub struct Join {
    /// The session's id.
    pub session: SessionId,
    /// The room; made if it is not there.
    pub room: RoomName,
    /// The worker that is the room's home.
    pub home: WorkerId,
    /// Who comes.
    pub identity: Identity,
    /// What it is called.
    pub name: DisplayName,
    /// When, in milliseconds since 1970 (UTC).
    pub joined_at: u64,
    /// Most members that the room may have.
    pub max_members: u32,
    /// The engine built for the offer that came with the hello, if one did.
    pub media: Option<Box<Opened>>,
}

/// An engine built for a first offer: what `io::joiner` hands to the worker.
#[derive(Debug)]
pub struct Opened {
    /// The engine.
    pub session: Session,
    /// The offer's number, to be repeated in the answer.
    pub nid: u64,
    /// The answer as SDP text.
    pub sdp: String,
    /// What the offer publishes.
    pub tracks: Vec<NewTrack>,
}

/// A track as an offer names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTrack {
    /// The m-line that carries it, from the SDP.
    pub mid: String,
    /// The client's own name for it, repeated in the answer.
    pub cid: String,
    /// Where it comes from.
    pub source: Source,
    /// What the publisher calls it.
    pub name: Option<DisplayName>,
    /// Whether it starts muted.
    pub muted: bool,
    /// Width in pixels.
    pub width: Option<u16>,
    /// Height in pixels.
    pub height: Option<u16>,
}

/// The mids that a list of tracks names, in the shape that an offer is checked with.
#[must_use]
pub fn publishes(tracks: &[NewTrack]) -> Vec<(String, Kind)> {
    tracks.iter().map(|track| (track.mid.clone(), track.source.kind())).collect()
}

/// What a client may ask for once it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Another offer. Answered by [`Event::Answer`], then [`Event::Done`].
    Offer {
        /// Its number; must rise.
        nid: u64,
        /// SDP text.
        sdp: String,
        /// What its sending m-lines carry; those known already by mid are left as they are.
        tracks: Vec<NewTrack>,
    },
    /// Mute or unmute one of its own tracks.
    Mute {
        /// Which.
        track: TrackId,
        /// The new state.
        muted: bool,
    },
    /// Take one of its own tracks away.
    Unpublish {
        /// Which.
        track: TrackId,
    },
    /// What its page shows, all of it.
    Intents(Vec<Intent>),
    /// What it is sent, and why it is not more. Answered by [`Event::Stats`].
    Stats,
    /// It knows the occupants of its seats as of this revision.
    Seated {
        /// The revision.
        rev: u64,
    },
}

/// What a session is told. Order matters: what the worker says first happened first.
#[derive(Clone, Debug)]
pub enum Event {
    /// It is in: the first event of every session that is let in.
    Joined {
        /// Everybody else, in the order in which they came, as of this very moment.
        participants: Vec<ParticipantInfo>,
        /// Itself, with its tracks.
        me: ParticipantInfo,
        /// The answer to the offer that came with the hello.
        answer: Option<SdpAnswer>,
        /// Its seats.
        seats: Seats,
    },
    /// A request is refused. With [`Command::Join`]: it is not let in, and this is the last event.
    Refused {
        /// The id of the request; `None` for a join and for requests without an id.
        id: Option<u64>,
        /// Why.
        refusal: Refusal,
    },
    /// A request is done.
    Done {
        /// The id of the request.
        id: u64,
    },
    /// The answer to an offer.
    Answer(SdpAnswer),
    /// Something happened in the room.
    Notice(Arc<Notice>),
    /// Who sits in its seats; always the whole list.
    Seats(Seats),
    /// A track is not sent to this viewer, or cannot be seen by somebody, and why.
    StreamState(StreamState),
    /// Which encodings of its own track somebody wants; `*`: all of them.
    Layers {
        /// Which track.
        track: TrackId,
        /// The rids.
        rids: Vec<String>,
    },
    /// A member, perhaps itself, is connected better or worse than before.
    Quality(Connection),
    /// What it is sent.
    Stats {
        /// The id of the request.
        id: u64,
        /// The answer.
        stats: Box<ViewerStats>,
    },
    /// Who speaks, loudest first. A level: only the newest counts.
    Speakers(Arc<[Speaker]>),
    /// The session is over; the last event.
    Goodbye {
        /// Why.
        reason: Reason,
        /// What the client may do next.
        retry: Retry,
        /// How long it should wait before it does, in milliseconds.
        after_ms: u64,
    },
}

/// An answer to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpAnswer {
    /// The offer's number.
    pub nid: u64,
    /// SDP text with all candidates.
    pub sdp: String,
    /// The client's own name for each track of the offer → its id.
    pub tracks: Vec<(String, TrackId)>,
}

/// Who sits in a session's seats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seats {
    /// Rises with each change; the client answers it with [`Request::Seated`].
    pub rev: u64,
    /// How many seat pairs the client should have.
    pub want: u8,
    /// m-line (mid) → track, only of occupied ones.
    pub occupied: Vec<(String, TrackId)>,
    /// Tracks that have no seat because there are more sources than seats.
    pub unseated: Vec<TrackId>,
}

/// Why a track does not reach a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Which track.
    pub track: TrackId,
    /// The viewer that cannot see it, told to the publisher; `None` when told to the viewer itself.
    pub viewer: Option<Identity>,
    /// Whether packets flow.
    pub active: bool,
    /// The reason in the protocol's words, for example `codec`.
    pub reason: &'static str,
}

/// What one of a viewer's seats carries, and why it is not more.
#[derive(Clone, Debug, PartialEq)]
pub struct SeatStats {
    /// The track.
    pub track: TrackId,
    /// The mid of the receiving section.
    pub mid: String,
    /// The height at which it is shown, in device pixels; `None`: the page has not said.
    pub wanted: Option<u16>,
    /// What of a video is sent.
    pub served: Option<Target>,
    /// How much that is, in bit/s.
    pub bitrate: u64,
    /// Why it is not all that is wanted, in the protocol's words; `none` if it is.
    pub reason: &'static str,
}

/// What a viewer is sent, and what its network carries.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewerStats {
    /// Whose.
    pub identity: Identity,
    /// What its network carries.
    pub bandwidth: Bandwidth,
    /// Its occupied seats.
    pub seats: Vec<SeatStats>,
}

/// A question of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// All rooms of this worker.
    Rooms,
    /// One room.
    Room(RoomName),
    /// What its members on this worker are sent.
    Stats(RoomName),
    /// Close a room: everybody in it leaves with [`Reason::RoomDeleted`].
    CloseRoom(RoomName),
    /// Remove a participant: it leaves with [`Reason::Removed`].
    Remove(RoomName, Identity),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Question::Rooms`].
    Rooms(Vec<RoomInfo>),
    /// To [`Question::Room`]; `None` if it is not here.
    Room(Option<RoomInfo>),
    /// To [`Question::Stats`].
    Stats(Vec<ViewerStats>),
    /// To the questions that change something: whether there was anything to change.
    Done(bool),
}

/// A room as the operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomInfo {
    /// Its name.
    pub name: RoomName,
    /// Since when it is there, in milliseconds since 1970 (UTC): when the first member joined.
    pub created_at: u64,
    /// Its members, in the order in which they came.
    pub participants: Vec<MemberInfo>,
}

/// A member as the operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberInfo {
    /// What everybody sees.
    pub info: ParticipantInfo,
    /// Its session.
    pub session: SessionId,
    /// Whether its media path stands.
    pub connected: bool,
    /// How many of its seats are occupied, audio and video counted apart.
    pub receiving: Vec<(Kind, u32)>,
}
