//! The sessions of a worker, lent to a room while it passes a packet or a message on.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Output;
use super::guard::{Failed, guarded};
use super::report::Totals;
use super::sessions::Sessions;
use crate::counts::DropReason;
use crate::forward::layers::Summary;
use crate::forward::packet::Packet;
use crate::forward::rewrite::Numbers;
use crate::ids::SeatIndex;
use crate::relay::message::{Frame, Message};
use crate::relay::outlet::Outlet;
use crate::room::MemberKey;
use crate::room::fanout::Watchers;
use crate::room::messages::Lanes;
use crate::session::channels::{Lane, Queued};
use crate::units::Share;

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

/// All viewers of a worker, and who of them was given something to send.
pub(super) struct Viewers<'a> {
    pub sessions: &'a mut Sessions,
    pub dirty: &'a mut Vec<MemberKey>,
    pub totals: &'a mut Totals,
    /// The share of viewers that is spared video.
    pub shed: Share,
    pub outputs: &'a mut VecDeque<Output>,
}

impl Watchers for Viewers<'_> {
    fn spares(&self, key: MemberKey) -> Option<DropReason> {
        if self.shed.holds(key.index) {
            return Some(DropReason::Shed);
        }
        let media = self.sessions.get(key)?.media.as_ref()?;
        media.is_behind().then_some(DropReason::ViewerBehind)
    }

    fn send(&mut self, to: MemberKey, seat: SeatIndex, packets: &[(&Packet, Numbers)]) {
        let (Some(viewer), Some((first, _))) = (self.sessions.get_mut(to), packets.first()) else {
            return;
        };
        let Some(media) = viewer.media.as_mut() else { return };
        match guarded(self.totals, || Ok(media.write(seat, packets))) {
            Ok(written) => {
                let flow = self.totals.rtp_out.of_mut(first.kind);
                flow.packets += written.packets;
                flow.bytes += written.bytes;
                if let Some(reason) = written.dropped {
                    let left = (packets.len() as u64).saturating_sub(written.packets);
                    self.totals.drops.count_many(reason, left);
                }
                if written.packets == 0 {
                    return;
                }
            }
            // The wake that follows finds the engine gone and ends the session.
            Err(Failed) => viewer.media = None,
        }
        if !viewer.dirty {
            viewer.dirty = true;
            self.dirty.push(to);
        }
    }

    fn relay(&mut self, to: &Outlet, layers: &Summary, packet: &Packet) {
        self.totals.relay_out += 1;
        let message =
            Message::Frame(Frame { inlet: to.inlet, layers: *layers, packet: packet.clone() });
        self.outputs.push_back(Output::Relay { to: to.to, message });
    }

    fn dropped(&mut self, reason: DropReason, copies: usize) {
        self.totals.drops.count_many(reason, copies as u64);
    }
}
