//! What came before, sent to who begins to watch: a picture at once, without a keyframe that
//! everybody else would have to be sent as well.

use std::time::Instant;

use super::Member;
use super::fanout::Passing;
use crate::forward::layers::MAX_LAYERS;
use crate::forward::packet::Packet;
use crate::forward::rewrite::Numbers;
use crate::forward::segment::Segments;
use crate::forward::{Begin, Forwarder, Verdict};
use crate::model::Bandwidth;

/// Who sees nothing is served so much of what its network carries in a second, in tenths: it decodes
/// through that while it is sent. Who waits for another layer has a picture, and is served less.
const BEGINS_WITH: u64 = 12;
const CHANGES_WITH: u64 = 3;

/// What a forwarder could begin with now, of what came before.
pub(super) fn beginning<'a>(
    segments: &'a Segments,
    forwarder: &Forwarder,
    spare: Spare,
    now: Instant,
) -> Option<&'a [Packet]> {
    match forwarder.could_begin()? {
        Begin::Any(layer) => {
            let top = layer.min(u8::try_from(MAX_LAYERS).unwrap_or(0));
            let fits = |layer: u8| segments.of(layer, spare.bytes(BEGINS_WITH), now);
            (0..=top).rev().find_map(fits)
        }
        Begin::Only(layer) => segments.of(layer, spare.bytes(CHANGES_WITH), now),
    }
}

/// Whether packets at hand go on where those from before end. A keyframe at hand is better, and of a
/// layer that was not wanted here for a while something may be missing.
pub(super) fn goes_on(before: &[Packet], packets: &[Passing]) -> bool {
    let Some(last) = before.last() else { return false };
    let same = |packet: &&Packet| packet.stacked || packet.layer == last.layer;
    let mut own = packets.iter().map(|passing| &passing.packet).filter(same);
    own.clone().all(|packet| !packet.keyframe)
        && own.next().is_some_and(|next| next.seq == last.seq.saturating_add(1))
}

/// Lets a forwarder begin with what came before; how many packets were sent.
pub(super) fn begin(
    packets: &[Packet],
    forwarder: &mut Forwarder,
    now: Instant,
    send: impl FnOnce(&[(&Packet, Numbers)]),
) -> u64 {
    let Some(newest) = packets.last().map(|packet| packet.wallclock) else { return 0 };
    // They stand close together in the stream's time, and so they do on the wall.
    let packets: Vec<Packet> =
        packets.iter().map(|packet| Packet { wallclock: newest, ..packet.clone() }).collect();
    let sent = forwarder.begin_with(&packets, now);
    send(&sent);
    sent.len() as u64
}

/// What is to be sent after a keyframe's packet that was lost and sent again, if the keyframe begins with
/// it: the rest is there already.
pub(super) fn rest<'a>(
    packet: &Packet,
    segments: &'a Segments,
    forwarder: &mut Forwarder,
    now: Instant,
) -> Vec<(&'a Packet, Numbers)> {
    if !forwarder.begins_with(packet) {
        return Vec::new();
    }
    let mut send = |packet| match forwarder.offer(packet, now) {
        Verdict::Send(numbers) => Some((packet, numbers)),
        Verdict::Drop(_) => None,
    };
    segments.after(packet).iter().filter_map(&mut send).collect()
}

/// What a viewer was sent of what came before: its network takes a while to carry that, and another
/// picture that began in the meantime would only come later, and with it all that is live.
#[derive(Debug, Default)]
pub(super) struct CaughtUp {
    bytes: u64,
    at: Option<Instant>,
}

/// What a viewer's network could be given beside what it carries already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spare {
    /// Bit/s that it carries.
    carries: u64,
    /// Bytes of what came before that are still on their way.
    taken: u64,
}

impl Spare {
    /// Bytes that it carries in so many tenths of a second, without what is taken.
    fn bytes(self, tenths: u64) -> u64 {
        (self.carries / 80 * tenths).saturating_sub(self.taken)
    }
}

impl CaughtUp {
    /// What could be given beside it to a network.
    pub fn spare(&self, network: Bandwidth, now: Instant) -> Spare {
        let carries = network.estimate;
        Spare { carries, taken: self.left(carries, now) }
    }

    fn left(&self, carries: u64, now: Instant) -> u64 {
        let ms = self.at.map_or(0, |at| now.saturating_duration_since(at).as_millis());
        let gone = u64::try_from(u128::from(carries) * ms / 8_000).unwrap_or(u64::MAX);
        self.bytes.saturating_sub(gone)
    }

    /// Packets from before were sent.
    pub fn add(&mut self, packets: &[Packet], spare: Spare, now: Instant) {
        let bytes = packets.iter().fold(0, |sum, packet| sum + packet.payload.len() as u64);
        self.bytes = spare.taken + bytes;
        self.at = Some(now);
    }
}

impl Member {
    /// What its network could be given of what came before.
    pub(super) fn spare(&self, now: Instant) -> Spare {
        self.caught_up.spare(self.bandwidth(), now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_on_its_way_leaves_less_room_until_it_has_been_carried() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let mut caught_up = CaughtUp::default();
        let spare = |caught_up: &CaughtUp, now| {
            let taken = caught_up.left(800_000, now);
            Spare { carries: 800_000, taken }
        };
        assert_eq!(spare(&caught_up, t).bytes(12), 120_000);
        caught_up.bytes = 70_000;
        caught_up.at = Some(t);
        assert_eq!(spare(&caught_up, t).bytes(12), 50_000);
        assert_eq!(spare(&caught_up, t).bytes(3), 0, "another layer has to wait");
        assert_eq!(spare(&caught_up, at(500)).bytes(12), 100_000);
        let taken = spare(&caught_up, at(500));
        caught_up.add(&[], taken, at(500));
        assert_eq!(spare(&caught_up, at(600)).bytes(12), 110_000, "what is left adds up");
        assert_eq!(spare(&caught_up, at(9_000)).bytes(12), 120_000);
    }
}
