//! The sessions of a worker, lent to a room while it passes a packet or a message on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::guard::{Failed, guarded};
use super::relief::Relief;
use super::report::Totals;
use super::sessions::Sessions;
use super::timers::Timers;
use super::{Dispatch, Output};
use crate::counts::DropReason;
use crate::forward::layers::Summary;
use crate::forward::packet::Packet;
use crate::forward::rewrite::Numbers;
use crate::ids::SeatIndex;
use crate::model::Kind;
use crate::relay::message::{Frame, Message};
use crate::relay::outlet::Outlet;
use crate::room::MemberKey;
use crate::room::fanout::Watchers;
use crate::room::messages::Lanes;
use crate::session::channels::{Lane, Queued};
use crate::session::{Drained, Event};

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

/// After so many sessions their datagrams are sent: as many trains as one system call takes, and few
/// enough bytes to be in the caches still.
pub(super) const TOGETHER: usize = 32;

/// All viewers of a worker, who of them was given something to send, and what followed from that.
pub(super) struct Viewers<'a> {
    pub sessions: &'a mut Sessions,
    pub dirty: &'a mut Vec<MemberKey>,
    pub totals: &'a mut Totals,
    pub relief: Relief,
    pub outputs: &'a mut VecDeque<Output>,
    pub drained: &'a mut Drained,
    /// What sessions said that were woken here.
    pub said: &'a mut Vec<(MemberKey, Event)>,
    pub timers: &'a mut Timers<MemberKey>,
    pub epoch: Instant,
    pub out: &'a mut dyn Dispatch,
    /// So many were woken since datagrams were last sent.
    pub woken: usize,
    pub now: Instant,
    /// Nobody is given more in this batch: who is given something is woken at once, while what it
    /// takes is in the caches.
    pub last: bool,
}

impl Viewers<'_> {
    fn wake(&mut self, to: MemberKey) {
        let Self { drained, now, .. } = self;
        let Some(viewer) = self.sessions.get_mut(to) else { return };
        viewer.put_off.woken();
        let Some(media) = viewer.media.as_mut() else { return };
        media.strain(self.relief.probes.holds(to.index));
        let woken = guarded(self.totals, || media.handle_time(drained, *now));
        if !self.drained.events.is_empty() {
            self.said.extend(self.drained.events.drain(..).map(|event| (to, event)));
        }
        match woken {
            Ok(()) => {
                viewer.dirty = false;
                viewer.set_timer(to, self.timers, self.epoch, self.now);
            }
            Err(Failed) => {
                viewer.media = None;
                self.touch(to);
            }
        }
        self.woken += 1;
        if self.woken >= TOGETHER {
            self.woken = 0;
            self.now = self.out.dispatch(&mut self.drained.transmits, self.now);
        }
    }

    fn touch(&mut self, to: MemberKey) {
        if let Some(viewer) = self.sessions.get_mut(to)
            && !viewer.dirty
        {
            viewer.dirty = true;
            self.dirty.push(to);
        }
    }
}

impl Watchers for Viewers<'_> {
    fn spares(&self, key: MemberKey) -> Option<DropReason> {
        if self.relief.video.holds(key.index) {
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
        let waits = first.kind == Kind::Audio && self.relief.haste.holds(to.index);
        if waits && viewer.media.is_some() && viewer.put_off.lets_sound_wait(self.now) {
            viewer.set_timer(to, self.timers, self.epoch, self.now);
        } else if self.last && viewer.media.is_some() {
            self.wake(to);
        } else {
            self.touch(to);
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
