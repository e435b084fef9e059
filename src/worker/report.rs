//! What a worker tells about itself: one value, copied out twice a second.

use super::relief::Relief;
use crate::counts::{Drops, Histogram};
use crate::ids::{RoomName, WorkerId};
use crate::model::Kind;

/// Packets and payload bytes of one kind in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// RTP packets.
    pub packets: u64,
    /// Bytes of RTP payload.
    pub bytes: u64,
}

/// A count for audio and one for video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByKind<T> {
    /// Audio.
    pub audio: T,
    /// Video.
    pub video: T,
}

impl<T> ByKind<T> {
    /// The count of a kind.
    pub fn of(&self, kind: Kind) -> &T {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }

    /// The count of a kind, to be changed.
    pub fn of_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        }
    }
}

/// What has happened since the worker began. Counters rise for ever.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// RTP that came from publishers.
    pub rtp_in: ByKind<Flow>,
    /// RTP that was handed to viewers' sessions.
    pub rtp_out: ByKind<Flow>,
    /// Datagrams in, of whatever kind.
    pub datagrams_in: u64,
    /// Datagrams out, of whatever kind.
    pub datagrams_out: u64,
    /// Bytes in, of whatever kind.
    pub bytes_in: u64,
    /// Bytes out, of whatever kind.
    pub bytes_out: u64,
    /// Datagrams that came to another worker's socket and were handed to this one.
    pub handed_over: u64,
    /// What went no further, and why.
    pub drops: Drops,
    /// Keyframe requests that came from viewers.
    pub keyframe_requests_in: u64,
    /// Keyframe requests that went to publishers.
    pub keyframe_requests_out: u64,
    /// Data messages taken.
    pub data_in: u64,
    /// Data messages handed to receivers.
    pub data_out: u64,
    /// Data messages refused.
    pub data_refused: u64,
    /// Packets that came from other workers.
    pub relay_in: u64,
    /// Packets that were given to other workers.
    pub relay_out: u64,
    /// Links to other workers that broke because something that must not be lost found no room.
    pub links_broken: u64,
    /// Sessions that were ended because the engine panicked.
    pub failed_panic: u64,
    /// Sessions that were ended because the engine would not come to rest.
    pub failed_budget: u64,
    /// From a datagram's arrival to the moment at which its copies were given to the kernel.
    pub forward_delay: Histogram,
    /// How much later than its deadline a tick began.
    pub loop_lag: Histogram,
}

/// How much a worker has to do, measured over the last half second or so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// RTP packets per second from publishers and from other workers.
    pub packets_in: u32,
    /// RTP packets per second to viewers and to other workers.
    pub packets_out: u32,
    /// The rooms with the most packets per second out of this worker, heaviest first; light rooms
    /// are not listed.
    pub heavy: Vec<(RoomName, u32)>,
}

/// A worker as it is now.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which.
    pub worker: WorkerId,
    /// Rooms whose home this is, empty ones that are still kept among them.
    pub rooms: u32,
    /// Rooms whose home this is and that have sessions on other workers too.
    pub spanning: u32,
    /// How much it has to do.
    pub load: Load,
    /// Participants whose media path stands.
    pub connected: u32,
    /// Participants whose media path does not stand.
    pub connecting: u32,
    /// Published tracks.
    pub tracks_in: ByKind<u32>,
    /// Occupied seats.
    pub tracks_out: ByKind<u32>,
    /// Datagrams' known source addresses.
    pub addresses: u32,
    /// Viewers that are sent less than they want, as their networks carry no more.
    pub limited: u32,
    /// Videos that are not sent to somebody at all, for the same reason.
    pub paused: u32,
    /// Bytes that are kept for those who begin to watch.
    pub kept_bytes: u64,
    /// What is left out, since the worker cannot keep up.
    pub relief: Relief,
    /// What has happened so far.
    pub totals: Totals,
}

impl Report {
    /// The report of a worker that has done nothing.
    #[must_use]
    pub fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            rooms: 0,
            spanning: 0,
            load: Load::default(),
            connected: 0,
            connecting: 0,
            tracks_in: ByKind::default(),
            tracks_out: ByKind::default(),
            addresses: 0,
            limited: 0,
            paused: 0,
            kept_bytes: 0,
            relief: Relief::NONE,
            totals: Totals::default(),
        }
    }
}
