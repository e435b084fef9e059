//! Who is in a room, what they publish, and who receives what.
//!
//! A room may span workers; each has a copy with all members and tracks, and seats those members
//! whose sessions it has. What happened comes as entries, in the same order for every copy
//! (`log.rs`). A room knows its own members by the worker's [`MemberKey`] and tracks by their line;
//! it never sees a session, a socket or SDP. What it has to say it puts into [`Room::poll`]'s queue.

mod adapting;
pub mod allocation;
mod catching_up;
pub mod explaining;
pub mod fanout;
pub mod floor;
pub mod log;
pub mod messages;
mod network;
mod pre_roll;
mod relaying;
pub mod seating;
pub mod speakers;
mod trial;
mod upstream;
mod viewing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::forward::keyframe::KeyframeAsks;
use crate::forward::layers::{LayerTable, Summary};
use crate::forward::packet::Codec;
use crate::forward::segment::Segments;
use crate::ids::{DisplayName, Identity, RoomName, SeatIndex, SessionId, TrackId, WorkerId};
use crate::model::{Connection, Kind, Need, Notice, ParticipantInfo, Speaker, TrackInfo};
use crate::relay::message::{Say, Status, Taken};
use crate::relay::outlet::Outlet;
use adapting::Adapting;
use catching_up::CaughtUp;
use explaining::Told;
use fanout::Sink;
use floor::{Floor, Who};
use messages::Outbox;
use pre_roll::PreRoll;
use speakers::Voice;
use upstream::Upstream;
use viewing::Seat;

/// How a worker names a member: the key of its session there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberKey {
    /// Place in the worker's table.
    pub index: u32,
    /// Rises each time the place is used again, so that a stale key finds nothing.
    pub generation: u32,
}

/// What a room has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum RoomEvent {
    /// To everybody here but `cause`.
    Notice {
        /// Who caused it and knows.
        cause: SessionId,
        /// What happened.
        notice: Notice,
    },
    /// A member's seats changed.
    Seats {
        /// Whose.
        to: MemberKey,
    },
    /// A member cannot decode a track; told to both sides.
    Undecodable {
        /// Who cannot.
        viewer: MemberKey,
        /// Who publishes.
        publisher: SessionId,
        /// The publisher's worker.
        at: WorkerId,
        /// What.
        track: TrackId,
        /// Whether it can now.
        active: bool,
    },
    /// Who speaks, for everybody here.
    Speakers(Arc<[Speaker]>),
    /// The home has decided who speaks; every copy of the room is to learn it.
    Decided(Arc<[Speaker]>),
    /// The home has decided who is heard (`None`: everybody); every copy of the room is to learn it.
    Heard(Option<Arc<[SessionId]>>),
    /// How loud members here are, for the home to decide.
    Levels(Vec<(SessionId, f32)>),
    /// A publisher is to be asked for a keyframe.
    AskKeyframe {
        /// Whom.
        publisher: MemberKey,
        /// The line of its track.
        line: u8,
        /// The layer.
        layer: u8,
    },
    /// A publisher elsewhere is to be asked for a keyframe.
    AskFar {
        /// The publisher's worker.
        at: WorkerId,
        /// The track.
        track: TrackId,
        /// The layer.
        layer: u8,
    },
    /// A viewer's network does not carry a video that it wants, or does again.
    Paused {
        /// Whose.
        viewer: MemberKey,
        /// The track.
        track: TrackId,
        /// Whether it is sent nothing of it.
        paused: bool,
    },
    /// Video that waits to be sent, or to be sent again, would only be in the way.
    Forget {
        /// Whose.
        to: MemberKey,
    },
    /// How much a viewer is sent and could use has changed.
    Need {
        /// Whose.
        to: MemberKey,
        /// How much.
        need: Need,
    },
    /// A member here is connected better or worse than before, for everybody in the room.
    Quality(Connection),
    /// Others of a publisher's layers are wanted than before.
    Layers {
        /// Whose.
        publisher: MemberKey,
        /// The line of its track.
        line: u8,
        /// The track.
        track: TrackId,
        /// The layers that somebody wants, one bit each.
        layers: u8,
    },
    /// What this worker wants of a track that is published elsewhere.
    Wish {
        /// The publisher's worker.
        at: WorkerId,
        /// The track.
        track: TrackId,
        /// Its place here.
        slot: TrackSlot,
        /// The layers, one bit each.
        layers: u8,
    },
    /// A data message for members elsewhere.
    Say(Say),
    /// A message from elsewhere is in the queues of its receivers here.
    Taken {
        /// The sender's worker.
        at: WorkerId,
        /// The answer.
        taken: Taken,
    },
}

/// A member that comes.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// Its session.
    pub session: SessionId,
    /// The worker that has the session.
    pub at: WorkerId,
    /// Its key, if the session is here.
    pub key: Option<MemberKey>,
    /// What everybody is told of it.
    pub info: ParticipantInfo,
    /// The lines of its tracks, if it is here.
    pub lines: Vec<(TrackId, u8)>,
}

#[derive(Debug)]
struct Member {
    session: SessionId,
    /// The worker that has its session.
    at: WorkerId,
    /// Its key, if its session is here.
    key: Option<MemberKey>,
    identity: Identity,
    name: DisplayName,
    joined_at: u64,
    /// Its tracks, as places in the room's list.
    tracks: Vec<usize>,
    /// Its place in the order of coming.
    came: usize,
    /// What its worker said of it last, if that is another.
    status: Status,
    voice: Voice,
    spoke: Option<Instant>,
    outbox: Outbox,
    seats: Vec<Seat>,
    /// How many seats it was asked to have.
    wanted: u8,
    rev: u64,
    /// The newest revision that the client said it knows.
    acknowledged: u64,
    connected: bool,
    /// Its seats changed since it was told of them.
    seats_untold: bool,
    unseated: Vec<TrackId>,
    /// The codecs that it decodes.
    decodes: Vec<Codec>,
    told_undecodable: Vec<TrackId>,
    replan: Option<Instant>,
    adapting: Adapting,
    told_quality: Told,
    caught_up: CaughtUp,
}

/// A track in its room.
#[derive(Debug)]
struct Track {
    info: TrackInfo,
    publisher: usize,
    line: u8,
    /// The publisher asked for silence; it is not in the room's order yet.
    held: bool,
    /// It is a microphone that is not heard.
    quiet: bool,
    pre_roll: PreRoll,
    codec: Option<Codec>,
    sinks: Vec<Sink>,
    outlets: Vec<Outlet>,
    /// Workers among those that have got nothing of it yet.
    new_outlets: Vec<WorkerId>,
    /// What the publisher's worker was told that is wanted here.
    wished: u8,
    /// The layers that viewers here needed when a packet last came, one bit each.
    needed: u8,
    layers: LayerTable,
    /// What its publisher's worker said of its layers last, if that is another.
    far: Option<Summary>,
    /// What its publisher was told, if that is here.
    upstream: Upstream,
    asks: KeyframeAsks,
    /// What those are served from who begin to watch.
    segments: Segments,
}

/// A room's place for one published track; found once, used for each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrackSlot(pub usize);

/// A room.
#[derive(Debug)]
pub struct Room {
    name: RoomName,
    here: WorkerId,
    /// Here its order is decided.
    home: bool,
    created_at: u64,
    members: Vec<Option<Member>>,
    tracks: Vec<Option<Track>>,
    came: usize,
    max_seats: u8,
    first_seq: u16,
    events: VecDeque<RoomEvent>,
    seats_untold: bool,
    wishes_untold: bool,
    /// Packets that went on: to viewers and to other workers.
    sent: u64,
    /// Number of the data message that went to other workers last.
    serial: u64,
    look: Option<Instant>,
    speaking: Arc<[Speaker]>,
    /// Who is heard, in this copy; `None`: everybody.
    heard: Option<Arc<[SessionId]>>,
    /// Who is to be heard, at home.
    floor: Floor,
    ask_at: Option<Instant>,
    adapt_at: Option<Instant>,
    /// When those who neither publish nor watch are looked at.
    seldom: Option<Instant>,
    upstream_at: Option<Instant>,
    empty_since: Option<Instant>,
}

/// What a room is made with.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// Its name.
    pub name: RoomName,
    /// The worker that it is on.
    pub here: WorkerId,
    /// Whether its order is decided here.
    pub home: bool,
    /// When its first member joined, in milliseconds since 1970.
    pub created_at: u64,
    /// Most seat pairs of a member.
    pub max_seats: u8,
    /// Microphones that are heard in a large room beside the dominant speaker's; 0: all of them.
    pub loudest: u8,
    /// Where the sequence numbers of its outgoing streams begin.
    pub first_seq: u16,
}

impl Room {
    /// An empty room.
    #[must_use]
    pub fn new(config: RoomConfig) -> Self {
        Self {
            name: config.name,
            here: config.here,
            home: config.home,
            created_at: config.created_at,
            members: Vec::new(),
            tracks: Vec::new(),
            came: 0,
            max_seats: config.max_seats,
            first_seq: config.first_seq,
            events: VecDeque::new(),
            seats_untold: false,
            wishes_untold: false,
            sent: 0,
            serial: 0,
            look: None,
            speaking: Arc::from([]),
            heard: None,
            floor: Floor::new(config.loudest),
            ask_at: None,
            adapt_at: None,
            seldom: None,
            upstream_at: None,
            empty_since: None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    /// When its first member joined, in milliseconds since 1970.
    #[must_use]
    pub fn created_at(&self) -> u64 {
        self.created_at
    }

    /// How many members it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.iter().flatten().count()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.iter().all(Option::is_none)
    }

    /// Since when nobody is in it.
    #[must_use]
    pub fn empty_since(&self) -> Option<Instant> {
        self.empty_since
    }

    /// The keys of its members here, in the order in which they came.
    #[must_use]
    pub fn keys(&self) -> Vec<MemberKey> {
        self.in_order().into_iter().filter_map(|member| member.key).collect()
    }

    /// Its members as everybody is told of them, in the order in which they came.
    #[must_use]
    pub fn participants(&self) -> Vec<(SessionId, ParticipantInfo)> {
        self.in_order().into_iter().map(|member| (member.session, self.describe(member))).collect()
    }

    /// The session of the member with this identity.
    #[must_use]
    pub fn find(&self, identity: &str) -> Option<SessionId> {
        let is = |member: &&Member| member.identity.as_str() == identity;
        self.members.iter().flatten().find(is).map(|member| member.session)
    }

    /// How many packets went on, to viewers and to other workers.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many tracks of each kind are published: audio, video.
    #[must_use]
    pub fn published(&self) -> (u32, u32) {
        let mut count = (0, 0);
        for track in self.tracks.iter().flatten() {
            match track.info.kind {
                Kind::Audio => count.0 += 1,
                Kind::Video => count.1 += 1,
            }
        }
        count
    }

    /// Takes the next thing that has happened; seats are left for [`Room::poll`].
    pub fn poll_event(&mut self) -> Option<RoomEvent> {
        self.events.pop_front()
    }

    /// Takes the next thing that the room has to say. Seats come last and once, as they are then:
    /// whoever is told who sits there has been told who that is.
    pub fn poll(&mut self) -> Option<RoomEvent> {
        if let Some(event) = self.poll_event() {
            return Some(event);
        }
        if !self.seats_untold {
            return None;
        }
        let untold = self.members.iter_mut().flatten().find(|member| member.seats_untold);
        self.seats_untold = untold.is_some();
        let member = untold?;
        member.seats_untold = false;
        member.key.map(|to| RoomEvent::Seats { to })
    }

    /// Whether there is something to poll, or a deadline sooner than `known`. Constant cost.
    #[must_use]
    pub fn wants(&self, known: Option<Instant>) -> bool {
        let soonest = self.own_deadline();
        let sooner = |at: Instant| known.is_none_or(|known| at < known);
        !self.events.is_empty()
            || self.seats_untold
            || self.wishes_untold
            || soonest.is_some_and(sooner)
    }

    /// When [`Room::handle_time`] is due. Walks all seats.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let replan = self.members.iter().flatten().filter_map(Member::due).min();
        [self.own_deadline(), replan].into_iter().flatten().min()
    }

    fn own_deadline(&self) -> Option<Instant> {
        [self.look, self.ask_at, self.adapt_at, self.upstream_at].into_iter().flatten().min()
    }

    /// Lets time pass.
    pub fn handle_time(&mut self, now: Instant) {
        if self.look.is_some_and(|at| at <= now) {
            self.look = None;
            if self.home {
                self.look_for_speakers(now);
            } else {
                self.report_levels(now);
            }
        }
        self.open_seats(now);
        if self.adapt_at.is_some_and(|at| at <= now) {
            self.adapt(now);
        }
        if self.upstream_at.is_some_and(|at| at <= now) {
            self.upstream_at = None;
            self.wishes_untold = true;
        }
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_keyframes(now);
        }
    }

    /// A level of a member's microphone was heard.
    fn hear(&mut self, member: usize, level: i8, now: Instant) {
        if let Some(member) = self.members.get_mut(member).and_then(Option::as_mut) {
            member.voice.hear(level, now);
        }
        self.look_soon(now);
    }

    fn look_soon(&mut self, now: Instant) {
        self.look.get_or_insert(now + speakers::EVERY);
    }

    /// Decides who speaks, and says so if it changed.
    fn look_for_speakers(&mut self, now: Instant) {
        let (mut speaking, mut voices) = (Vec::new(), Vec::new());
        for (at, member) in self.members.iter_mut().enumerate() {
            let Some(member) = member else { continue };
            if member.voice.decide(now) {
                let level = member.voice.level();
                speaking.push(Speaker { identity: member.identity.clone(), level });
                voices.push((Who { member: at, session: member.session }, member.voice));
            }
        }
        self.look_at_floor(&voices, now);
        let (members, dominant) = (&self.members, self.floor.dominant());
        let dominates = |speaker: &Speaker| {
            let is = |m: &&Member| Some(m.session) == dominant;
            members.iter().flatten().find(is).is_some_and(|m| m.identity == speaker.identity)
        };
        speaking.sort_by(|a, b| b.level.total_cmp(&a.level));
        speaking.sort_by_key(|speaker| !dominates(speaker));
        if !speaking.is_empty() {
            self.look_soon(now);
        }
        if *self.speaking != *speaking {
            self.events.push_back(RoomEvent::Decided(speaking.into()));
        }
    }

    fn in_order(&self) -> Vec<&Member> {
        let mut members: Vec<&Member> = self.members.iter().flatten().collect();
        members.sort_by_key(|member| member.came);
        members
    }

    fn member(&self, key: MemberKey) -> Option<(usize, &Member)> {
        let is = |member: &Option<Member>| member.as_ref().is_some_and(|m| m.key == Some(key));
        let at = self.members.iter().position(is)?;
        Some((at, self.members.get(at)?.as_ref()?))
    }

    fn by_session(&self, session: SessionId) -> Option<usize> {
        let is = |member: &Option<Member>| member.as_ref().is_some_and(|m| m.session == session);
        self.members.iter().position(is)
    }

    fn by_track(&self, id: TrackId) -> Option<usize> {
        let is = |track: &Option<Track>| track.as_ref().is_some_and(|t| t.info.id == id);
        self.tracks.iter().position(is)
    }

    fn describe(&self, member: &Member) -> ParticipantInfo {
        let info = |slot: &usize| self.tracks.get(*slot)?.as_ref().map(|track| track.info.clone());
        ParticipantInfo {
            identity: member.identity.clone(),
            name: member.name.clone(),
            joined_at: member.joined_at,
            tracks: member.tracks.iter().filter_map(info).collect(),
        }
    }
}

/// What a member's seat holds, in words for the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The seat.
    pub seat: SeatIndex,
    /// Which half.
    pub kind: Kind,
    /// Whose track.
    pub track: TrackId,
}

/// Puts a value into the first free place of a list whose places keep their numbers.
fn put<T>(list: &mut Vec<Option<T>>, value: T) -> usize {
    if let Some(at) = list.iter().position(Option::is_none)
        && let Some(place) = list.get_mut(at)
    {
        *place = Some(value);
        return at;
    }
    list.push(Some(value));
    list.len() - 1
}

/// How often a forwarder that waits for a keyframe asks for one again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
