//! The sessions' data channels, lent to a room while it passes a message on.

use std::sync::Arc;

use super::report::Totals;
use super::sessions::Sessions;
use crate::counts::DropReason;
use crate::room::MemberKey;
use crate::room::messages::Lanes;
use crate::session::channels::{Lane, Queued};

/// All send queues of a worker, and who of their owners was touched.
pub(super) struct WorkerLanes<'a> {
    pub sessions: &'a mut Sessions,
    pub touched: &'a mut Vec<MemberKey>,
    pub totals: &'a mut Totals,
}

fn lane(reliable: bool) -> Lane {
    if reliable { Lane::Reliable } else { Lane::Lossy }
}

impl Lanes for WorkerLanes<'_> {
    fn is_open(&self, key: MemberKey, reliable: bool) -> bool {
        let media = self.sessions.get(key).and_then(|p| p.media.as_ref());
        media.is_some_and(|media| media.channels().is_open(lane(reliable)))
    }

    fn has_room(&self, key: MemberKey, bytes: usize) -> bool {
        let media = self.sessions.get(key).and_then(|p| p.media.as_ref());
        media.is_some_and(|media| media.channels().has_room(bytes))
    }

    fn push(&mut self, key: MemberKey, reliable: bool, frame: Arc<[u8]>) {
        let media = self.sessions.get_mut(key).and_then(|p| p.media.as_mut());
        let Some(media) = media else { return };
        if let Queued::DroppedOldest(n) = media.channels_mut().push(lane(reliable), frame) {
            self.totals.drops.count_many(DropReason::DataLossyFull, u64::from(n));
        }
        self.touched.push(key);
    }

    fn give_up(&mut self, key: MemberKey) {
        if let Some(media) = self.sessions.get_mut(key).and_then(|p| p.media.as_mut()) {
            media.close_reliable();
            self.touched.push(key);
        }
    }
}
