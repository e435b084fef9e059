//! How much a worker has to do: packets per second in all, and the rooms that make most of them.

use std::mem;
use std::time::{Duration, Instant};

use super::Worker;
use super::report::{Load, Totals};

/// Time between two measurements. The report that carries them is made as often.
const EVERY: Duration = Duration::from_millis(500);

/// Rooms that a report names. A worker carries few rooms that are worth moving people away from.
const NAMED: usize = 16;

/// A room under this part of the limit is not named.
const LIGHT: u32 = 8;

/// What was counted at the last measurement.
#[derive(Debug, Default)]
pub(super) struct Meter {
    since: Option<Instant>,
    packets: (u64, u64),
    load: Load,
}

impl Meter {
    /// The newest measurement.
    pub fn load(&self) -> &Load {
        &self.load
    }
}

fn packets(totals: &Totals) -> (u64, u64) {
    let of =
        |flow: &super::report::ByKind<super::report::Flow>| flow.audio.packets + flow.video.packets;
    (of(&totals.rtp_in) + totals.relay_in, of(&totals.rtp_out) + totals.relay_out)
}

/// Events per second.
fn rate(count: u64, elapsed: Duration) -> u32 {
    let ms = elapsed.as_millis().max(1);
    u32::try_from(u128::from(count) * 1_000 / ms).unwrap_or(u32::MAX)
}

impl Worker {
    /// Measures, if the last time is long enough ago.
    pub(super) fn measure(&mut self, now: Instant) {
        let elapsed = match self.meter.since {
            Some(since) => now.saturating_duration_since(since),
            None => Duration::ZERO,
        };
        if self.meter.since.is_some() && elapsed < EVERY {
            return;
        }
        let packets = packets(&self.totals);
        let before = mem::replace(&mut self.meter.packets, packets);
        let light = self.config.limits.room_packets / LIGHT;
        let mut heavy = Vec::new();
        for hosted in self.room_list.iter_mut().flatten() {
            let sent = hosted.room.sent();
            let count = sent - mem::replace(&mut hosted.measured, sent);
            let per_second = rate(count, elapsed);
            if self.meter.since.is_some() && per_second > light {
                heavy.push((hosted.room.name().clone(), per_second));
            }
        }
        heavy.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        heavy.truncate(NAMED);
        if self.meter.since.is_some() {
            let (packets_in, packets_out) =
                (rate(packets.0 - before.0, elapsed), rate(packets.1 - before.1, elapsed));
            self.meter.load = Load { packets_in, packets_out, heavy };
        }
        self.meter.since = Some(now);
    }
}
