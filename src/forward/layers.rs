//! Which layers a publisher sends, and what each costs. A negotiated layer may never come, and one
//! that came may stop, so packets alone say that a layer exists.

use std::time::{Duration, Instant};

use super::packet::Packet;

/// Most simulcast layers of a track; browsers send no more.
pub const MAX_LAYERS: usize = 3;

/// Most temporal layers that are told apart; browsers send three.
pub const MAX_TEMPORAL: usize = 3;

/// A layer without a packet for this long is gone. At five frames per second, the slowest that a
/// screen share sends, frames are 200 ms apart; shorter would take a lost frame for an end, longer
/// would leave a viewer on a dead layer.
const GONE_AFTER: Duration = Duration::from_millis(1_200);

/// Rates are counted over windows of this length. A keyframe in a shorter one would look like a
/// costly layer; a longer one notices late that a picture has begun to move.
const WINDOW: Duration = Duration::from_millis(500);

/// A layer of which nothing came for so long, and for four times what is usual, has paused.
const PAUSE: Duration = Duration::from_millis(300);

/// Frames that are further apart than this are not those of a usual camera.
const QUICK: Duration = Duration::from_millis(75);

/// Weight of a new window. With [`WINDOW`] a changed rate is believed after about a second.
const WEIGHT: f32 = 0.4;

/// What a layer that was never measured is taken to cost, in bit/s: what the SDK allows each.
const GUESS: [f32; MAX_LAYERS] = [150_000.0, 500_000.0, 1_700_000.0];

/// What a forwarder is to send: a simulcast layer or the spatial layers up to one, and of it the
/// temporal layers up to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The layer, 0 the smallest picture.
    pub layer: u8,
    /// The highest temporal layer, 0 the fewest frames.
    pub temporal: u8,
}

/// A target and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// What is sent.
    pub target: Target,
    /// Payload and headers, in bit/s.
    pub bps: u32,
}

/// The targets of one track that are worth choosing, cheapest first, each better than the one
/// before.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    rungs: [Rung; MAX_LAYERS * MAX_TEMPORAL],
    len: usize,
}

impl Default for Ladder {
    fn default() -> Self {
        let none = Rung { target: Target { layer: 0, temporal: 0 }, bps: 0 };
        Self { rungs: [none; MAX_LAYERS * MAX_TEMPORAL], len: 0 }
    }
}

impl Ladder {
    /// The rungs.
    #[must_use]
    pub fn rungs(&self) -> &[Rung] {
        self.rungs.get(..self.len).unwrap_or(&[])
    }

    /// Puts a rung on top, instead of those that it beats: better, and not dearer.
    pub fn push(&mut self, rung: Rung) {
        while self.rungs().last().is_some_and(|last| last.bps >= rung.bps) {
            self.len = self.len.saturating_sub(1);
        }
        if let Some(place) = self.rungs.get_mut(self.len) {
            *place = rung;
            self.len = self.len.saturating_add(1);
        }
    }
}

/// What one worker tells another of a track's layers, beside each packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Which live, one bit each.
    pub live: u8,
    /// Which could be had, one bit each: those that live, and those that were told to sleep.
    pub there: u8,
    /// What the temporal layers of each add, in kbit/s.
    pub kbps: [[u16; MAX_TEMPORAL]; MAX_LAYERS],
    /// Layers build on each other.
    pub stacked: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    heard: Option<Instant>,
    /// Bytes of each temporal layer in the present window.
    bytes: [u32; MAX_TEMPORAL],
    /// The present window is not of one piece: packets paused.
    broken: bool,
    /// What each adds, in bit/s.
    rates: [f32; MAX_TEMPORAL],
    measured: bool,
    /// The timestamp of its newest frame, and how far frames are apart.
    timestamp: Option<u32>,
    usual: Duration,
    /// The timestamp of its newest keyframe.
    keyframe: Option<u32>,
}

impl Layer {
    /// A frame began to come.
    fn frame(&mut self, timestamp: u32, now: Instant) {
        if self.timestamp.replace(timestamp) == Some(timestamp) {
            return;
        }
        self.broken |= self.pauses(now);
        let gap = self.heard.map(|at| now.saturating_duration_since(at));
        match gap {
            Some(gap) if !self.pauses(now) => {
                let eight = self.usual.saturating_mul(7).saturating_add(gap);
                self.usual = eight.checked_div(8).unwrap_or_default();
            }
            // It may be a camera that sends less often from now on.
            Some(gap) => self.usual = self.usual.saturating_mul(2).max(QUICK).min(gap),
            None => {}
        }
    }

    /// Whether nothing has come for far longer than usual.
    fn pauses(&self, now: Instant) -> bool {
        let most = PAUSE.max(self.usual.saturating_mul(4));
        self.heard.is_none_or(|at| now.saturating_duration_since(at) > most)
    }

    /// A window is over that took so long.
    fn close(&mut self, time: Duration, now: Instant) {
        let bytes = std::mem::take(&mut self.bytes);
        let broken = std::mem::take(&mut self.broken) || self.pauses(now);
        // A layer that sleeps costs what it cost when it was awake: a window in which it woke or
        // fell asleep has only a part of that.
        if broken || bytes.iter().all(|bytes| *bytes == 0) {
            return;
        }
        let weight = if self.measured { WEIGHT } else { 1.0 };
        for (rate, bytes) in self.rates.iter_mut().zip(bytes) {
            #[expect(clippy::cast_precision_loss, reason = "a rate, not a sum of money")]
            let new = bytes as f32 * 8.0 / time.as_secs_f32();
            *rate += (new - *rate) * weight;
        }
        self.measured = true;
    }
}

/// When each layer was last heard, and how much of it comes; 0 is the smallest picture.
#[derive(Clone, Debug, Default)]
pub struct LayerTable {
    layers: [Layer; MAX_LAYERS],
    window: Option<Instant>,
    /// Layers come in one stream and build on each other: each costs what those below it cost too.
    stacked: bool,
}

/// Bytes on the wire beside a payload: IP, UDP, RTP with extensions, and the authentication tag.
const OVERHEAD: usize = 70;

impl LayerTable {
    /// A packet came.
    pub fn hear(&mut self, packet: &Packet, now: Instant) {
        self.measure(now);
        self.stacked = packet.stacked;
        if packet.stacked && packet.keyframe {
            // It is of the lowest layer, and the others begin with it.
            self.layers.iter_mut().for_each(|layer| layer.keyframe = Some(packet.timestamp));
        }
        let Some(layer) = self.layers.get_mut(usize::from(packet.layer)) else { return };
        layer.frame(packet.timestamp, now);
        layer.heard = Some(now);
        if packet.keyframe {
            layer.keyframe = Some(packet.timestamp);
        }
        if layer.keyframe == Some(packet.timestamp) {
            // Seldom and large: it would pass for the rate of the layer.
            return;
        }
        let temporal = usize::from(packet.temporal).min(MAX_TEMPORAL.saturating_sub(1));
        if let Some(bytes) = layer.bytes.get_mut(temporal) {
            let size = u32::try_from(packet.payload.len().saturating_add(OVERHEAD));
            *bytes = bytes.saturating_add(size.unwrap_or(u32::MAX));
        }
    }

    /// Closes the window if it is over.
    fn measure(&mut self, now: Instant) {
        let since = *self.window.get_or_insert(now);
        let time = now.saturating_duration_since(since);
        if time < WINDOW {
            return;
        }
        self.window = Some(now);
        self.layers.iter_mut().for_each(|layer| layer.close(time, now));
    }

    /// Whether packets of `layer` come.
    #[must_use]
    pub fn lives(&self, layer: u8, now: Instant) -> bool {
        let heard = self.layers.get(usize::from(layer)).and_then(|layer| layer.heard);
        heard.is_some_and(|at| now.saturating_duration_since(at) < GONE_AFTER)
    }

    /// The layers whose packets come, one bit each.
    #[must_use]
    pub fn live(&self, now: Instant) -> u8 {
        bits(|layer| self.lives(layer, now))
    }

    /// The layers of which a packet ever came, one bit each.
    #[must_use]
    pub fn known(&self) -> u8 {
        let known =
            |layer: u8| self.layers.get(usize::from(layer)).is_some_and(|l| l.heard.is_some());
        bits(known)
    }

    /// What is worth choosing among the layers of `there`, one bit each.
    #[must_use]
    pub fn ladder(&self, there: u8) -> Ladder {
        let mut ladder = Ladder::default();
        let mut lowest = true;
        let mut below = [0.0; MAX_TEMPORAL];
        let mut guessed = 0.0;
        for ((layer, guess), index) in self.layers.iter().zip(GUESS).zip(0u8..) {
            if there & bit(index) == 0 {
                continue;
            }
            let measured = layer.rates.iter().any(|rate| *rate > 0.0);
            let mut rates = layer.rates;
            let mut bps = 0.0;
            if self.stacked {
                rates.iter_mut().zip(below).for_each(|(rate, lower)| *rate += lower);
                below = rates;
                bps = guessed;
                guessed += if measured { 0.0 } else { guess };
            }
            let count = rates.iter().filter(|rate| **rate > 0.0).count();
            for (rate, temporal) in rates.iter().zip(0u8..).filter(|_| measured) {
                bps += *rate;
                // The fewest frames only of the smallest picture: a larger one that stutters is no
                // better than a smaller one that moves.
                let worth = *rate > 0.0 && (lowest || temporal > 0 || count < 2);
                if worth {
                    let target = Target { layer: index, temporal };
                    ladder.push(Rung { target, bps: whole(bps) });
                }
            }
            if !measured {
                let bps = below.iter().sum::<f32>() + bps + guess;
                let target = Target { layer: index, temporal: TOP };
                ladder.push(Rung { target, bps: whole(bps) });
            }
            lowest = false;
        }
        // What is not measured yet has all its frames.
        if let Some(last) = ladder.len.checked_sub(1).and_then(|at| ladder.rungs.get_mut(at)) {
            last.target.temporal = TOP;
        }
        ladder
    }

    /// What a layer takes with the fewest frames, in bit/s.
    #[must_use]
    pub fn least(&self, layer: u8) -> u64 {
        let lowest = if self.stacked { 0 } else { layer };
        let layers = self.layers.iter().zip(0u8..);
        let layers = layers.filter(|(_, index)| (lowest..=layer).contains(index));
        let least = |layer: &Layer| layer.rates.into_iter().find(|rate| *rate > 0.0).unwrap_or(0.0);
        layers.map(|(layer, _)| u64::from(whole(least(layer)))).sum()
    }

    /// What another worker is told. `there`: which layers could be had, one bit each.
    #[must_use]
    pub fn summary(&self, there: u8, now: Instant) -> Summary {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is never negative"
        )]
        let kbps = |layer: &Layer| layer.rates.map(|rate| (rate / 1_000.0).ceil() as u16);
        let [a, b, c] = &self.layers;
        let kbps = [kbps(a), kbps(b), kbps(c)];
        Summary { live: self.live(now), there, kbps, stacked: self.stacked }
    }

    /// Another worker, which hears all layers, says what there is.
    pub fn adopt(&mut self, summary: &Summary, now: Instant) {
        self.stacked = summary.stacked;
        for ((layer, kbps), index) in self.layers.iter_mut().zip(summary.kbps).zip(0u8..) {
            if summary.live & bit(index) != 0 {
                layer.heard = Some(now);
            }
            layer.rates = kbps.map(|rate| f32::from(rate) * 1_000.0);
        }
    }

    /// Forgets what was heard: the track was silent on purpose. What it cost is remembered.
    pub fn forget(&mut self) {
        for layer in &mut self.layers {
            layer.heard = None;
            layer.bytes = [0; MAX_TEMPORAL];
        }
    }
}

/// A rate without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is never negative"
)]
fn whole(bps: f32) -> u32 {
    bps as u32
}

/// Every temporal layer that there is.
pub const TOP: u8 = u8::MAX;

/// The bit of a layer.
#[must_use]
pub fn bit(layer: u8) -> u8 {
    1u8.checked_shl(u32::from(layer)).unwrap_or(0)
}

/// The bits of a layer and of all below it.
#[must_use]
pub fn up_to(layer: u8) -> u8 {
    u8::MAX.checked_shr(7u32.saturating_sub(u32::from(layer))).unwrap_or(u8::MAX)
}

fn bits(holds: impl Fn(u8) -> bool) -> u8 {
    let layers = u8::try_from(MAX_LAYERS).unwrap_or(0);
    (0..layers).fold(0, |bits, layer| if holds(layer) { bits | bit(layer) } else { bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(stacked: bool) -> LayerTable {
        let mut table = LayerTable::default();
        let kbps = [[100, 0, 50], [200, 0, 100], [400, 0, 200]];
        let summary = Summary { live: 0b111, there: 0b111, kbps, stacked };
        table.adopt(&summary, crate::test_clock());
        table
    }

    #[test]
    fn a_layer_that_builds_on_others_costs_what_they_cost_too() {
        let rungs = |stacked: bool| {
            let ladder = table(stacked).ladder(0b111);
            ladder.rungs().iter().map(|rung| (rung.target.layer, rung.bps)).collect::<Vec<_>>()
        };
        let alone = [(0, 100_000), (0, 150_000), (1, 300_000), (2, 600_000)];
        assert_eq!(rungs(false), alone);
        let together = [(0, 100_000), (0, 150_000), (1, 450_000), (2, 1_050_000)];
        assert_eq!(rungs(true), together);
        assert_eq!((table(false).least(1), table(true).least(1)), (200_000, 300_000));
    }

    #[test]
    fn what_was_never_measured_is_guessed_on_top_of_what_it_builds_on() {
        let mut table = LayerTable { stacked: true, ..LayerTable::default() };
        let guessed = |table: &LayerTable| table.ladder(0b111).rungs().last().map(|rung| rung.bps);
        assert_eq!(guessed(&table), Some(2_350_000));
        table.layers[0].rates = [200_000.0, 0.0, 0.0];
        assert_eq!(guessed(&table), Some(2_400_000));
    }

    #[test]
    fn the_bits_of_a_layer_and_those_below_it() {
        assert_eq!((up_to(0), up_to(2), up_to(7), up_to(u8::MAX)), (1, 0b111, 0xff, 0xff));
    }
}
