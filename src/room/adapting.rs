//! What each viewer is sent of each video in its seats: what it wants, what there is, and what its
//! network carries, brought together whenever one of them changes.

use std::time::{Duration, Instant};

use super::allocation::{Ask, Sum, allocate, first_least, least, next_step, with_spare};
use super::catching_up::CaughtUp;
use super::network::Network;
use super::seating::{PINNED, Pair};
use super::trial::Trial;
use super::viewing::Seat;
use super::{Member, MemberKey, Room, RoomEvent, Track};
use crate::forward::layers::{Ladder, Rung, Target, bit};
use crate::ids::TrackId;
use crate::model::{Bandwidth, Intent, Kind, Need};

/// How often a viewer is looked at without need: rates change.
const LOOK: Duration = Duration::from_secs(1);

/// How often one that neither publishes nor watches is looked at, all of them together: only its
/// connection may have become worse.
const SELDOM: Duration = Duration::from_secs(5);

/// Those whose turn comes within this are looked at together: to find out whose turn it is takes a walk
/// over all.
const TOGETHER: Duration = Duration::from_millis(20);

/// How soon a viewer that lacks something is looked at when its estimate rises.
const SOON: Duration = Duration::from_millis(100);

/// A picture is tall enough with so much of the height at which it is shown.
const TALL_ENOUGH: (u32, u32) = (9, 10);

/// What a video of which nothing is known yet is taken to need, in bit/s: the estimator looks for
/// that before the first packet comes.
const UNKNOWN: u64 = 1_500_000;

/// The most that a sound is taken to need, in bit/s.
const SOUND: u32 = 64_000;

/// What is sent while nothing is known of a track: whatever begins first.
const WHATEVER: Target = Target { layer: u8::MAX, temporal: u8::MAX };

/// One viewer's part in it.
#[derive(Debug, Default)]
pub(super) struct Adapting {
    network: Network,
    /// What its page shows; `None`: it has not said, so everything in full.
    intents: Option<Vec<Intent>>,
    due: Option<Instant>,
    need: Need,
    trial: Trial,
    /// Videos of which it was told that its network does not carry them.
    paused: Vec<TrackId>,
}

impl Adapting {
    /// What the viewer's network carries.
    pub fn bandwidth(&self) -> Bandwidth {
        self.network.bandwidth()
    }
}

/// A video in one of a viewer's seats.
struct Watched<'a> {
    seat: usize,
    track: &'a Track,
    ladder: Ladder,
    intent: Intent,
    /// How many rungs of the ladder are of use, and how many it has.
    useful: usize,
    held: usize,
    target: Option<Target>,
    sends: Option<Target>,
}

/// What one seat is given.
struct Given {
    seat: usize,
    track: TrackId,
    target: Option<Target>,
    /// What is sent until the target begins takes more than there is.
    stop_old: bool,
    /// It is wanted, and something of it could be had.
    wanted: bool,
}

impl Track {
    /// Whether the publisher sends smaller pictures than it did, and than are wanted.
    pub(super) fn falls_short(&self, ladder: &Ladder, wanted: Option<u16>) -> bool {
        let there = ladder.rungs().iter().fold(0, |bits, rung| bits | bit(rung.target.layer));
        let missing = self.layers.known() & !there != 0;
        missing && self.useful(ladder, wanted.unwrap_or(u16::MAX)) == ladder.rungs().len()
    }

    /// How many rungs of a ladder are of use at this height.
    fn useful(&self, ladder: &Ladder, height: u16) -> usize {
        let rungs = ladder.rungs();
        let Some(full) = self.info.height.filter(|_| height > 0) else {
            return if height == 0 { 0 } else { rungs.len() };
        };
        let top = rungs.iter().map(|rung| rung.target.layer).max().unwrap_or(0);
        // Each layer is half as tall as the one above it.
        let tall = |layer: u8| u32::from(full >> u32::from(top.saturating_sub(layer)));
        let (share, of) = TALL_ENOUGH;
        let enough = (0..=top).find(|layer| tall(*layer) * of >= u32::from(height) * share);
        let enough = enough.unwrap_or(top);
        // If that one cannot be had, the next one can.
        let enough = rungs.iter().map(|rung| rung.target.layer).find(|layer| *layer >= enough);
        rungs.iter().filter(|rung| Some(rung.target.layer) <= enough).count()
    }
}

impl Member {
    /// What this viewer wants of a track.
    fn intent(&self, track: &Track) -> Intent {
        let whole = Intent { track: track.info.id, height: u16::MAX, priority: 0, pinned: false };
        match &self.adapting.intents {
            None => whole,
            Some(intents) => intents
                .iter()
                .find(|intent| intent.track == track.info.id)
                .copied()
                .unwrap_or(Intent { height: 0, ..whole }),
        }
    }

    /// The members of whose tracks this viewer has pinned one.
    pub(super) fn pinned(&self, tracks: &[Option<Track>]) -> Vec<usize> {
        let pinned = self.adapting.intents.iter().flatten().filter(|intent| intent.pinned);
        let track = |intent: &Intent| {
            let is = |track: &&Track| track.info.id == intent.track;
            tracks.iter().flatten().find(is)
        };
        pinned.filter_map(track).map(|track| track.publisher).collect()
    }

    /// The height at which this viewer shows a track, if it has said so, and how many rungs of the
    /// track's ladder are of use to it.
    pub(super) fn wants(&self, track: &Track, ladder: &Ladder) -> (Option<u16>, usize) {
        let height = self.intent(track).height;
        let said = self.adapting.intents.is_some() && track.info.kind == Kind::Video;
        (said.then_some(height), track.useful(ladder, height))
    }

    /// Whether a picture that it wants is not sent to it at all.
    pub(super) fn lacks_picture(&self) -> bool {
        !self.adapting.paused.is_empty()
    }

    /// Whether it is sent less than it wants.
    pub(super) fn lacks_detail(&self) -> bool {
        self.adapting.need.sent < self.adapting.need.full
    }

    /// What this viewer's network carries.
    pub(super) fn bandwidth(&self) -> Bandwidth {
        self.adapting.bandwidth()
    }

    /// This viewer is to be looked at anew.
    pub(super) fn adapt_at(&mut self, at: Instant) {
        let due = self.adapting.due.get_or_insert(at);
        *due = at.min(*due);
    }

    /// It neither publishes nor watches.
    fn is_idle(&self) -> bool {
        self.tracks.is_empty() && self.seats.iter().all(Seat::is_free)
    }

    /// The videos in its seats that are not silent.
    fn watched<'a>(&self, tracks: &'a [Option<Track>], now: Instant) -> Vec<Watched<'a>> {
        let mut all = Vec::new();
        for (at, seat) in self.seats.iter().enumerate() {
            let half = seat.half(Kind::Video);
            let track = half.slot().and_then(|slot| tracks.get(slot)?.as_ref());
            let Some(track) = track.filter(|track| !track.is_silent()) else { continue };
            let ladder = track.layers.ladder(track.there(now));
            let (intent, target) = (self.intent(track), half.forwarder.target());
            let has = |rung: &&Rung| target.is_some_and(|target| rung.target <= target);
            all.push(Watched {
                seat: at,
                track,
                intent,
                useful: track.useful(&ladder, intent.height),
                held: ladder.rungs().iter().filter(has).count(),
                ladder,
                target,
                sends: half.forwarder.sends(),
            });
        }
        all
    }

    /// What the sound in its seats takes, in bit/s.
    fn sound(&self, tracks: &[Option<Track>]) -> u64 {
        let track = |seat: &Seat| {
            let slot = seat.half(Kind::Audio).slot()?;
            tracks.get(slot)?.as_ref().filter(|track| !track.is_silent() && !track.quiet)
        };
        let rate = |track: &Track| track.layers.ladder(1).rungs().last().map_or(0, |rung| rung.bps);
        let rates = self.seats.iter().filter_map(track).map(|track| rate(track).min(SOUND));
        rates.map(u64::from).sum()
    }
}

impl Watched<'_> {
    fn ask(&self, useful: usize) -> Ask<'_> {
        Ask {
            rungs: self.ladder.rungs(),
            useful,
            held: self.held,
            first: self.intent.pinned || self.track.info.source.is_screen(),
            priority: self.intent.priority,
            height: self.intent.height,
        }
    }

    /// Whether nothing is known of it yet, and it is wanted.
    fn is_unknown(&self) -> bool {
        self.ladder.rungs().is_empty() && self.intent.height > 0
    }

    fn rung(&self, count: usize) -> Option<&Rung> {
        count.checked_sub(1).and_then(|top| self.ladder.rungs().get(top))
    }

    /// How many rungs take no more than this.
    fn within(&self, rate: u64) -> usize {
        self.ladder.rungs().iter().filter(|rung| u64::from(rung.bps) <= rate).count()
    }

    fn cost(&self, count: usize) -> u64 {
        self.rung(count).map_or(0, |rung| u64::from(rung.bps))
    }

    /// What so many rungs mean for its seat. `left` of the budget is not given to anybody.
    fn give(&self, count: usize, left: u64) -> Given {
        let target = self.rung(count).map(|rung| rung.target);
        let target = target.or_else(|| self.is_unknown().then_some(WHATEVER));
        let room = left.saturating_add(self.cost(count));
        let dear = |sent: Target| {
            let down = target.is_some_and(|target| target.layer < sent.layer);
            down && self.track.layers.least(sent.layer) > room
        };
        Given {
            seat: self.seat,
            track: self.track.info.id,
            target,
            stop_old: self.sends.is_some_and(dear),
            wanted: self.useful > 0,
        }
    }
}

impl Room {
    /// A viewer says what its page shows: all of it, each time.
    pub fn intend(&mut self, key: MemberKey, intents: Vec<Intent>, now: Instant) {
        let Some((at, _)) = self.member(key) else { return };
        let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) else { return };
        let before = member.pinned(&self.tracks);
        member.adapting.intents = Some(intents);
        if member.pinned(&self.tracks) != before {
            member.leave_out_sound();
            self.rebuild_sinks();
        }
        self.reseat(at, now);
        self.rebuild_sinks();
        self.adapt_soon(at, now);
    }

    /// What a viewer's network carries, as of now.
    pub fn carries(&mut self, key: MemberKey, bandwidth: Bandwidth, now: Instant) {
        let Some((at, _)) = self.member(key) else { return };
        let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) else { return };
        let before = member.adapting.network.learn(bandwidth, now);
        let Need { sent, full, .. } = member.adapting.need;
        // Less is acted on at once, more waits for its turn.
        let less = bandwidth.estimate < before - before / 20 || bandwidth.flooded;
        if less || bandwidth.squeezed {
            self.adapt_soon(at, now);
        } else if bandwidth.estimate > before && sent < full {
            self.adapt_soon(at, now + SOON);
        }
    }

    /// How much a viewer's page shows of a pair, for [`Candidate::shown`]. A pair without a picture is
    /// heard, and counts like one that is shown.
    ///
    /// [`Candidate::shown`]: super::seating::Candidate::shown
    pub(super) fn shown(&self, viewer: usize, pair: Pair) -> u16 {
        let publisher = self.members.get(pair.member).and_then(Option::as_ref);
        let viewer = self.members.get(viewer).and_then(Option::as_ref);
        let (Some(publisher), Some(viewer)) = (publisher, viewer) else { return 0 };
        let tracks = publisher.tracks.iter().filter_map(|slot| self.tracks.get(*slot)?.as_ref());
        let picture = |track: &&Track| {
            track.info.kind == Kind::Video && track.info.source.is_screen() == pair.screen
        };
        match tracks.filter(picture).map(|track| viewer.intent(track)).next() {
            Some(Intent { height: 0, .. }) => 0,
            Some(Intent { pinned: true, .. }) => PINNED,
            Some(Intent { priority, .. }) => 1 + u16::from(priority),
            None => 1,
        }
    }

    /// How many members here are sent less than they want, and how many videos are not sent to somebody
    /// whose network does not carry them; and the bytes that are kept for those who begin to watch.
    #[must_use]
    pub fn adapted(&self) -> (u32, u32, u64) {
        let (mut limited, mut paused) = (0, 0);
        for member in self.members.iter().flatten().filter(|member| member.key.is_some()) {
            limited += u32::from(member.lacks_detail());
            paused += u32::try_from(member.adapting.paused.len()).unwrap_or(u32::MAX);
        }
        let kept = self.tracks.iter().flatten().map(|track| track.segments.bytes() as u64).sum();
        (limited, paused, kept)
    }

    /// A viewer is to be looked at anew.
    pub(super) fn adapt_soon(&mut self, member: usize, at: Instant) {
        if let Some(member) = self.members.get_mut(member).and_then(Option::as_mut)
            && member.key.is_some()
        {
            member.adapt_at(at);
            self.adapt_at = Some(self.adapt_at.map_or(at, |other| other.min(at)));
        }
    }

    /// Everybody here is to be looked at anew.
    pub(super) fn adapt_all(&mut self, at: Instant) {
        (0..self.members.len()).for_each(|member| self.adapt_soon(member, at));
    }

    /// Looks at those whose turn it is.
    pub(super) fn adapt(&mut self, now: Instant) {
        let seldom = self.seldom.filter(|at| *at > now).unwrap_or(now + SELDOM);
        self.seldom = Some(seldom);
        for at in 0..self.members.len() {
            let member = self.members.get(at).and_then(Option::as_ref);
            if member.and_then(|m| m.adapting.due).is_some_and(|due| due <= now) {
                self.adapt_member(at, now);
                if let Some(member) = self.members.get_mut(at).and_then(Option::as_mut)
                    && member.is_idle()
                {
                    member.adapting.due = member.adapting.due.map(|_| seldom);
                }
            }
        }
        let dues = self.members.iter().flatten().filter_map(|member| member.adapting.due);
        self.adapt_at = dues.min().map(|at| at.max(now + TOGETHER));
    }

    /// Decides what one viewer is sent, and says what follows from it.
    fn adapt_member(&mut self, at: usize, now: Instant) {
        let Self { members, tracks, events, .. } = self;
        let Some(member) = members.get_mut(at).and_then(Option::as_mut) else { return };
        member.adapting.due = member.connected.then_some(now + LOOK);
        let (Some(key), true) = (member.key, member.connected) else { return };
        let flooded = member.adapting.network.is_newly_flooded(now);
        if flooded {
            events.push_back(RoomEvent::Forget { to: key });
        }
        let anew = member.adapting.network.has_run_off() || flooded;
        if anew {
            // What is forgotten leaves holes, and a keyframe may have been among it. It is not on its
            // way any more, either.
            member.caught_up = CaughtUp::default();
            let pictures = member.seats.iter_mut().map(|seat| seat.half_mut(Kind::Video));
            pictures.for_each(|half| half.forwarder.restart());
        }
        let sound = member.sound(tracks);
        let (given, sum) = decide(member, tracks, sound, now);
        let mut changed = anew;
        for Given { seat, track, target, stop_old, wanted } in &given {
            let Some(seat) = member.seats.get_mut(*seat) else { continue };
            let forwarder = &mut seat.half_mut(Kind::Video).forwarder;
            changed |= forwarder.aim(*target);
            if *stop_old {
                forwarder.stop_old();
            }
            let paused = *wanted && target.is_none();
            let told = &mut member.adapting.paused;
            if paused != told.contains(track) {
                told.retain(|known| known != track);
                told.extend(paused.then_some(*track));
                events.push_back(RoomEvent::Paused { viewer: key, track: *track, paused });
            }
        }
        member.adapting.paused.retain(|track| given.iter().any(|each| each.track == *track));
        // To look for more just after it got less would keep the network full.
        let congested = member.adapting.network.is_congested(now);
        let next = if congested { sum.sent } else { sum.next };
        let [sent, next, full] = [sum.sent, next, sum.full].map(|rate| rate + sound);
        let need = Need { sent, next, enough: member.adapting.network.enough(next, now), full };
        if need != member.adapting.need {
            member.adapting.need = need;
            events.push_back(RoomEvent::Need { to: key, need });
        }
        if let Some(connection) = member.look_at_quality(now) {
            events.push_back(RoomEvent::Quality(connection));
        }
        if changed {
            self.ask_at = Some(now);
            self.wishes_untold = true;
        }
    }
}

/// Brings together what a viewer wants, what there is, and what its network carries.
fn decide(
    member: &mut Member,
    tracks: &[Option<Track>],
    sound: u64,
    now: Instant,
) -> (Vec<Given>, Sum) {
    let terms = member.adapting.network.terms(sound, member.adapting.need.sent, now);
    let watched = member.watched(tracks, now);
    let now_useful = |each: &Watched<'_>| match (terms.least, terms.no_better) {
        (true, _) => each.useful.min(1),
        // The lowest is given at any time: a picture is missed more than a better one.
        (false, true) => each.useful.min(each.held.max(1)),
        (false, false) => {
            let most = terms.careful.map(|sure| each.within(sure).max(each.held + 1));
            each.useful.min(most.unwrap_or(usize::MAX))
        }
    };
    let asks: Vec<Ask<'_>> = watched.iter().map(|each| each.ask(now_useful(each))).collect();
    let mut counts = Vec::new();
    let mut budget = terms.budget;
    // When a network gets narrower its estimate falls below what it carries. Nothing is sent only
    // once the least of one picture has been too much for a while.
    if let Some(least) = first_least(&asks, terms.fell) {
        budget.held = budget.held.max(least);
    }
    let sees = watched.iter().any(|each| each.sends.is_some());
    let well = member.adapting.network.is_well(now);
    if member.adapting.trial.is_due(sees, well, now) {
        budget.first = budget.first.max(least(&asks).map_or(0, with_spare));
    }
    let mut sum = allocate(budget, &asks, &mut counts);
    // What has to wait is looked for all the same.
    let asks: Vec<Ask<'_>> = watched.iter().map(|each| each.ask(each.useful)).collect();
    sum.next = next_step(&asks, &counts, sum.sent);
    let full = |each: &Watched<'_>| match each.is_unknown() {
        true => UNKNOWN,
        false => each.cost(each.useful),
    };
    sum.full = watched.iter().map(full).sum();
    let left = budget.held.saturating_sub(sum.sent);
    let (mut rose, mut fell) = (false, false);
    let mut given = Vec::with_capacity(watched.len());
    for (each, count) in watched.iter().zip(counts) {
        rose |= count > each.held && each.target.is_some();
        fell |= count < each.held && each.useful >= each.held;
        given.push(each.give(count, left));
    }
    member.adapting.network.settle(rose, fell, member.adapting.need.sent, now);
    (given, sum)
}
