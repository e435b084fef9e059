//! The packet's way through a worker, and the order in which it settles what a batch has touched.

use std::collections::HashMap;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::demux::{Owner, worker_of};
use super::guard::guarded;
use super::lanes::{TOGETHER, Viewers, WorkerLanes};
use super::sessions::Participant;
use super::{Dispatch, Hosted, Kept, Output, Side, StunGate, Worker};
use crate::counts::DropReason;
use crate::forward::packet::Packet;
use crate::ids::SessionId;
use crate::model::Reason;
use crate::room::MemberKey;
use crate::room::fanout::Passing;
use crate::session::streams::LineIndex;
use crate::session::{Datagram, Drained, Event, Session, SessionError};
use crate::wire::classify::{Class, classify, is_arrival_feedback};
use crate::wire::stun::{self, Stun};

/// Rounds of settling in one tick. Each round sends what the one before made necessary; three are
/// usual, and what is left after these waits for the next tick.
const ROUNDS: u32 = 16;

/// Packets that wait for each other before they are passed on. More would make the first of them
/// wait, and come in one tick only from hundreds of publishers.
const BATCH: usize = 256;

/// Plain STUN replies in a second: per network (/24 or /64), and in all.
const STUN_PER_NET: u32 = 10;
const STUN_IN_ALL: u32 = 2_000;

/// A datagram as it arrived.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: &'a [u8],
    pub handed_over: bool,
}

impl Worker {
    pub(super) fn handle_datagram(&mut self, arrival: Arrival<'_>, now: Instant) {
        self.totals.datagrams_in += 1;
        self.totals.bytes_in += arrival.bytes.len() as u64;
        self.totals.handed_over += u64::from(arrival.handed_over);
        let Some(class) = classify(arrival.bytes) else {
            return self.totals.drops.count(DropReason::Unclassified);
        };
        let result = match class {
            Class::Stun => self.handle_stun(arrival, now),
            Class::Dtls | Class::Rtp | Class::Rtcp => self.by_address(arrival, class, now),
        };
        if let Err(reason) = result {
            self.totals.drops.count(reason);
        }
    }

    /// Whatever is no signed request belongs to whoever proved the address it comes from.
    fn by_address(
        &mut self,
        arrival: Arrival<'_>,
        class: Class,
        now: Instant,
    ) -> Result<(), DropReason> {
        match self.demux.owner(arrival.from) {
            Some(Owner::Session(key)) => {
                self.give(key, arrival, class, now);
                Ok(())
            }
            Some(Owner::Neighbour(owner)) if !arrival.handed_over => {
                self.outputs.push_back(arrival.hand_over(owner));
                Ok(())
            }
            Some(Owner::Neighbour(_)) | None => Err(DropReason::Stranger),
        }
    }

    fn handle_stun(&mut self, arrival: Arrival<'_>, now: Instant) -> Result<(), DropReason> {
        let message = Stun::parse(arrival.bytes).map_err(|_| DropReason::StunMalformed)?;
        if !message.is_binding() {
            return Err(DropReason::StunMethod);
        }
        match message.class {
            stun::Class::Request => match message.username {
                Some((ours, _)) => self.signed_request(ours, arrival, now),
                None if message.plain => self.plain_request(&message, arrival, now),
                None => Err(DropReason::StunPlain),
            },
            stun::Class::Success | stun::Class::Error => {
                if let Some(Owner::Session(key)) = self.demux.owner(arrival.from)
                    && let Some(participant) = self.sessions.get_mut(key)
                    && participant.accepts_stun(arrival, now)
                {
                    participant.sources.prove(arrival.from);
                }
                self.by_address(arrival, Class::Stun, now)
            }
            stun::Class::Indication => self.by_address(arrival, Class::Stun, now),
        }
    }

    fn signed_request(
        &mut self,
        ufrag: &str,
        arrival: Arrival<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(key) = self.demux.session(ufrag) else {
            let owner =
                worker_of(ufrag).filter(|w| *w != self.config.id && w.0 < self.config.workers);
            let owner = owner.filter(|_| !arrival.handed_over).ok_or(DropReason::UfragUnknown)?;
            self.outputs.push_back(arrival.hand_over(owner));
            return Ok(());
        };
        let participant = self.sessions.get_mut(key).ok_or(DropReason::UfragUnknown)?;
        if !participant.accepts_stun(arrival, now) {
            return Err(DropReason::StunIntegrity);
        }
        self.demux
            .bind(arrival.from, key, &mut participant.sources, now)
            .map_err(|_| DropReason::SourceLimit)?;
        if arrival.handed_over {
            // Said with every check, so that a neighbour that forgot learns it again.
            self.outputs.push_back(Output::Proved(arrival.from));
        }
        self.give(key, arrival, Class::Stun, now);
        Ok(())
    }

    fn plain_request(
        &mut self,
        message: &Stun<'_>,
        arrival: Arrival<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        if !self.stun.admits(arrival.from.ip(), now) {
            return Err(DropReason::StunRate);
        }
        let mut bytes = [0; 44];
        let len = stun::write_binding_reply(message.transaction, arrival.from, &mut bytes);
        self.outputs.push_back(Output::StunReply {
            from: arrival.to,
            to: arrival.from,
            bytes,
            len,
        });
        Ok(())
    }

    /// Gives a datagram to the session that it belongs to.
    fn give(&mut self, key: MemberKey, arrival: Arrival<'_>, class: Class, now: Instant) {
        let Some(participant) = self.sessions.get_mut(key) else { return };
        participant.heard = now;
        let Arrival { from, to, bytes, .. } = arrival;
        let hasty = class != Class::Rtcp || !self.relief.haste.holds(key.index);
        if !hasty && is_arrival_feedback(bytes) && participant.put_off.skips_feedback(now) {
            return self.totals.drops.count(DropReason::Shed);
        }
        let datagram = Datagram { from, to, class, bytes };
        if participant.put_off.woken() {
            self.touch(key);
        }
        self.run(key, now, |media, out| media.handle_datagram(&datagram, out, now));
    }

    /// Runs one session behind its fence, then carries out what it says.
    fn run(
        &mut self,
        key: MemberKey,
        now: Instant,
        work: impl FnOnce(&mut Session, &mut Drained) -> Result<(), SessionError>,
    ) {
        let Some(media) = self.sessions.get_mut(key).and_then(|p| p.media.as_mut()) else { return };
        media.strain(self.relief.probes.holds(key.index));
        let drained = &mut self.drained;
        let failed = guarded(&mut self.totals, || work(media, drained)).is_err();
        self.carry_out_all(key, now);
        if failed {
            tracing::error!(?key, "the engine of a session failed; the session ends");
            if let Some(participant) = self.sessions.get_mut(key) {
                participant.media = None;
            }
            self.leave(key, Reason::MediaFailed, now);
        } else {
            self.set_timer(key, now);
        }
    }

    /// Carries out what a drained session says.
    fn carry_out_all(&mut self, key: MemberKey, now: Instant) {
        let mut events = mem::take(&mut self.drained.events);
        for event in events.drain(..) {
            self.carry_out(key, event, now);
        }
        // Given back for the next drain, unless a nested one has left its own.
        if self.drained.events.capacity() < events.capacity() {
            self.drained.events = events;
        }
    }

    fn carry_out(&mut self, key: MemberKey, event: Event, now: Instant) {
        match event {
            Event::Media { line, packet } => self.forward(key, line, packet, now),
            Event::KeyframeWanted { seat } => {
                self.totals.keyframe_requests_in += 1;
                self.in_room(key, |room| room.keyframe_wanted(key, seat, now));
            }
            Event::Message { lane, frame } => self.handle_message(key, lane, &frame, now),
            Event::Writable => self.retry_messages(key, now),
            Event::Connected => {
                if let Some(participant) = self.sessions.get_mut(key) {
                    participant.connect_by = None;
                }
                self.in_room(key, |room| room.connected(key, now));
                self.tell_status(key, now);
            }
            Event::Bandwidth(bandwidth) => self.learn_bandwidth(key, bandwidth, now),
            Event::Closed => self.leave(key, Reason::Client, now),
        }
    }

    /// One packet of a publisher: it waits for the others of this tick.
    fn forward(&mut self, key: MemberKey, line: LineIndex, packet: Packet, now: Instant) {
        let flow = self.totals.rtp_in.of_mut(packet.kind);
        flow.packets += 1;
        flow.bytes += packet.payload.len() as u64;
        let Some(participant) = self.sessions.get(key) else { return };
        let track = participant.tracks.get(usize::from(line.0)).copied().flatten();
        let Some((track, Some(slot))) = track else {
            return self.totals.drops.count(DropReason::Unpublished);
        };
        let room = participant.room;
        self.wait_for_others(Passing { room, slot, track, far: None, packet }, now);
    }

    /// A packet waits for the others of this tick.
    pub(super) fn wait_for_others(&mut self, passing: Passing, now: Instant) {
        self.batch.push(passing);
        if self.batch.len() >= BATCH {
            self.pass(&mut Kept, now);
        }
    }

    /// Passes on what came since the last time, track by track; what time it is then.
    fn pass(&mut self, out: &mut dyn Dispatch, mut now: Instant) -> Instant {
        let mut batch = mem::take(&mut self.batch);
        // Sound first. Stable: a track's packets stay in order.
        batch.sort_by_key(|passing| (passing.packet.kind, passing.room, passing.slot));
        let same =
            |a: &Passing, b: &Passing| (a.room, a.slot, a.track) == (b.room, b.slot, b.track);
        let mut left = batch.as_slice();
        for packets in batch.chunk_by(same) {
            left = left.get(packets.len()..).unwrap_or_default();
            let at = packets.first().map_or(usize::MAX, |passing| passing.room);
            let (mut viewers, room_list, touched_rooms) = self.lend(out, now);
            let Some(Some(hosted)) = room_list.get_mut(at) else {
                viewers.totals.drops.count_many(DropReason::Unpublished, packets.len() as u64);
                continue;
            };
            viewers.last = left.iter().all(|passing| passing.room != at);
            hosted.room.forward(packets, &mut viewers, now);
            now = viewers.now;
            if hosted.room.wants(hosted.timer) && !touched_rooms.contains(&at) {
                touched_rooms.push(at);
            }
        }
        batch.clear();
        self.batch = batch;
        let mut said = mem::take(&mut self.said);
        for (key, event) in said.drain(..) {
            self.carry_out(key, event, now);
        }
        if self.said.is_empty() {
            self.said = said;
        }
        now
    }

    /// Others are heard in a room than before; those who are new from a moment ago on.
    pub(super) fn hear_only(&mut self, at: usize, heard: Option<Arc<[SessionId]>>, now: Instant) {
        let mut kept = Kept;
        let (mut viewers, room_list, _) = self.lend(&mut kept, now);
        if let Some(Some(hosted)) = room_list.get_mut(at) {
            hosted.room.hear_only(heard, &mut viewers, now);
        }
    }

    /// The viewers, for a room to send to; and beside them the rooms, and which of them have
    /// something to say.
    fn lend<'a>(
        &'a mut self,
        out: &'a mut dyn Dispatch,
        now: Instant,
    ) -> (Viewers<'a>, &'a mut [Option<Hosted>], &'a mut Vec<usize>) {
        let viewers = Viewers {
            sessions: &mut self.sessions,
            dirty: &mut self.dirty,
            totals: &mut self.totals,
            relief: self.relief,
            outputs: &mut self.outputs,
            drained: &mut self.drained,
            said: &mut self.said,
            timers: &mut self.timers,
            epoch: self.epoch,
            out,
            woken: 0,
            now,
            last: false,
        };
        (viewers, &mut self.room_list, &mut self.touched_rooms)
    }

    /// Lets time pass: sessions and rooms whose deadline has come.
    pub(super) fn handle_time(&mut self, now: Instant) {
        let Self { timers, sessions, .. } = self;
        let mut due = Vec::new();
        while let Some(key) = timers.pop(now, |key| sessions.get(key).and_then(|p| p.timer)) {
            if let Some(participant) = sessions.get_mut(key) {
                participant.timer = None;
            }
            due.push(key);
        }
        for key in due {
            self.wake(key, now);
        }
        let Self { room_timers, room_list, .. } = self;
        let timer = |at: usize| room_list.get(at).and_then(Option::as_ref).and_then(|h| h.timer);
        let mut due = Vec::new();
        while let Some(at) = room_timers.pop(now, timer) {
            due.push(at);
        }
        for at in due {
            self.wake_room(at, now);
        }
    }

    fn wake(&mut self, key: MemberKey, now: Instant) {
        let limits = &self.config.limits;
        let Some(participant) = self.sessions.get_mut(key) else { return };
        let silent = now.saturating_duration_since(participant.heard) >= limits.media_silence;
        let connected = participant.media.as_ref().is_some_and(|media| media.is_connected());
        let late = participant.connect_by.is_some_and(|at| at <= now);
        if (!connected && late) || (connected && silent) {
            return self.leave(key, Reason::MediaFailed, now);
        }
        if participant.media.as_ref().is_some_and(|media| media.channels().is_abused()) {
            return self.leave(key, Reason::StateMismatch, now);
        }
        // What it was sent meanwhile moved its deadline back: there is nothing to do yet.
        let due = participant.due();
        if due.is_none_or(|at| at <= now) {
            participant.put_off.woken();
            self.run(key, now, |media, out| media.handle_time(out, now));
        }
        self.set_timer(key, now);
    }

    fn wake_room(&mut self, at: usize, now: Instant) {
        let keep = self.config.limits.empty_room;
        let Some(Some(hosted)) = self.room_list.get_mut(at) else { return };
        hosted.timer = None;
        let home = matches!(hosted.side, Side::Home { .. });
        if home && hosted.room.empty_since().is_some_and(|since| since + keep <= now) {
            return self.drop_room(at);
        }
        hosted.room.handle_time(now);
        self.retry_room(at, now);
        self.touch_room(at);
    }

    /// Puts a participant's next deadline into the timers, unless an earlier one stands there.
    pub(super) fn set_timer(&mut self, key: MemberKey, now: Instant) {
        if let Some(participant) = self.sessions.get_mut(key) {
            participant.set_timer(key, &mut self.timers, self.epoch, now);
        }
    }

    /// Settles what the last inputs touched: what rooms have to say, then each touched session
    /// once. Sending can touch others again, hence rounds. Time passes while it is sent.
    pub(super) fn settle(&mut self, out: &mut dyn Dispatch, now: Instant) {
        let mut now = now.max(self.told);
        for _ in 0..ROUNDS {
            now = self.pass(out, now);
            if self.dirty.is_empty() && self.touched_rooms.is_empty() {
                break;
            }
            for at in mem::take(&mut self.touched_rooms) {
                self.settle_room(at, now);
            }
            now = self.wake_dirty(out, now);
        }
        self.told = now;
    }

    /// Wakes all sessions that were touched; what time it is then.
    fn wake_dirty(&mut self, out: &mut dyn Dispatch, mut now: Instant) -> Instant {
        let mut dirty = mem::take(&mut self.dirty);
        let mut woken = 0;
        for key in dirty.drain(..) {
            if let Some(participant) = self.sessions.get_mut(key) {
                if !mem::take(&mut participant.dirty) {
                    continue;
                }
                participant.put_off.woken();
                if participant.media.is_none() && participant.nid > 0 {
                    tracing::error!(?key, "the engine of a session failed; the session ends");
                    self.leave(key, Reason::MediaFailed, now);
                    continue;
                }
            }
            self.run(key, now, |media, out| media.handle_time(out, now));
            woken += 1;
            if woken % TOGETHER == 0 {
                now = out.dispatch(&mut self.drained.transmits, now);
            }
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
        now
    }

    /// Takes everything that a room has to say, and notes when it wants to be woken.
    fn settle_room(&mut self, at: usize, now: Instant) {
        while let Some(room) = self.room_mut(at) {
            let Some(event) = room.poll_wish(now).or_else(|| room.poll()) else { break };
            self.handle_room_event(at, event, now);
        }
        let limits = &self.config.limits;
        let Some(Some(Hosted { room, timer, .. })) = self.room_list.get_mut(at) else { return };
        let expiry = room.empty_since().map(|since| since + limits.empty_room);
        let due = [room.deadline(), room.messages_due(limits.data_patience), expiry];
        // A message that stays blocked would otherwise be due at once for ever.
        let due = due.into_iter().flatten().min().map(|at| at.max(now + Duration::from_millis(1)));
        if let Some(due) = due
            && timer.is_none_or(|known| due < known)
        {
            *timer = Some(due);
            self.room_timers.set(at, due);
        }
    }

    /// Does something in a participant's room, and has the room settled afterwards.
    pub(super) fn in_room(&mut self, key: MemberKey, work: impl FnOnce(&mut crate::room::Room)) {
        let Some(at) = self.sessions.get(key).map(|participant| participant.room) else { return };
        if let Some(room) = self.room_mut(at) {
            work(room);
            self.touch_room(at);
        }
    }

    fn retry_messages(&mut self, key: MemberKey, now: Instant) {
        if let Some(at) = self.sessions.get(key).map(|participant| participant.room) {
            self.retry_room(at, now);
        }
    }

    pub(super) fn retry_room(&mut self, at: usize, now: Instant) {
        let patience = self.config.limits.data_patience;
        let mut touched = Vec::new();
        let Self { sessions, room_list, totals, .. } = self;
        if let Some(Some(hosted)) = room_list.get_mut(at) {
            let mut delivered = 0;
            let mut lanes = WorkerLanes { sessions, touched: &mut touched, totals };
            delivered += hosted.room.retry_messages(&mut lanes, patience, now);
            totals.data_out += u64::from(delivered);
        }
        touched.into_iter().for_each(|key| self.touch(key));
    }
}

impl Participant {
    fn accepts_stun(&self, arrival: Arrival<'_>, now: Instant) -> bool {
        let Arrival { from, to, bytes, .. } = arrival;
        self.media.as_ref().is_some_and(|media| media.accepts_stun(from, to, bytes, now))
    }
}

impl Arrival<'_> {
    fn hand_over(&self, owner: crate::ids::WorkerId) -> Output {
        Output::HandOver { owner, from: self.from, to: self.to, bytes: self.bytes.into() }
    }
}

impl StunGate {
    fn admits(&mut self, ip: IpAddr, now: Instant) -> bool {
        if self.second.is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1))
        {
            self.second = Some(now);
            self.all = 0;
            self.by_net = HashMap::new();
        }
        if self.all >= STUN_IN_ALL {
            return false;
        }
        self.all += 1;
        let count = self.by_net.entry(net_of(ip)).or_default();
        *count += 1;
        *count <= STUN_PER_NET
    }
}

/// The network of an address: /24 or /64.
fn net_of(ip: IpAddr) -> [u8; 8] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            [0, 0, 0, 0, 4, a, b, c]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            let mut net = [0; 8];
            for (pair, segment) in net.chunks_exact_mut(2).zip([a, b, c, d]) {
                pair.copy_from_slice(&segment.to_be_bytes());
            }
            net
        }
    }
}
