//! When what was written leaves, and how much is wished for.
//!
//! The engine's pacer lets a burst leave at once, but wants to be woken after each packet of it, a
//! microsecond later. Left to the timers, that would send a video frame packet by packet; woken in
//! a loop until the burst is out, the engine gives a whole train. Video stays paced all the same:
//! what exceeds the burst (40 ms of the estimate) waits for its time.

use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;

use super::Written;
use crate::model::Kind;

/// Where the estimate of a viewer's bandwidth begins. The engine probes three and six times this as
/// soon as the path stands, so that a good network is known within a second; a bad one is overrun
/// for about as long.
pub(super) const START: Bitrate = Bitrate::mbps(3);

/// A wish of the pacer that is due within this is part of the present burst.
const AT_ONCE: Duration = Duration::from_micros(100);

/// How soon the pacer is woken when it wants to be at once and has nothing queued: after media,
/// where it only keeps its books and the next media mostly comes first; and else, where it pads or
/// probes (in steps of 2 ms).
const REST_AFTER_MEDIA: Duration = Duration::from_millis(15);
const REST: Duration = Duration::from_millis(1);

/// A session that sent nothing for this long is idle. The estimator then wants no more than
/// [`IDLE_WAKE`]; what it does more often moves its timers and nothing else.
const IDLE_AFTER: Duration = Duration::from_secs(1);
const IDLE_WAKE: Duration = Duration::from_secs(1);

/// Most bytes in the pacer's queue: what the estimate carries in this time, but at least a small
/// keyframe; a viewer with more is behind and spared further video. The engine has no limit of
/// its own; it would raise its rate over the estimate to empty a longer queue within two seconds,
/// and drown the sound with it.
const QUEUE: Duration = Duration::from_millis(500);
const QUEUE_BYTES: u64 = 12_000;

/// How often the rate of what is written is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What is wished for over what is written, so that the estimate leaves room for keyframes and for
/// its own dips: the pacer holds back what exceeds it.
const SPARE: f64 = 2.0;

/// What the engine wants after it was polled to its time-out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// When it wants to be woken.
    pub at: Instant,
    /// The pacer or the estimator wants it, and not a protocol.
    pub pacing: bool,
    /// What it gave out since it was last woken.
    pub sent: Sent,
}

/// RTP packets that the engine gave out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// All of them: media, resends, padding, probes.
    pub packets: u32,
    /// Media that was sent for the first time.
    pub first: u32,
    /// Video among it.
    pub video: u32,
}

impl Sent {
    /// Counts one packet; what it carries is known if it was sent for the first time.
    pub fn count(&mut self, first: Option<Kind>) {
        self.packets += 1;
        self.first += u32::from(first.is_some());
        self.video += u32::from(first == Some(Kind::Video));
    }
}

/// The pacing of one session.
#[derive(Debug)]
pub(super) struct Pace {
    /// Packets that were written and have not come out.
    unsent: u32,
    /// Packets of video among them: sound is never held back.
    queued: u32,
    /// Bytes of a packet, about.
    size: u64,
    /// Bytes that may be queued.
    room: u64,
    /// Media was written since the engine was last at rest.
    media: bool,
    /// The last pass gave out something else than media: it pads or probes.
    padding: bool,
    /// When RTP last came out.
    active: Instant,
    written: u64,
    looked: Instant,
    wished: f64,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        let bps = START.as_f64();
        Self {
            unsent: 0,
            queued: 0,
            size: 0,
            room: room(START),
            media: false,
            padding: false,
            active: now,
            written: 0,
            looked: now,
            wished: bps,
        }
    }

    /// Packets were queued.
    pub fn wrote(&mut self, written: Written, video: bool) {
        let packets = u32::try_from(written.packets).unwrap_or(u32::MAX);
        if packets > 0 {
            self.unsent = self.unsent.saturating_add(packets);
            if video {
                self.queued = self.queued.saturating_add(packets);
                self.size = (written.bytes / written.packets).max(self.size - self.size / 16);
            }
            self.media = true;
            self.written += written.bytes;
        }
    }

    /// Whether the viewer's network takes less than what is written for it.
    pub fn is_behind(&self) -> bool {
        u64::from(self.queued) * self.size > self.room
    }

    /// The estimator says what the viewer's network carries.
    pub fn estimated(&mut self, estimate: Bitrate) {
        self.room = room(estimate);
    }

    /// When to wake the engine; `None`: at once, it has more.
    pub fn rest(&mut self, wish: Wish, now: Instant) -> Option<Instant> {
        self.unsent = self.unsent.saturating_sub(wish.sent.first);
        self.queued = self.queued.saturating_sub(wish.sent.video);
        if wish.sent.packets > 0 {
            self.active = now;
        }
        if wish.at <= now {
            return None;
        }
        let at_once = wish.pacing && wish.at <= now + AT_ONCE;
        if at_once && wish.sent.packets > 0 && self.unsent > 0 {
            return None;
        }
        if at_once {
            // It has nothing, whatever was counted: a packet without a payload type is dropped
            // inside.
            self.unsent = 0;
            self.queued = 0;
        }
        let padded = wish.sent.packets > wish.sent.first;
        let pads = std::mem::replace(&mut self.padding, padded) || padded;
        let rest = match std::mem::take(&mut self.media) {
            true if !pads => REST_AFTER_MEDIA,
            _ => REST,
        };
        let idle = now.saturating_duration_since(self.active) > IDLE_AFTER;
        Some(match wish.pacing {
            true if at_once => now + rest,
            true if idle && self.queued == 0 => wish.at.max(now + IDLE_WAKE),
            _ => wish.at,
        })
    }

    /// How much bandwidth the estimator shall look for, if that has changed: what is written, and
    /// something to spare.
    pub fn wish(&mut self, now: Instant) -> Option<Bitrate> {
        let time = now.saturating_duration_since(self.looked);
        if time < LOOK {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate, not a sum of money")]
        let rate = self.written as f64 * 8.0 / time.as_secs_f64() * SPARE;
        self.looked = now;
        self.written = 0;
        let rate = rate.max(START.as_f64());
        if rate > self.wished * 1.1 {
            self.wished = rate;
        } else if rate < self.wished * 0.5 {
            // Slowly down: a viewer that is behind is written little, and wants more.
            self.wished = (self.wished * 0.9).max(rate);
        } else {
            return None;
        }
        Some(Bitrate::from(self.wished))
    }
}

/// How many bytes may be queued.
fn room(estimate: Bitrate) -> u64 {
    let bytes = (estimate * QUEUE).as_bytes_usize();
    u64::try_from(bytes).map_or(QUEUE_BYTES, |bytes| bytes.max(QUEUE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    fn wrote(packets: u64) -> Written {
        Written { packets, bytes: packets * 1_000, dropped: None }
    }

    fn pacer(at: Instant, sent: u32) -> Wish {
        Wish { at, pacing: true, sent: Sent { packets: sent, first: sent, video: sent } }
    }

    #[test]
    fn a_burst_is_woken_until_it_is_out_and_rested_after() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        pace.wrote(wrote(3), true);
        assert_eq!(pace.rest(pacer(t + us(1), 1), t), None);
        assert_eq!(pace.rest(pacer(t + us(1), 1), t), None);
        assert_eq!(pace.rest(pacer(t + us(1), 1), t), Some(t + REST_AFTER_MEDIA));
        assert_eq!(pace.rest(pacer(t + us(1), 0), t), Some(t + REST), "padding comes in steps");
    }

    #[test]
    fn what_the_pacer_holds_back_waits_for_its_time() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        pace.wrote(wrote(3), true);
        let later = t + us(7_000);
        assert_eq!(pace.rest(pacer(t + us(1), 1), t), None);
        assert_eq!(pace.rest(pacer(later, 0), t), Some(later));
        assert_eq!(pace.rest(pacer(later + us(1), 2), later), Some(later + REST));
    }

    #[test]
    fn sound_is_woken_for_as_long_as_there_is_any_and_does_not_queue() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        pace.wrote(wrote(2), false);
        let one = Sent { packets: 1, first: 1, video: 0 };
        let wish = Wish { at: t + us(1), pacing: true, sent: one };
        assert_eq!(pace.rest(wish, t), None);
        assert_eq!(pace.rest(wish, t), Some(t + REST_AFTER_MEDIA));
    }

    #[test]
    fn media_in_the_midst_of_a_probe_does_not_stop_it() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        let padding = Sent { packets: 1, first: 0, video: 0 };
        let wish = Wish { at: t + us(1), pacing: true, sent: padding };
        assert_eq!(pace.rest(wish, t), Some(t + REST));
        pace.wrote(wrote(1), true);
        assert_eq!(pace.rest(pacer(t + us(1), 1), t), Some(t + REST));
        pace.wrote(wrote(1), true);
        assert_eq!(pace.rest(pacer(t + us(1), 1), t), Some(t + REST_AFTER_MEDIA));
    }

    #[test]
    fn a_packet_that_never_comes_out_does_not_make_a_loop() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        pace.wrote(wrote(1), true);
        assert_eq!(pace.rest(pacer(t + us(1), 0), t), Some(t + REST_AFTER_MEDIA));
    }

    #[test]
    fn the_queue_holds_half_a_second_of_the_estimate() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        pace.wrote(wrote(187), true);
        assert!(!pace.is_behind());
        pace.wrote(wrote(1), true);
        assert!(pace.is_behind());
        pace.estimated(Bitrate::mbps(4));
        assert!(!pace.is_behind());
        pace.estimated(Bitrate::kbps(100));
        assert_eq!(pace.rest(pacer(t + us(10), 176), t), None);
        assert!(!pace.is_behind(), "a small keyframe always fits");
    }

    #[test]
    fn an_idle_session_is_woken_once_a_second() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        let at = |ms| t + Duration::from_millis(ms);
        assert_eq!(pace.rest(pacer(at(25), 0), t), Some(at(25)), "it may be about to probe");
        let now = at(2_000);
        assert_eq!(pace.rest(pacer(at(2_025), 0), now), Some(at(3_000)));
        let protocol = Wish { at: at(2_025), pacing: false, sent: Sent::default() };
        assert_eq!(pace.rest(protocol, now), Some(at(2_025)));
    }

    #[test]
    fn what_is_written_is_wished_for_with_something_to_spare() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        pace.wrote(wrote(500), true);
        assert_eq!(pace.wish(t + us(499_999)), None);
        assert_eq!(pace.wish(t + LOOK), Some(Bitrate::from(16_000_000.0)));
        pace.wrote(wrote(510), true);
        assert_eq!(pace.wish(t + LOOK * 2), None, "near enough");
        assert_eq!(pace.wish(t + LOOK * 3), Some(Bitrate::from(16_000_000.0 * 0.9)));
    }
}
