//! The words that workers exchange about a room that spans several of them.

use std::sync::Arc;

use super::inlet::InletId;
use super::link::Stamp;
use crate::forward::layers::Summary;
use crate::forward::packet::Packet;
use crate::ids::{DisplayName, Identity, RoomName, SessionId, TrackId, WorkerId};
use crate::model::{Connection, ParticipantInfo, Reason, Refusal, Speaker, TrackInfo};

/// What one worker gives to another.
#[derive(Clone, Debug)]
pub enum Message {
    /// A packet of a track. If the way is full, it is dropped.
    Frame(Frame),
    /// A lossy data message. If the way is full, it is dropped.
    Lossy(Box<Post>),
    /// Anything else: it comes, whole and in order, or the link is broken.
    Control(Stamp, Box<Control>),
}

impl Message {
    /// Whether the message may be dropped when the way is full.
    #[must_use]
    pub fn may_be_lost(&self) -> bool {
        !matches!(self, Self::Control(..))
    }
}

/// A packet on its way to another worker. Small integers and a shared payload: nothing is copied
/// but the numbers.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where the receiving worker wants it, in its own words.
    pub inlet: InletId,
    /// What there is of the track at its publisher's: a worker that is sent one layer knows of the
    /// others by this.
    pub layers: Summary,
    /// The packet.
    pub packet: Packet,
}

/// What must not be lost.
#[derive(Clone, Debug)]
pub enum Control {
    /// The link was broken and begins anew. Its stamp says the rest.
    Reset,
    /// To a room's home.
    Ask(RoomName, Ask),
    /// From a room's home.
    Tell(RoomName, Tell),
    /// From worker to worker of a room, over its home.
    Post(Box<Post>),
}

/// What an annex asks its home.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Let somebody in.
    Join(Box<Joining>),
    /// A member publishes a track.
    Publish(SessionId, TrackInfo),
    /// A member takes a track away.
    Unpublish(SessionId, TrackId),
    /// A member mutes (`true`) or unmutes a track.
    Mute(SessionId, TrackId, bool),
    /// A session is over.
    Leave(SessionId, Reason),
    /// How loud members were of late, in dBov.
    Levels(Vec<(SessionId, f32)>),
    /// How a member is doing.
    Status(SessionId, Status),
    /// Nobody of the room is here any more.
    Close,
}

/// Somebody who wants to be let in.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The session.
    pub session: SessionId,
    /// Who it is.
    pub identity: Identity,
    /// What it is called.
    pub name: DisplayName,
    /// When it came, in milliseconds since 1970.
    pub joined_at: u64,
    /// Most members that the room may have.
    pub max_members: u32,
    /// What it publishes from the start.
    pub tracks: Vec<TrackInfo>,
}

/// What an operator sees of a member and only its own worker knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its media path stands.
    pub connected: bool,
    /// Occupied halves of its seats: audio, video.
    pub receiving: (u32, u32),
}

/// What a home tells its annexes.
#[derive(Clone, Debug)]
pub enum Tell {
    /// The room as of now; entries go on from here.
    Open(Box<Snapshot>),
    /// The next thing that happened.
    Entry(Entry),
    /// A session is not let in.
    Refused(SessionId, Refusal),
    /// A worker has no session of the room any more: nothing goes there.
    Forget(WorkerId),
}

/// A room at one point of its order.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When its first member joined, in milliseconds since 1970.
    pub created_at: u64,
    /// Its members in the order in which they came: session, worker, description.
    pub members: Vec<(SessionId, WorkerId, ParticipantInfo)>,
    /// Who speaks.
    pub speaking: Arc<[Speaker]>,
    /// Who is heard; `None`: everybody.
    pub heard: Option<Arc<[SessionId]>>,
}

/// Something that happened in a room. All copies of a room apply the same entries in the same order.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// Somebody came: the session, its worker, and what everybody is told.
    Joined(SessionId, WorkerId, Box<ParticipantInfo>),
    /// A member published a track.
    Published(SessionId, TrackInfo),
    /// A member took a track away.
    Unpublished(SessionId, TrackId),
    /// A member muted or unmuted a track.
    Muted(SessionId, TrackId, bool),
    /// A member left.
    Left(SessionId, Reason),
    /// Who speaks now, loudest first.
    Speakers(Arc<[Speaker]>),
    /// Whose microphones are heard from now on; `None`: everybody's.
    Heard(Option<Arc<[SessionId]>>),
}

/// A letter, from whom, and where to.
#[derive(Clone, Debug)]
pub struct Post {
    /// The room.
    pub room: RoomName,
    /// The worker that wrote it.
    pub by: WorkerId,
    /// The worker that it is for; `None`: all others of the room.
    pub to: Option<WorkerId>,
    /// What it says.
    pub letter: Letter,
}

/// What workers of one room tell each other.
#[derive(Clone, Debug)]
pub enum Letter {
    /// The writer wants these layers of a track, one bit each, at this inlet; none: no more.
    Wish(TrackId, u8, InletId),
    /// Somebody at the writer's waits for a keyframe of this layer; [`HIGHEST`]: of the largest.
    Keyframe(TrackId, u8),
    /// A viewer of the writer's cannot decode a track (`false`), or can again.
    Undecodable(TrackId, Identity, bool),
    /// A member at the writer's is connected better or worse than before.
    Quality(Connection),
    /// A data message.
    Say(Say),
    /// A reliable data message is in the queues of its receivers at the writer's.
    Taken(Taken),
}

/// Instead of a layer's number: the largest that lives at the publisher.
pub const HIGHEST: u8 = u8::MAX;

/// A data message on its way to other workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    /// Whose.
    pub from: SessionId,
    /// The number under which the answer comes.
    pub serial: u64,
    /// For whom; `None`: everybody else.
    pub to: Option<Vec<SessionId>>,
    /// What the receivers' channels are given. The sender in it was written by its worker.
    pub frame: Arc<[u8]>,
    /// It came on the reliable channel.
    pub reliable: bool,
}

/// The answer to a reliable [`Say`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whose message.
    pub from: SessionId,
    /// Which.
    pub serial: u64,
    /// Receivers that were too far behind and lost their channel.
    pub lost: Vec<String>,
}
