//! A room's part in what crosses between workers: what is wanted here of tracks that are published
//! elsewhere, and what others want of tracks that are published here.

use std::time::Instant;

use super::fanout::{Passing, Sink, Watchers};
use super::{Member, Room, RoomEvent, Track, TrackSlot};
use crate::forward::layers::bit;
use crate::ids::{SessionId, TrackId, WorkerId};
use crate::model::Kind;
use crate::relay::message::HIGHEST;
use crate::relay::outlet::{Outlet, wish};

/// A wish for whatever layers there are.
const ALL: u8 = u8::MAX;

impl Track {
    /// Whether no packet of it goes on.
    pub(super) fn is_silent(&self) -> bool {
        self.info.muted || self.held
    }

    /// Gives packets to workers that want them; how many copies went.
    pub(super) fn relay(
        &mut self,
        packets: &[Passing],
        watchers: &mut impl Watchers,
        now: Instant,
    ) -> u64 {
        let Some(first) = packets.first().filter(|_| !self.outlets.is_empty()) else { return 0 };
        let summary = self.layers.summary(self.there(now), now);
        let mut copies = 0;
        let new = std::mem::take(&mut self.new_outlets);
        for outlet in self.outlets.iter().filter(|outlet| new.contains(&outlet.to)) {
            for packet in self.pre_roll.onset(first.packet.seq, now) {
                watchers.relay(outlet, &summary, packet);
                copies += 1;
            }
        }
        for outlet in &self.outlets {
            // Layers in one stream are left out where the numbers of its packets are closed up.
            let passes = |passing: &&Passing| {
                let packet = &passing.packet;
                packet.stacked || outlet.passes(packet.layer, summary.live)
            };
            for Passing { packet, .. } in packets.iter().filter(passes) {
                watchers.relay(outlet, &summary, packet);
                copies += 1;
            }
        }
        copies
    }

    /// What to ask the worker of its publisher for. As long as nothing came from there, this worker
    /// does not know which layers there are.
    pub(super) fn ask_far(&self, at: WorkerId, layer: u8) -> RoomEvent {
        let layer = if self.layers.known() != 0 { layer } else { HIGHEST };
        RoomEvent::AskFar { at, track: self.info.id, layer }
    }

    /// The layers that its viewers here are sent or wait for, one bit each.
    pub(super) fn needed(&self, members: &[Option<Member>]) -> u8 {
        let needs = |sink: &Sink| {
            let member = members.get(sink.member).and_then(Option::as_ref)?;
            Some(member.seats.get(sink.seat.index())?.half(self.info.kind).forwarder.needs())
        };
        if self.sinks.is_empty() {
            return 0;
        }
        match self.info.kind {
            Kind::Audio => bit(0),
            Kind::Video if self.layers.known() == 0 => ALL,
            Kind::Video => self.sinks.iter().filter_map(needs).fold(0, |all, needs| all | needs),
        }
    }
}

impl Room {
    /// The next track of another worker of which something else is wanted than before.
    pub fn poll_wish(&mut self, now: Instant) -> Option<RoomEvent> {
        if !self.wishes_untold {
            return None;
        }
        if let Some(layers) = self.poll_upstream(now) {
            return Some(layers);
        }
        let Self { members, tracks, here, .. } = self;
        for (slot, track) in tracks.iter_mut().enumerate() {
            let Some(track) = track else { continue };
            let publisher = members.get(track.publisher).and_then(Option::as_ref);
            let Some(at) = publisher.map(|member| member.at).filter(|at| at != here) else {
                continue;
            };
            let layers = track.needed(members);
            if layers != track.wished {
                track.wished = layers;
                let (track, slot) = (track.info.id, TrackSlot(slot));
                return Some(RoomEvent::Wish { at, track, slot, layers });
            }
        }
        self.wishes_untold = false;
        None
    }

    /// Another worker says what it wants of a track that is published here.
    pub fn wish(&mut self, id: TrackId, outlet: Outlet) {
        let track = self.by_track(id).and_then(|slot| self.tracks.get_mut(slot)?.as_mut());
        if let Some(track) = track {
            let known = track.outlets.iter().map(|known| known.to);
            if !known.chain(track.new_outlets.iter().copied()).any(|to| to == outlet.to) {
                track.new_outlets.push(outlet.to);
            }
            wish(&mut track.outlets, outlet);
            self.wishes_untold = true;
        }
    }

    /// Somebody at another worker waits for a keyframe.
    pub fn keyframe_asked(&mut self, id: TrackId, layer: u8, now: Instant) {
        let track = self.by_track(id).and_then(|slot| self.tracks.get_mut(slot)?.as_mut());
        let Some(track) = track else { return };
        let live = track.layers.live(now);
        let highest = u8::try_from(live.checked_ilog2().unwrap_or(0)).unwrap_or(0);
        track.asks.want(if layer == HIGHEST { highest } else { layer });
        self.ask_at = Some(now);
    }

    /// A worker has no session of the room any more: it is sent nothing, and nothing is expected.
    pub fn forget_worker(&mut self, worker: WorkerId) {
        for track in self.tracks.iter_mut().flatten() {
            track.outlets.retain(|outlet| outlet.to != worker);
        }
        self.wishes_untold = true;
        for member in self.members.iter_mut().flatten() {
            member.outbox.forget_worker(worker);
        }
    }

    /// The session that publishes a track.
    #[must_use]
    pub fn publisher_of(&self, id: TrackId) -> Option<SessionId> {
        let track = self.tracks.get(self.by_track(id)?)?.as_ref()?;
        self.members.get(track.publisher)?.as_ref().map(|member| member.session)
    }
}
