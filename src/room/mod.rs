//! Who is in a room, what they publish, and who receives what, on this worker.
//!
//! A room knows members by the worker's [`MemberKey`] and tracks by their line; it never sees a
//! session, a socket or SDP. What it has to say it puts into [`Room::poll`]'s queue.

pub mod fanout;
pub mod messages;
pub mod seating;
pub mod speakers;
mod viewing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::forward::keyframe::KeyframeAsks;
use crate::forward::layers::LayerTable;
use crate::forward::packet::Codec;
use crate::ids::{DisplayName, Identity, RoomName, SeatIndex, TrackId};
use crate::model::{Kind, Notice, ParticipantInfo, Reason, Source, Speaker, TrackInfo};
use fanout::Sink;
use messages::Outbox;
use speakers::Voice;
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
    /// To everybody but `cause`.
    Notice {
        /// Who caused it and knows.
        cause: MemberKey,
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
        publisher: MemberKey,
        /// What.
        track: TrackId,
        /// Whether it can now.
        active: bool,
    },
    /// Who speaks, for everybody.
    Speakers(Arc<[Speaker]>),
    /// A publisher is to be asked for a keyframe.
    AskKeyframe {
        /// Whom.
        publisher: MemberKey,
        /// The line of its track.
        line: u8,
        /// The layer.
        layer: u8,
    },
}

/// What a new member brings.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// Its key.
    pub key: MemberKey,
    /// Who it is.
    pub identity: Identity,
    /// What it is called.
    pub name: DisplayName,
    /// When it came, in milliseconds since 1970.
    pub joined_at: u64,
}

#[derive(Debug)]
struct Member {
    key: MemberKey,
    identity: Identity,
    name: DisplayName,
    joined_at: u64,
    /// Its tracks, as places in the room's list.
    tracks: Vec<usize>,
    came: usize,
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
    announced: bool,
    /// Its seats changed since it was told of them.
    seats_untold: bool,
    unseated: Vec<TrackId>,
    /// The codecs that it decodes.
    decodes: Vec<Codec>,
    told_undecodable: Vec<TrackId>,
    replan: Option<Instant>,
}

/// A track in its room.
#[derive(Debug)]
struct Track {
    info: TrackInfo,
    publisher: usize,
    line: u8,
    codec: Option<Codec>,
    sinks: Vec<Sink>,
    layers: LayerTable,
    asks: KeyframeAsks,
}

/// A room's place for one published track; found once, used for each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrackSlot(pub usize);

/// A room.
#[derive(Debug)]
pub struct Room {
    name: RoomName,
    created_at: u64,
    members: Vec<Option<Member>>,
    tracks: Vec<Option<Track>>,
    came: usize,
    max_seats: u8,
    first_seq: u16,
    events: VecDeque<RoomEvent>,
    seats_untold: bool,
    look: Option<Instant>,
    speaking: Arc<[Speaker]>,
    ask_at: Option<Instant>,
    empty_since: Option<Instant>,
}

impl Room {
    /// An empty room. `first_seq` is where the sequence numbers of its outgoing streams begin.
    #[must_use]
    pub fn new(name: RoomName, created_at: u64, max_seats: u8, first_seq: u16) -> Self {
        Self {
            name,
            created_at,
            members: Vec::new(),
            tracks: Vec::new(),
            came: 0,
            max_seats,
            first_seq,
            events: VecDeque::new(),
            seats_untold: false,
            look: None,
            speaking: Arc::from([]),
            ask_at: None,
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

    /// Its members' keys, in the order in which they came.
    #[must_use]
    pub fn keys(&self) -> Vec<MemberKey> {
        self.in_order().into_iter().map(|member| member.key).collect()
    }

    /// Its members as everybody is told of them, in the order in which they came.
    #[must_use]
    pub fn participants(&self) -> Vec<(MemberKey, ParticipantInfo)> {
        self.in_order().into_iter().map(|member| (member.key, self.describe(member))).collect()
    }

    /// One member as everybody is told of it.
    #[must_use]
    pub fn participant(&self, key: MemberKey) -> Option<ParticipantInfo> {
        self.member(key).map(|(_, member)| self.describe(member))
    }

    /// The member with this identity.
    #[must_use]
    pub fn find(&self, identity: &str) -> Option<MemberKey> {
        let is = |member: &&Member| member.identity.as_str() == identity;
        self.members.iter().flatten().find(is).map(|member| member.key)
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

    /// Takes the next thing that the room has to say. Seats come last and once, as they are then:
    /// whoever is told who sits there has been told who that is.
    pub fn poll(&mut self) -> Option<RoomEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if !self.seats_untold {
            return None;
        }
        let untold = self.members.iter_mut().flatten().find(|member| member.seats_untold);
        self.seats_untold = untold.is_some();
        untold.map(|member| {
            member.seats_untold = false;
            RoomEvent::Seats { to: member.key }
        })
    }

    /// Lets a member in. The others are told once it has its tracks: [`Room::announce`].
    pub fn join(&mut self, new: NewMember) {
        let member = Member {
            key: new.key,
            identity: new.identity,
            name: new.name,
            joined_at: new.joined_at,
            tracks: Vec::new(),
            came: self.came,
            voice: Voice::default(),
            spoke: None,
            outbox: Outbox::default(),
            seats: Vec::new(),
            wanted: 0,
            rev: 0,
            acknowledged: 0,
            connected: false,
            announced: false,
            seats_untold: false,
            unseated: Vec::new(),
            decodes: Vec::new(),
            told_undecodable: Vec::new(),
            replan: None,
        };
        self.came += 1;
        self.empty_since = None;
        put(&mut self.members, member);
    }

    /// Tells the others of a member that has just come.
    pub fn announce(&mut self, key: MemberKey) {
        let Some((at, _)) = self.member(key) else { return };
        if let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) {
            member.announced = true;
        }
        if let Some(info) = self.participant(key) {
            self.events.push_back(RoomEvent::Notice { cause: key, notice: Notice::Joined(info) });
        }
    }

    /// Takes a member out; the others are told before and after.
    pub fn leave(&mut self, key: MemberKey, reason: Reason, now: Instant) {
        let Some((at, member)) = self.member(key) else { return };
        let identity = member.identity.clone();
        let tracks = member.tracks.clone();
        let leaving = Notice::Leaving { identity: identity.clone(), reason };
        self.events.push_back(RoomEvent::Notice { cause: key, notice: leaving });
        for slot in tracks {
            if let Some(track) = self.tracks.get_mut(slot) {
                *track = None;
            }
        }
        if let Some(place) = self.members.get_mut(at) {
            *place = None;
        }
        self.reseat_all(now);
        let left = Notice::Left { identity, reason };
        self.events.push_back(RoomEvent::Notice { cause: key, notice: left });
        if self.is_empty() {
            self.empty_since = Some(now);
        }
        self.look_soon(now);
    }

    /// Publishes a track on a member's line. The others are told, unless the member itself has
    /// not been announced yet: then they learn of its tracks with it.
    pub fn publish(
        &mut self,
        key: MemberKey,
        info: TrackInfo,
        line: u8,
        now: Instant,
    ) -> Option<TrackSlot> {
        let (at, member) = self.member(key)?;
        let (identity, announced) = (member.identity.clone(), member.announced);
        let track = Track {
            info: info.clone(),
            publisher: at,
            line,
            codec: None,
            sinks: Vec::new(),
            layers: LayerTable::default(),
            asks: KeyframeAsks::default(),
        };
        let slot = put(&mut self.tracks, track);
        if let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) {
            member.tracks.push(slot);
        }
        if announced {
            let notice = Notice::Published { identity, track: info };
            self.events.push_back(RoomEvent::Notice { cause: key, notice });
        }
        self.reseat_all(now);
        Some(TrackSlot(slot))
    }

    /// Takes a track away. Whether it was the member's.
    pub fn unpublish(&mut self, key: MemberKey, id: TrackId, now: Instant) -> bool {
        let Some((at, slot)) = self.own_track(key, id) else { return false };
        let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) else { return false };
        member.tracks.retain(|known| *known != slot);
        member.voice.silence();
        let identity = member.identity.clone();
        if let Some(track) = self.tracks.get_mut(slot) {
            *track = None;
        }
        let notice = Notice::Unpublished { identity, track: id };
        self.events.push_back(RoomEvent::Notice { cause: key, notice });
        self.reseat_all(now);
        self.look_soon(now);
        true
    }

    /// Mutes or unmutes a track; from here on no packet of a muted track goes on. Whether it was
    /// the member's.
    pub fn mute(&mut self, key: MemberKey, id: TrackId, muted: bool, now: Instant) -> bool {
        let Some((at, slot)) = self.own_track(key, id) else { return false };
        let Self { members, tracks, events, .. } = self;
        let Some(track) = tracks.get_mut(slot).and_then(Option::as_mut) else { return false };
        if track.info.muted == muted {
            return true;
        }
        track.info.muted = muted;
        track.layers.forget();
        let Some(member) = members.get_mut(at).and_then(Option::as_mut) else { return false };
        if track.info.source == Source::Microphone {
            member.voice.silence();
        }
        let notice =
            Notice::TrackUpdated { identity: member.identity.clone(), track: track.info.clone() };
        events.push_back(RoomEvent::Notice { cause: key, notice });
        self.restart_sinks(slot, now);
        self.look_soon(now);
        true
    }

    /// Whether there is something to poll, or a deadline sooner than `known`. Constant cost.
    #[must_use]
    pub fn wants(&self, known: Option<Instant>) -> bool {
        let soonest = [self.look, self.ask_at].into_iter().flatten().min();
        let sooner = |at: Instant| known.is_none_or(|known| at < known);
        !self.events.is_empty() || self.seats_untold || soonest.is_some_and(sooner)
    }

    /// When [`Room::handle_time`] is due. Walks all seats.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let replan = self.members.iter().flatten().filter_map(Member::due).min();
        [self.look, self.ask_at, replan].into_iter().flatten().min()
    }

    /// Lets time pass.
    pub fn handle_time(&mut self, now: Instant) {
        if self.look.is_some_and(|at| at <= now) {
            self.look = None;
            self.look_for_speakers(now);
        }
        self.open_seats(now);
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

    /// Decides who speaks, and tells it if it changed.
    fn look_for_speakers(&mut self, now: Instant) {
        let mut speaking = Vec::new();
        let mut changed = false;
        for member in self.members.iter_mut().flatten() {
            let before = member.voice.speaks();
            if member.voice.decide(now) {
                member.spoke = Some(now);
                let level = member.voice.level();
                speaking.push(Speaker { identity: member.identity.clone(), level });
            }
            changed |= before != member.voice.speaks();
        }
        speaking.sort_by(|a, b| b.level.total_cmp(&a.level));
        if !speaking.is_empty() {
            self.look_soon(now);
        }
        if *self.speaking != *speaking {
            self.speaking = speaking.into();
            self.events.push_back(RoomEvent::Speakers(self.speaking.clone()));
        }
        if changed {
            self.reseat_all(now);
        }
    }

    fn in_order(&self) -> Vec<&Member> {
        let mut members: Vec<&Member> = self.members.iter().flatten().collect();
        members.sort_by_key(|member| member.came);
        members
    }

    fn member(&self, key: MemberKey) -> Option<(usize, &Member)> {
        let is = |member: &Option<Member>| member.as_ref().is_some_and(|m| m.key == key);
        let at = self.members.iter().position(is)?;
        Some((at, self.members.get(at)?.as_ref()?))
    }

    fn own_track(&self, key: MemberKey, id: TrackId) -> Option<(usize, usize)> {
        let (at, member) = self.member(key)?;
        let is = |slot: &&usize| {
            self.tracks.get(**slot).and_then(Option::as_ref).is_some_and(|t| t.info.id == id)
        };
        member.tracks.iter().find(is).map(|slot| (at, *slot))
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
