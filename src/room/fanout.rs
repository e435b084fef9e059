//! The packet's way through a room: one walk over a track's sinks.

use std::time::Instant;

use super::catching_up::{begin, beginning, goes_on, rest};
use super::{MemberKey, Room, RoomEvent, Track, TrackSlot};
use crate::counts::DropReason;
use crate::forward::Verdict;
use crate::forward::layers::Summary;
use crate::forward::packet::{Codec, Packet};
use crate::forward::rewrite::Numbers;
use crate::ids::{SeatIndex, SessionId, TrackId, WorkerId};
use crate::model::{Kind, Source};
use crate::relay::outlet::Outlet;

/// A half of a seat in which a track sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sink {
    /// The viewer's place in the room's list.
    pub member: usize,
    /// Its seat.
    pub seat: SeatIndex,
    /// The viewer hears its publisher even if others do not.
    pub pinned: bool,
}

/// Those who watch, as the worker lends them to a room while it walks a track's sinks.
pub trait Watchers {
    /// Why a member is to be spared video now, if it is.
    fn spares(&self, key: MemberKey) -> Option<DropReason>;
    /// A member is to be sent these packets of one track in this seat, under these numbers.
    fn send(&mut self, to: MemberKey, seat: SeatIndex, packets: &[(&Packet, Numbers)]);
    /// Another worker is to be sent a packet: one copy, however many watch there. Beside it goes
    /// what there is of the track.
    fn relay(&mut self, to: &Outlet, layers: &Summary, packet: &Packet);
    /// Copies of packets go no further.
    fn dropped(&mut self, reason: DropReason, copies: usize);
}

/// A packet on its way from its publisher to those who watch.
#[derive(Debug)]
pub struct Passing {
    /// The room, as its worker counts them.
    pub room: usize,
    /// The track's place there, and which track sat there when the packet came.
    pub slot: TrackSlot,
    /// See above.
    pub track: TrackId,
    /// If it came from another worker: what there is of the track there.
    pub far: Option<Summary>,
    /// The packet.
    pub packet: Packet,
}

impl Track {
    /// Notes what packets tell of the layers; whether others live than before.
    fn note(&mut self, packets: &[Passing], now: Instant) -> bool {
        let before = match self.far {
            Some(summary) => summary.there,
            None => self.layers.live(now),
        };
        for Passing { packet, far, .. } in packets {
            match far {
                Some(summary) => {
                    self.layers.adopt(summary, now);
                    self.far = Some(*summary);
                }
                None => self.layers.hear(packet, now),
            }
            match (packet.keyframe, packet.stacked) {
                (true, true) => self.asks.all_came(),
                (true, false) => self.asks.came(packet.layer),
                (false, _) => {}
            }
        }
        let after = match self.far {
            Some(summary) => summary.there,
            None => self.layers.live(now),
        };
        self.info.kind == Kind::Video && before != after
    }
}

impl Room {
    /// Offers packets of one track, in order, to everybody in whose seats it sits. Viewer by
    /// viewer and not packet by packet: each viewer's state is fetched once.
    pub fn forward(&mut self, packets: &[Passing], watchers: &mut impl Watchers, now: Instant) {
        let Some(first) = packets.first() else { return };
        let (slot, kind) = (first.slot, first.packet.kind);
        let track = self.tracks.get_mut(slot.0).and_then(Option::as_mut);
        let Some(track) = track.filter(|track| track.info.id == first.track) else {
            return watchers.dropped(DropReason::Unpublished, packets.len());
        };
        if track.is_silent() {
            return watchers.dropped(DropReason::Muted, packets.len());
        }
        let changed = track.note(packets, now);
        let quiet = track.holds_back(packets, watchers, now);
        let mut passed = Vec::with_capacity(packets.len());
        let mut needed = 0;
        for sink in track.sinks.iter().filter(|sink| !quiet || sink.pinned) {
            let Some(member) = self.members.get_mut(sink.member).and_then(Option::as_mut) else {
                continue;
            };
            if changed {
                member.adapt_at(now);
                self.adapt_at = Some(now);
            }
            let (Some(seat), Some(key)) = (member.seats.get_mut(sink.seat.index()), member.key)
            else {
                continue;
            };
            let forwarder = &mut seat.half_mut(kind).forwarder;
            if kind == Kind::Video && forwarder.spare(watchers.spares(key)) {
                self.ask_at = Some(now);
            }
            if forwarder.could_begin().is_some() {
                let spare = member.caught_up.spare(member.adapting.bandwidth(), now);
                if let Some(before) = beginning(&track.segments, forwarder, spare, now)
                    && goes_on(before, packets)
                {
                    self.sent += begin(before, forwarder, now, |sent| {
                        watchers.send(key, sink.seat, sent);
                    });
                    member.caught_up.add(before, spare, now);
                }
            }
            passed.clear();
            if kind == Kind::Audio && !quiet && forwarder.is_starting() {
                for packet in track.pre_roll.onset(first.packet.seq, now) {
                    if let Verdict::Send(numbers) = forwarder.offer(packet, packet.arrived) {
                        passed.push((packet, numbers));
                    }
                }
            }
            for Passing { packet, .. } in packets {
                match forwarder.offer(packet, now) {
                    Verdict::Send(numbers) => {
                        passed.push((packet, numbers));
                        if packet.keyframe {
                            passed.extend(rest(packet, &track.segments, forwarder, now));
                        }
                    }
                    Verdict::Drop(reason) => watchers.dropped(reason, 1),
                }
            }
            if !passed.is_empty() {
                self.sent += passed.len() as u64;
                watchers.send(key, sink.seat, &passed);
            }
            needed |= forwarder.needs();
        }
        match kind {
            Kind::Video => packets.iter().for_each(|p| track.segments.take(&p.packet)),
            Kind::Audio if !quiet => {
                packets.iter().for_each(|p| track.pre_roll.keep(&p.packet, now));
            }
            Kind::Audio => {}
        }
        // A switch that is done needs the old layer no more.
        self.wishes_untold |= std::mem::replace(&mut track.needed, needed) != needed;
        if first.far.is_none() {
            self.sent += track.relay(packets, watchers, now);
        }
        self.listen(packets, now);
    }

    /// What a track's packets tell about it: how loud its publisher is, and the codec.
    fn listen(&mut self, packets: &[Passing], now: Instant) {
        let Some(last) = packets.last() else { return };
        let track = self.tracks.get(last.slot.0).and_then(Option::as_ref);
        let voice = track.filter(|track| track.info.source == Source::Microphone);
        // The worker of the publisher listens for all.
        let voice = voice.filter(|_| last.far.is_none());
        if let Some(publisher) = voice.map(|track| track.publisher) {
            for Passing { packet, .. } in packets {
                if let Some(level) = self.level_of(packet) {
                    self.hear(publisher, level, now);
                }
            }
            self.speak_up(publisher, now);
        }
        self.note_codec(last.slot.0, last.packet.codec);
    }

    /// A track's codec is known from its packets only; viewers that lack it are told once.
    fn note_codec(&mut self, slot: usize, codec: Codec) {
        let Some(track) = self.tracks.get_mut(slot).and_then(Option::as_mut) else { return };
        if track.codec != Some(codec) {
            track.codec = Some(codec);
            self.tell_undecodable();
        }
    }

    /// Tells viewer and publisher of each seated track that the viewer cannot decode, and of each
    /// that it can again.
    pub(super) fn tell_undecodable(&mut self) {
        let Self { members, tracks, events, .. } = self;
        let publishers: Vec<Option<(SessionId, WorkerId)>> =
            members.iter().map(|m| m.as_ref().map(|member| (member.session, member.at))).collect();
        for member in members.iter_mut().flatten() {
            let Some(viewer) = member.key else { continue };
            for track in tracks.iter().flatten() {
                let Some(codec) = track.codec else { continue };
                let seated = member.sees(track.info.id);
                let lacks = seated && !member.decodes.contains(&codec);
                let told = member.told_undecodable.contains(&track.info.id);
                let publisher = publishers.get(track.publisher).copied().flatten();
                let (true, Some((publisher, at))) = (lacks != told && (lacks || seated), publisher)
                else {
                    continue;
                };
                let id: TrackId = track.info.id;
                if lacks {
                    member.told_undecodable.push(id);
                } else {
                    member.told_undecodable.retain(|known| *known != id);
                }
                let active = !lacks;
                events.push_back(RoomEvent::Undecodable {
                    viewer,
                    publisher,
                    at,
                    track: id,
                    active,
                });
            }
        }
    }
}
