//! The packet's way through a room: one walk over a track's sinks.

use std::time::Instant;

use super::{MemberKey, Room, RoomEvent, TrackSlot};
use crate::counts::DropReason;
use crate::forward::Verdict;
use crate::forward::packet::{Codec, Packet};
use crate::forward::rewrite::Numbers;
use crate::ids::SeatIndex;
use crate::model::{Kind, Source};

/// A half of a seat in which a track sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sink {
    /// The viewer's place in the room's list.
    pub member: usize,
    /// Its seat.
    pub seat: SeatIndex,
}

/// Those who watch, as the worker lends them to a room while it walks a track's sinks.
pub trait Watchers {
    /// A member's network takes less than what is sent.
    fn is_behind(&self, key: MemberKey) -> bool;
    /// A member is to be sent the packet in this seat under these numbers.
    fn send(&mut self, to: MemberKey, seat: SeatIndex, packet: &Packet, numbers: Numbers);
    /// A copy of the packet goes no further.
    fn dropped(&mut self, reason: DropReason);
}

impl Room {
    /// Offers a packet to everybody in whose seats its track sits. Walks all sinks.
    pub fn forward(
        &mut self,
        slot: TrackSlot,
        packet: &Packet,
        watchers: &mut impl Watchers,
        now: Instant,
    ) {
        let Some(track) = self.tracks.get_mut(slot.0).and_then(Option::as_mut) else {
            return watchers.dropped(DropReason::Unpublished);
        };
        if track.info.muted {
            return watchers.dropped(DropReason::Muted);
        }
        let before = track.layers.highest(now);
        track.layers.hear(packet.layer, now);
        if packet.kind == Kind::Video {
            if packet.keyframe {
                track.asks.came(packet.layer);
            }
            if before != track.layers.highest(now) {
                self.ask_at = Some(now);
            }
        }
        for sink in &track.sinks {
            let Some(member) = self.members.get_mut(sink.member).and_then(Option::as_mut) else {
                continue;
            };
            let Some(seat) = member.seats.get_mut(sink.seat.index()) else { continue };
            let forwarder = &mut seat.half_mut(packet.kind).forwarder;
            if packet.kind == Kind::Video {
                if watchers.is_behind(member.key) {
                    forwarder.hold();
                } else if forwarder.resume() {
                    self.ask_at = Some(now);
                }
            }
            match forwarder.offer(packet, &track.layers, now) {
                Verdict::Send(numbers) => watchers.send(member.key, sink.seat, packet, numbers),
                Verdict::Drop(reason) => watchers.dropped(reason),
            }
        }
        let (publisher, is_voice) = (track.publisher, track.info.source == Source::Microphone);
        if let Some(level) = packet.level.filter(|_| is_voice) {
            self.hear(publisher, level, now);
        }
        self.note_codec(slot.0, packet.codec);
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
        let keys: Vec<Option<MemberKey>> =
            members.iter().map(|m| m.as_ref().map(|member| member.key)).collect();
        for member in members.iter_mut().flatten() {
            for track in tracks.iter().flatten() {
                let Some(codec) = track.codec else { continue };
                let seated = member.sees(track.info.id);
                let lacks = seated && !member.decodes.contains(&codec);
                let told = member.told_undecodable.contains(&track.info.id);
                let publisher = keys.get(track.publisher).copied().flatten();
                let (true, Some(publisher)) = (lacks != told && (lacks || seated), publisher)
                else {
                    continue;
                };
                if lacks {
                    member.told_undecodable.push(track.info.id);
                } else {
                    member.told_undecodable.retain(|id| *id != track.info.id);
                }
                events.push_back(RoomEvent::Undecodable {
                    viewer: member.key,
                    publisher,
                    track: track.info.id,
                    active: !lacks,
                });
            }
        }
    }
}
