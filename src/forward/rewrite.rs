//! Sequence numbers, timestamps and picture ids of one outgoing stream, without a seam.
//!
//! While a source lasts, its numbers are moved by a constant: what was lost or reordered upstream
//! stays so, and a late packet finds its place. Packets that are left out on purpose (temporal
//! layers) leave no hole: what follows moves up. A new source goes on right after the last number
//! that was sent.

use std::time::{Duration, Instant};

use super::packet::{Packet, Pictures};
use crate::counts::DropReason;
use crate::units::{rtp_since, rtp_ticks};

/// A hole of more packets than this in the source is a new beginning, not loss: nobody would
/// repair it, and viewers would ask for each of its packets.
const HOLE: u64 = 512;

/// A jump of the source's clock over this is a new beginning. A muted or sleeping browser goes on
/// with its own clock; viewers' clocks go on with time.
const JUMP_SECONDS: u32 = 10;

/// A switch between layers of one publisher is timed by its clock, unless that is further from ours
/// than this: then its sender reports are wrong.
const CLOCKS_APART_MICROS: u64 = 500_000;

/// Frames from before now stand so far apart, in ticks of a video clock: a millisecond.
const REPLAY_STEP: u32 = 90;

/// How many runs of left-out packets are remembered, so that a late packet finds its place. At
/// thirty frames per second with something left out of each, half a second.
const RUNS: usize = 16;

/// Numbers that a packet leaves under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Extended sequence number; the stream's first one is below 65,536.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// What is written into the payload descriptor, if that is not what stands there.
    pub pictures: Option<PictureNumbers>,
    /// Marker bit.
    pub marker: bool,
    /// What is written into the dependency descriptor, if there is one: the number of its frame.
    pub frame: Option<u16>,
}

/// Running numbers of a payload descriptor (RFC 7741, RFC 9628).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureNumbers {
    /// Picture id, 7 or 15 bits as the source has it.
    pub picture_id: Option<u16>,
    /// Number of the temporal base layer's frame.
    pub tl0: Option<u8>,
}

/// The source that is sent now, and how its numbers are moved.
#[derive(Clone, Copy, Debug)]
struct Binding {
    first_in: u64,
    last_in: u64,
    first_out: u64,
    last_timestamp_in: u32,
    timestamp: u32,
    picture: u16,
    tl0: u8,
    frame: u16,
    /// Which of the numbers up to `last_in` were sent: as many as the engine asks to have sent again.
    sent: u128,
    /// The picture that was left out last.
    thinned: Option<u16>,
    /// The latest runs of left-out packets, newest first.
    runs: [Run; RUNS],
    replay: Option<Replay>,
}

/// Packets from before now, sent in one go: their frames stand close together, so that a viewer
/// decodes through them and is up to date.
#[derive(Clone, Copy, Debug)]
struct Replay {
    /// The last packet of them.
    until: u64,
    /// The source's timestamp of the present frame, and the stream's.
    frame: u32,
    timestamp: u32,
    /// From one frame to the next, in ticks.
    step: u32,
}

/// Neighbouring packets that were left out, and what all of them so far take off later numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// The first that was left out.
    from: u64,
    /// The first after them.
    to: u64,
    packets: u64,
    pictures: u16,
    /// The timestamps of its first and its last frame: what comes late of them is left out too.
    first: u32,
    last: u32,
}

/// What was sent last, and when.
#[derive(Clone, Copy, Debug)]
struct Last {
    seq: u64,
    timestamp: u32,
    at: Instant,
    captured: Option<u64>,
    picture: u16,
    tl0: u8,
    frame: u16,
}

impl Last {
    /// The time from this packet to another one that follows it in the stream.
    fn until(&self, packet: &Packet, now: Instant) -> Duration {
        let arrived = now.saturating_duration_since(self.at);
        let taken = match (self.captured, packet.captured) {
            (Some(before), Some(after)) => Duration::from_micros(after.saturating_sub(before)),
            _ => return arrived,
        };
        let apart = taken.abs_diff(arrived);
        if apart > Duration::from_micros(CLOCKS_APART_MICROS) { arrived } else { taken }
    }
}

/// One outgoing stream.
#[derive(Clone, Debug)]
pub struct Rewriter {
    first_seq: u16,
    last: Option<Last>,
    binding: Option<Binding>,
}

impl Rewriter {
    /// A stream that has sent nothing.
    #[must_use]
    pub fn new(first_seq: u16) -> Self {
        Self { first_seq, last: None, binding: None }
    }

    /// A source begins with these packets from before now, which are to be rewritten next, in order:
    /// a keyframe first. What follows them has the times that it had without them.
    pub fn start_with(&mut self, packets: &[Packet], now: Instant) {
        let (Some(first), Some(last)) = (packets.first(), packets.last()) else { return };
        let before = self.last.map(|before| before.timestamp);
        self.start(last, now);
        let mut frames = 1;
        for pair in packets.windows(2) {
            let [a, b] = pair else { continue };
            frames = u32::saturating_add(frames, u32::from(a.timestamp != b.timestamp));
        }
        let Some(binding) = self.binding.as_mut() else { return };
        let mut newest = last.timestamp.wrapping_add(binding.timestamp);
        // Between what was sent last and the newest of these; a new stream has all the room.
        let room = before.map_or(u32::MAX, |before| newest.wrapping_sub(before));
        if room <= frames {
            // A tick for each: they come a moment early, and never before what was sent.
            let more = frames.saturating_add(1).saturating_sub(room);
            binding.timestamp = binding.timestamp.wrapping_add(more);
            newest = newest.wrapping_add(more);
        }
        let step = room.checked_div(frames.saturating_add(1)).unwrap_or(1).clamp(1, REPLAY_STEP);
        let ids = |packet: &Packet| {
            let pictures = &packet.pictures;
            let frame = packet.frame_number().unwrap_or(0);
            (pictures.id().unwrap_or(0), pictures.tl0().unwrap_or(0), frame)
        };
        let (old, new) = (ids(last), ids(first));
        binding.first_in = first.seq;
        binding.last_in = first.seq;
        binding.last_timestamp_in = first.timestamp;
        if before.is_some() {
            binding.picture = binding.picture.wrapping_add(old.0.wrapping_sub(new.0));
            binding.tl0 = binding.tl0.wrapping_add(old.1.wrapping_sub(new.1));
            binding.frame = binding.frame.wrapping_add(old.2.wrapping_sub(new.2));
        }
        binding.replay = Some(Replay {
            until: last.seq,
            frame: first.timestamp,
            timestamp: newest.wrapping_sub(step.wrapping_mul(frames.saturating_sub(1))),
            step,
        });
    }

    /// A source begins with `packet`, which is to be rewritten next.
    pub fn start(&mut self, packet: &Packet, now: Instant) {
        let picture_in = packet.pictures.id().unwrap_or(0);
        let tl0_in = packet.pictures.tl0().unwrap_or(0);
        let frame_in = packet.frame_number().unwrap_or(0);
        let (first_out, timestamp, picture, tl0, frame) = match self.last {
            None => (u64::from(self.first_seq), packet.timestamp, picture_in, tl0_in, frame_in),
            Some(last) => {
                let elapsed = last.until(packet, now);
                // At least one tick: two frames never share a timestamp.
                let ticks = rtp_ticks(elapsed, packet.clock_rate).max(1);
                (
                    last.seq.saturating_add(1),
                    last.timestamp.wrapping_add(ticks),
                    last.picture.wrapping_add(1),
                    last.tl0.wrapping_add(1),
                    last.frame.wrapping_add(1),
                )
            }
        };
        self.binding = Some(Binding {
            first_in: packet.seq,
            last_in: packet.seq,
            first_out,
            last_timestamp_in: packet.timestamp,
            timestamp: timestamp.wrapping_sub(packet.timestamp),
            picture: picture.wrapping_sub(picture_in),
            tl0: tl0.wrapping_sub(tl0_in),
            frame: frame.wrapping_sub(frame_in),
            sent: 0,
            thinned: None,
            runs: [Run::default(); RUNS],
            replay: None,
        });
    }

    /// The newest packet of the source that was sent or left out.
    pub fn newest(&self) -> Option<u64> {
        self.binding.as_ref().map(|binding| binding.last_in)
    }

    /// A packet of the source is left out: what follows closes up. One that comes late has left a
    /// hole already, and leaves it.
    pub fn thin(&mut self, packet: &Packet) {
        if let Some(binding) = self.binding.as_mut().filter(|b| packet.seq > b.last_in) {
            binding.thin(packet);
            // Frames from before now were counted with it.
            binding.timestamp_of(packet);
        }
    }

    /// The source goes on with this packet, and whatever it sent since the last one that went out was
    /// left out on purpose: the packet follows that one. Whether it is newer than that.
    pub fn close_up(&mut self, packet: &Packet) -> bool {
        let Some(binding) = self.binding.as_mut() else { return false };
        if packet.seq <= binding.last_in {
            return false;
        }
        if !binding.jumps_to(packet) {
            binding.close_up(packet);
        }
        true
    }

    /// The numbers of a packet of the source that began last.
    ///
    /// # Errors
    /// Why it must not be sent.
    pub fn rewrite(&mut self, packet: &Packet) -> Result<Numbers, DropReason> {
        let binding = self.binding.as_ref().ok_or(DropReason::AwaitsKeyframe)?;
        if packet.seq < binding.first_in {
            return Err(DropReason::TooOld);
        }
        if binding.jumps_to(packet) {
            // Only forwards: a packet from before the jump has nowhere to go.
            if packet.seq < binding.last_in {
                return Err(DropReason::TooOld);
            }
            self.start(packet, packet.arrived);
        }
        let binding = self.binding.as_mut().ok_or(DropReason::AwaitsKeyframe)?;
        binding.note(packet)?;
        let run = binding.before(packet)?;
        let offset = packet.seq.saturating_sub(binding.first_in).saturating_sub(run.packets);
        let seq = binding.first_out.saturating_add(offset);
        let timestamp = binding.timestamp_of(packet);
        let picture = binding.picture.wrapping_sub(run.pictures);
        let ids = moved_by(&packet.pictures, picture, binding.tl0);
        // While nothing is moved the payload goes on as it came.
        let moved = (picture, binding.tl0) != (0, 0);
        // What is left out of frames leaves a gap in their numbers: others count from them.
        let frame = packet.frame_number().map(|number| number.wrapping_add(binding.frame));
        let pictures = (moved && ids != PictureNumbers::default()).then_some(ids);
        let numbers = Numbers { seq, timestamp, pictures, marker: packet.marker, frame };
        self.remember(packet, &numbers, ids);
        Ok(numbers)
    }

    fn remember(&mut self, packet: &Packet, numbers: &Numbers, ids: PictureNumbers) {
        let Numbers { seq, timestamp, frame, .. } = *numbers;
        if self.last.is_some_and(|last| last.seq >= seq) {
            return;
        }
        let before = self.last.map_or((0, 0, 0), |last| (last.picture, last.tl0, last.frame));
        self.last = Some(Last {
            seq,
            timestamp,
            at: packet.arrived,
            captured: packet.captured,
            picture: ids.picture_id.unwrap_or(before.0),
            tl0: ids.tl0.unwrap_or(before.1),
            frame: frame.unwrap_or(before.2),
        });
    }
}

impl Binding {
    /// Whether a packet is a new beginning, and not the next or a late one.
    fn jumps_to(&self, packet: &Packet) -> bool {
        let ahead = packet.seq.saturating_sub(self.last_in);
        let clock = rtp_since(packet.timestamp, self.last_timestamp_in).unsigned_abs();
        ahead > HOLE || clock > packet.clock_rate.saturating_mul(JUMP_SECONDS)
    }

    /// Leaves everything between the newest packet and this one out.
    fn close_up(&mut self, packet: &Packet) {
        let from = self.last_in.saturating_add(1);
        let [newest, ..] = self.runs;
        let packets = newest.packets.saturating_add(packet.seq.saturating_sub(from));
        if packets == newest.packets {
            return;
        }
        self.runs.rotate_right(1);
        if let Some(run) = self.runs.first_mut() {
            // Nobody saw their timestamps: that of the packet before them stands for them.
            let (first, last) = (self.last_timestamp_in, self.last_timestamp_in);
            *run = Run { from, to: packet.seq, packets, first, last, ..newest };
        }
    }

    /// Notes that a packet goes out.
    fn note(&mut self, packet: &Packet) -> Result<(), DropReason> {
        if packet.seq > self.last_in {
            let ahead = u32::try_from(packet.seq.saturating_sub(self.last_in)).unwrap_or(u32::MAX);
            self.sent = self.sent.checked_shl(ahead).unwrap_or(0) | 1;
            self.last_in = packet.seq;
            self.last_timestamp_in = packet.timestamp;
            return Ok(());
        }
        let behind = self.last_in.saturating_sub(packet.seq);
        let bit = u32::try_from(behind).ok().and_then(|behind| 1u128.checked_shl(behind));
        let bit = bit.ok_or(DropReason::TooOld)?;
        if self.sent & bit != 0 {
            return Err(DropReason::Duplicate);
        }
        self.sent |= bit;
        Ok(())
    }

    /// The timestamp under which a packet goes.
    fn timestamp_of(&mut self, packet: &Packet) -> u32 {
        if let Some(replay) = self.replay.as_mut().filter(|replay| packet.seq <= replay.until) {
            if replay.frame != packet.timestamp {
                replay.frame = packet.timestamp;
                replay.timestamp = replay.timestamp.wrapping_add(replay.step);
            }
            return replay.timestamp;
        }
        packet.timestamp.wrapping_add(self.timestamp)
    }

    /// Leaves a packet out that is newer than all before.
    fn thin(&mut self, packet: &Packet) {
        let ahead = packet.seq.saturating_sub(self.last_in);
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        self.sent = self.sent.checked_shl(ahead).unwrap_or(0);
        self.last_in = packet.seq;
        self.last_timestamp_in = packet.timestamp;
        let [newest, ..] = self.runs;
        let picture = packet.pictures.id().filter(|_| packet.pictures.close_up());
        let new = picture.is_some() && picture != self.thinned;
        self.thinned = picture;
        if newest.to != packet.seq || newest.packets == 0 {
            self.runs.rotate_right(1);
            if let Some(run) = self.runs.first_mut() {
                *run = Run { from: packet.seq, first: packet.timestamp, ..newest };
            }
        }
        if let Some(run) = self.runs.first_mut() {
            run.to = packet.seq.saturating_add(1);
            run.last = packet.timestamp;
            run.packets = run.packets.saturating_add(1);
            run.pictures = run.pictures.wrapping_add(u16::from(new));
        }
    }

    /// The newest run before a packet of a frame that was not left out.
    fn before(&self, packet: &Packet) -> Result<Run, DropReason> {
        for run in &self.runs {
            if run.packets == 0 {
                return Ok(*run);
            }
            // If frames tell their numbers, whether one is left out is known by those; and then
            // parts of what has one timestamp can be left out.
            let by_time = packet.frame.is_none();
            if packet.seq >= run.to {
                let tail = by_time && packet.timestamp == run.last;
                return if tail { Err(DropReason::Thinned) } else { Ok(*run) };
            }
            if packet.seq >= run.from || (by_time && packet.timestamp == run.first) {
                return Err(DropReason::Thinned);
            }
        }
        Err(DropReason::TooOld)
    }
}

/// The running numbers of a packet when its stream's are moved by so much.
fn moved_by(pictures: &Pictures, picture: u16, tl0: u8) -> PictureNumbers {
    PictureNumbers {
        picture_id: pictures.id().map(|id| id.wrapping_add(picture) & pictures.mask()),
        tl0: pictures.tl0().map(|index| index.wrapping_add(tl0)),
    }
}

#[cfg(test)]
mod tests;
