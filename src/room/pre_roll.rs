//! What a microphone sent just before it is heard: by all, because it was elected, or by one viewer,
//! because a seat was given to it. It is sent then, so that the first syllable is heard.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::speakers;
use crate::forward::packet::Packet;

/// What is sent of a microphone's past when it is elected. A voice out of silence is above the
/// threshold with its third packet (60 ms); to ask a home under load takes some more.
const ELECTED: Duration = Duration::from_millis(200);

/// What is kept. A seat is given at the next look for speakers (200 ms), and the client has to say
/// that it knows who sits there. Later than this, what was missed is better left than caught up on.
const KEPT: Duration = Duration::from_millis(400);

/// Most packets of that: twenty of 20 ms, and some for shorter ones.
const MOST_PACKETS: usize = 32;

/// What goes before the first loud packet: consonants are less loud than the vowel after them.
const LEAD: Duration = Duration::from_millis(40);

/// An Opus packet of so many bytes is one of silence (discontinuous transmission).
pub(super) const SILENT_BYTES: usize = 3;

/// The newest packets of one track of sound.
#[derive(Debug, Default)]
pub(super) struct PreRoll {
    packets: VecDeque<Packet>,
    /// So many of the newest were held back from everybody.
    held: usize,
}

impl PreRoll {
    /// Keeps a packet that went on.
    pub fn keep(&mut self, packet: &Packet, now: Instant) {
        self.push(packet, now);
        self.held = 0;
    }

    /// Keeps a packet that is held back; how many of those are given up by now.
    pub fn hold(&mut self, packet: &Packet, now: Instant) -> usize {
        let given_up = self.push(packet, now);
        self.held += 1;
        given_up
    }

    /// Packets are held back from now on, or no longer: of those that were, the ones to send now, in
    /// order, and how many are given up.
    pub fn take_held(&mut self, now: Instant) -> (Vec<Packet>, usize) {
        let given_up = self.forget(now);
        let held = std::mem::take(&mut self.held);
        let all = self.packets.iter().skip(self.packets.len() - held);
        let new = |packet: &&Packet| now.saturating_duration_since(packet.arrived) <= ELECTED;
        let packets: Vec<Packet> = in_order(all.filter(new)).cloned().collect();
        let old = held - packets.len();
        (packets, given_up + old)
    }

    /// The beginning of what is being said, up to a packet with this number, in order, if that is
    /// still here: who comes into the midst of it need not hear it late.
    pub fn onset(&self, before: u64, now: Instant) -> Vec<&Packet> {
        let age = |packet: &Packet| now.saturating_duration_since(packet.arrived);
        let kept = |packet: &&Packet| age(packet) <= KEPT && packet.seq < before;
        let kept = in_order(self.packets.iter().filter(kept));
        let kept: Vec<&Packet> = kept.collect();
        let Some(first) = kept.iter().position(|packet| is_loud(packet)) else { return Vec::new() };
        let begins = kept.get(first).map_or(KEPT, |packet| age(packet));
        if begins + LEAD > KEPT {
            return Vec::new();
        }
        let skipped = kept.iter().take_while(|packet| age(packet) > begins + LEAD).count();
        kept.into_iter().skip(skipped).collect()
    }

    fn push(&mut self, packet: &Packet, now: Instant) -> usize {
        let mut given_up = self.forget(now);
        if self.packets.len() >= MOST_PACKETS {
            given_up += self.forget_first();
        }
        self.packets.push_back(packet.clone());
        given_up
    }

    /// Forgets what is too old; how many of those were held back.
    fn forget(&mut self, now: Instant) -> usize {
        let old = |packet: &Packet| now.saturating_duration_since(packet.arrived) > KEPT;
        let mut given_up = 0;
        while self.packets.front().is_some_and(old) {
            given_up += self.forget_first();
        }
        given_up
    }

    fn forget_first(&mut self) -> usize {
        let was_held = self.held == self.packets.len();
        self.packets.pop_front();
        self.held -= usize::from(was_held);
        usize::from(was_held)
    }
}

fn in_order<'a>(packets: impl Iterator<Item = &'a Packet>) -> impl Iterator<Item = &'a Packet> {
    let mut packets: Vec<&Packet> = packets.collect();
    packets.sort_by_key(|packet| packet.seq);
    packets.into_iter()
}

/// Whether somebody may be speaking in it, as loud as who goes on speaking.
fn is_loud(packet: &Packet) -> bool {
    match packet.level {
        Some(level) => f32::from(level) > speakers::STOPS_AT,
        None => packet.payload.len() > SILENT_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::forward::packet::{Codec, Pictures};
    use crate::model::Kind;

    const NOISE: Option<i8> = Some(-70);
    const LOUD: Option<i8> = Some(-20);

    fn at(ms: u64) -> Instant {
        crate::test_clock() + Duration::from_millis(ms)
    }

    /// The packet that came `n` times 20 ms after the first.
    fn packet(n: u64, level: Option<i8>) -> Packet {
        Packet {
            kind: Kind::Audio,
            codec: Codec::Opus,
            layer: 0,
            temporal: 0,
            sync: false,
            seq: n,
            timestamp: 0,
            clock_rate: 48_000,
            marker: false,
            stacked: false,
            pictures: Pictures::None,
            frame: None,
            descriptor: None,
            keyframe: false,
            level,
            voice: None,
            orientation: None,
            arrived: at(20 * n),
            captured: None,
            wallclock: at(20 * n),
            payload: Arc::from([0; 80]),
        }
    }

    fn seqs<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Vec<u64> {
        packets.into_iter().map(|packet| packet.seq).collect()
    }

    /// What begins before packet `n`, of one that is loud from packet `loud` on.
    fn onset(loud: u64, n: u64) -> Vec<u64> {
        let mut pre_roll = PreRoll::default();
        for k in 0..n {
            let level = if k < loud { NOISE } else { LOUD };
            pre_roll.keep(&packet(k, level), at(20 * k));
        }
        seqs(pre_roll.onset(n, at(20 * n)))
    }

    #[test]
    fn what_is_being_said_begins_a_little_before_it_is_loud() {
        assert_eq!(onset(100, 105), [98, 99, 100, 101, 102, 103, 104]);
        assert_eq!(onset(0, 3), [0, 1, 2], "nothing was sent before");
    }

    #[test]
    fn nothing_is_caught_up_on_in_silence_or_in_the_midst_of_a_speech() {
        assert!(onset(200, 100).is_empty());
        assert!(onset(10, 100).is_empty());
        assert!(!onset(82, 100).is_empty());
        assert!(onset(81, 100).is_empty(), "its beginning is not here");
    }

    #[test]
    fn packets_that_came_in_disorder_are_in_order_and_newer_ones_are_not_among_them() {
        let mut pre_roll = PreRoll::default();
        for n in [1, 3, 2, 4] {
            pre_roll.keep(&packet(n, LOUD), at(80));
        }
        assert_eq!(seqs(pre_roll.onset(4, at(80))), [1, 2, 3]);
    }

    #[test]
    fn of_what_was_held_back_the_newest_is_sent_once_and_all_else_is_counted() {
        let mut pre_roll = PreRoll::default();
        pre_roll.keep(&packet(0, LOUD), at(0));
        let given_up: usize = (1..=30).map(|n| pre_roll.hold(&packet(n, NOISE), at(20 * n))).sum();
        let (sent, old) = pre_roll.take_held(at(600));
        assert_eq!(seqs(&sent), (20..=30).collect::<Vec<_>>());
        assert_eq!(given_up + old, 19);
        assert_eq!(pre_roll.take_held(at(600)).0.len(), 0);
        assert_eq!(pre_roll.hold(&packet(31, NOISE), at(2_000)), 0, "the old ones were sent");
    }

    #[test]
    fn however_fast_they_come_it_holds_no_more_than_so_many() {
        let mut pre_roll = PreRoll::default();
        let given_up: usize = (0..100).map(|n| pre_roll.hold(&packet(n, LOUD), at(0))).sum();
        assert_eq!((given_up, pre_roll.packets.len()), (100 - MOST_PACKETS, MOST_PACKETS));
    }
}
