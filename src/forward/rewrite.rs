//! Sequence numbers, timestamps and VP8 picture ids of one outgoing stream, without a seam.
//!
//! While a source lasts, its numbers are moved by a constant: what was lost or reordered upstream
//! stays so, and a late packet finds its place. A new source goes on right after the last number
//! that was sent.

use std::time::Instant;

use super::packet::Packet;
use crate::counts::DropReason;
use crate::units::{rtp_since, rtp_ticks};
use crate::wire::vp8::Vp8;

/// A hole of more packets than this in the source is a new beginning, not loss: nobody would
/// repair it, and viewers would ask for each of its packets.
const HOLE: u64 = 512;

/// A jump of the source's clock over this is a new beginning. A muted or sleeping browser goes on
/// with its own clock; viewers' clocks go on with time.
const JUMP_SECONDS: u32 = 10;

/// Numbers that a packet leaves under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Extended sequence number; the stream's first one is below 65,536.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// What is written into the VP8 descriptor, if that is not what stands there.
    pub vp8: Option<Vp8Numbers>,
}

/// Running numbers of the VP8 descriptor (RFC 7741).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Numbers {
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
    /// Which of the 64 numbers before `last_in` were sent.
    sent: u64,
}

/// What was sent last, and when.
#[derive(Clone, Copy, Debug)]
struct Last {
    seq: u64,
    timestamp: u32,
    at: Instant,
    picture: u16,
    tl0: u8,
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

    /// A source begins with `packet`, which is to be rewritten next.
    pub fn start(&mut self, packet: &Packet, now: Instant) {
        let vp8 = packet.vp8;
        let (picture_in, tl0_in) =
            vp8.map_or((0, 0), |vp8| (vp8.picture_id.unwrap_or(0), vp8.tl0.unwrap_or(0)));
        let (first_out, timestamp, picture, tl0) = match self.last {
            None => (u64::from(self.first_seq), packet.timestamp, picture_in, tl0_in),
            Some(last) => {
                let elapsed = now.saturating_duration_since(last.at);
                // At least one tick: two frames never share a timestamp.
                let ticks = rtp_ticks(elapsed, packet.clock_rate).max(1);
                (
                    last.seq.saturating_add(1),
                    last.timestamp.wrapping_add(ticks),
                    last.picture.wrapping_add(1),
                    last.tl0.wrapping_add(1),
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
            sent: 0,
        });
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
        let jumped = {
            let ahead = packet.seq.saturating_sub(binding.last_in);
            let clock = rtp_since(packet.timestamp, binding.last_timestamp_in).unsigned_abs();
            ahead > HOLE || clock > packet.clock_rate.saturating_mul(JUMP_SECONDS)
        };
        if jumped {
            // Only forwards: a packet from before the jump has nowhere to go.
            if packet.seq < binding.last_in {
                return Err(DropReason::TooOld);
            }
            self.start(packet, packet.arrived);
        }
        let binding = self.binding.as_mut().ok_or(DropReason::AwaitsKeyframe)?;
        binding.note(packet)?;
        let offset = packet.seq.saturating_sub(binding.first_in);
        let seq = binding.first_out.saturating_add(offset);
        let timestamp = packet.timestamp.wrapping_add(binding.timestamp);
        let vp8 = packet.vp8.map(|vp8| binding.vp8(vp8));
        // While nothing is moved the payload goes on as it came.
        let moved = (binding.picture, binding.tl0) != (0, 0);
        self.remember(packet, seq, timestamp, vp8);
        let vp8 = vp8.filter(|ids| moved && *ids != Vp8Numbers::default());
        Ok(Numbers { seq, timestamp, vp8 })
    }

    fn remember(&mut self, packet: &Packet, seq: u64, timestamp: u32, vp8: Option<Vp8Numbers>) {
        if self.last.is_some_and(|last| last.seq >= seq) {
            return;
        }
        let before = self.last.map_or((0, 0), |last| (last.picture, last.tl0));
        self.last = Some(Last {
            seq,
            timestamp,
            at: packet.arrived,
            picture: vp8.and_then(|ids| ids.picture_id).unwrap_or(before.0),
            tl0: vp8.and_then(|ids| ids.tl0).unwrap_or(before.1),
        });
    }
}

impl Binding {
    /// Notes that a packet goes out.
    fn note(&mut self, packet: &Packet) -> Result<(), DropReason> {
        if packet.seq > self.last_in {
            let ahead = u32::try_from(packet.seq.saturating_sub(self.last_in)).unwrap_or(64);
            self.sent = self.sent.checked_shl(ahead).unwrap_or(0) | 1;
            self.last_in = packet.seq;
            self.last_timestamp_in = packet.timestamp;
            return Ok(());
        }
        let behind = self.last_in.saturating_sub(packet.seq);
        let bit = u32::try_from(behind).ok().and_then(|behind| 1u64.checked_shl(behind));
        let bit = bit.ok_or(DropReason::TooOld)?;
        if self.sent & bit != 0 {
            return Err(DropReason::Duplicate);
        }
        self.sent |= bit;
        Ok(())
    }

    fn vp8(&self, vp8: Vp8) -> Vp8Numbers {
        let mask = if vp8.wide { 0x7fff } else { 0x7f };
        Vp8Numbers {
            picture_id: vp8.picture_id.map(|id| id.wrapping_add(self.picture) & mask),
            tl0: vp8.tl0.map(|tl0| tl0.wrapping_add(self.tl0)),
        }
    }
}

#[cfg(test)]
mod tests;
