//! What viewers want and their networks carry, on its way to the rooms; and what rooms decide, on
//! its way to engines and clients.

use std::time::Instant;

use super::Worker;
use super::command::{Event, SeatStats, StreamState, ViewerStats};
use crate::ids::TrackId;
use crate::model::{Bandwidth, Intent, Need};
use crate::room::MemberKey;
use crate::session::streams::LineIndex;

/// All encodings of a track, or the only one that it has.
const ALL: &str = "*";

impl Worker {
    /// A viewer says what its page shows.
    pub(super) fn intend(&mut self, key: MemberKey, intents: Vec<Intent>, now: Instant) {
        self.in_room(key, |room| room.intend(key, intents, now));
    }

    /// What a viewer's network carries has changed.
    pub(super) fn learn_bandwidth(&mut self, key: MemberKey, bandwidth: Bandwidth, now: Instant) {
        self.in_room(key, |room| room.carries(key, bandwidth, now));
    }

    /// How much a viewer is sent and could use has changed.
    pub(super) fn need(&mut self, to: MemberKey, need: Need, now: Instant) {
        if let Some(media) = self.sessions.get_mut(to).and_then(|p| p.media.as_mut()) {
            media.need(need, now);
            self.touch(to);
        }
    }

    /// Video that waits for a viewer is not sent any more.
    pub(super) fn forget_video(&mut self, to: MemberKey, now: Instant) {
        if let Some(media) = self.sessions.get_mut(to).and_then(|p| p.media.as_mut()) {
            media.forget_video(now);
            self.touch(to);
        }
    }

    /// A viewer's network does not carry a video, or does again.
    pub(super) fn paused(&mut self, viewer: MemberKey, track: TrackId, paused: bool) {
        let state = StreamState { track, viewer: None, active: !paused, reason: "bandwidth" };
        self.tell(viewer, Event::StreamState(state));
    }

    /// Others of a publisher's layers are wanted than before.
    pub(super) fn layers(&mut self, publisher: MemberKey, line: u8, track: TrackId, layers: u8) {
        let media = self.sessions.get(publisher).and_then(|p| p.media.as_ref());
        let Some(media) = media else { return };
        let rids = match media.rids(LineIndex(line), layers) {
            Some(rids) => rids,
            None if layers & 1 != 0 => vec![ALL.to_owned()],
            None => Vec::new(),
        };
        self.tell(publisher, Event::Layers { track, rids });
    }

    /// What a viewer is sent, and why it is not more.
    pub(super) fn viewer_stats(&self, key: MemberKey, now: Instant) -> Option<ViewerStats> {
        let participant = self.sessions.get(key)?;
        let room = &self.room_list.get(participant.room)?.as_ref()?.room;
        let lines = participant.media.as_ref().map(|media| media.seats());
        let (bandwidth, watched) = room.watched(key, now)?;
        let seats = watched.into_iter().filter_map(|seat| {
            Some(SeatStats {
                track: seat.occupant.track,
                mid: lines?.mid(seat.occupant.seat, seat.occupant.kind)?,
                wanted: seat.wanted,
                served: seat.served,
                bitrate: seat.bitrate,
                reason: seat.reason,
            })
        });
        let seats = seats.collect();
        Some(ViewerStats { identity: participant.identity.clone(), bandwidth, seats })
    }
}
