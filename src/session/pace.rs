//! When what was written leaves, and what the network is found to carry by it.
//!
//! The engine's pacer lets a burst leave at once, but wants to be woken after each packet of it, a
//! microsecond later. Left to the timers, that would send a video frame packet by packet; woken in
//! a loop until the burst is out, the engine gives a whole train. Video stays paced all the same:
//! what exceeds the burst (40 ms of the estimate) waits for its time.

use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::stats::PeerStats;

use super::Written;
use super::probing::{Found, Probing, Wanted};
use super::queue::Queue;
use super::redundancy::Path;
use super::trip::Trip;
use crate::model::{Bandwidth, FIRST_ESTIMATE, Kind, Need};

/// How often the engine says how it estimates now, and what was lost. Its estimate by event is a mean
/// over three seconds and tells late that a network got narrow.
pub(super) const STATISTICS: Duration = Duration::from_millis(200);

/// A round trip that changed by less is told with other news, and by more once in so long.
const RTT_MOVED: Duration = Duration::from_millis(50);
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How long the estimator takes to find its way, and how much loss says that it found it before.
const STARTUP: Duration = Duration::from_secs(2);
pub(super) const LOSSY: f32 = 0.02;

/// When so many of the packets of a moment are lost, and those that come have waited, the network
/// carries far less than the estimator knows yet; and when even more are lost, in any case. Loss by
/// chance comes in bursts as well.
const FLOOD: f32 = 0.4;
const DELUGE: f32 = 0.6;

/// And so does an estimate that falls to a part of what it was within this time, when less is left than
/// is sent, and video waits: by the time that it has found its place, a picture has stood still.
const COLLAPSES: Duration = Duration::from_secs(1);
const COLLAPSE: u64 = 2;

/// Of what seems to come through at the height of a flood, so much is believed: the last of what was
/// sent has not been missed yet.
const ANEW: u64 = 3;
const CAP_GROWS: Duration = Duration::from_secs(1);
const EMPTIES: Duration = Duration::from_secs(2);

/// No network is taken to carry less than this, in bit/s: what left may have been all sound and
/// resends.
pub(super) const LEAST: u64 = 100_000;

/// A change of the estimate by less than one part in this is told to nobody.
const WORTH_TELLING: u64 = 50;

/// A wish of the pacer that is due within this is part of the present burst.
const AT_ONCE: Duration = Duration::from_micros(100);

/// How soon the pacer is woken when it wants to be at once and has nothing queued: where it pads or
/// probes (in steps of 2 ms); after media, where it only keeps its books and the next media mostly
/// comes first; and where there is only sound and nothing is missing, so that there is nothing to
/// estimate: later than the next of it, which comes every 20 ms.
const REST: Duration = Duration::from_millis(1);
const REST_AFTER_MEDIA: Duration = Duration::from_millis(15);
const REST_OF_SOUND: Duration = Duration::from_millis(45);

/// Who was sent no video for this long is sent only sound.
const SOUND_ONLY: Duration = Duration::from_secs(1);

/// A session that sent nothing for this long is idle. The estimator then wants no more than
/// [`IDLE_WAKE`]; what it does more often moves its timers and nothing else.
const IDLE_AFTER: Duration = Duration::from_secs(1);
const IDLE_WAKE: Duration = Duration::from_secs(1);

/// Most bytes in the pacer's queue: what the estimate carries in this time, but at least a small
/// keyframe; a viewer with more is behind and spared further video. The engine has no limit of
/// its own; it would raise its rate over the estimate to empty a longer queue within two seconds,
/// and drown the sound with it.
const QUEUE: Duration = Duration::from_millis(600);
const QUEUE_BYTES: u64 = 12_000;

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
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Sent {
    /// Counts one packet; what it carries is known if it was sent for the first time.
    pub fn count(&mut self, first: Option<Kind>, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
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
    /// Bytes that may be queued; and beside them a keyframe, as much of it as is left.
    room: u64,
    keyframe: u64,
    behind: bool,
    /// Media was written since the engine was last at rest.
    media: bool,
    /// The last pass gave out something else than media: it pads or probes.
    padding: bool,
    /// When RTP last came out, and when video did.
    active: Instant,
    video: Option<Instant>,
    /// By event, and by statistics.
    estimate: u64,
    momentary: Option<u64>,
    loss: f32,
    burst: f32,
    /// Bytes of media that the engine has sent, and what of the last of them came, in bit/s.
    sent: u64,
    came: u64,
    /// See [`Pace::flooded`]; and when it grows.
    cap: Option<(u64, Instant)>,
    /// The highest estimate of late, and when it was that.
    high: (u64, Instant),
    lost_in: f32,
    trip: Trip,
    queue: Queue,
    /// Video waited here when that was last asked.
    waited: bool,
    /// Statistics came, or it became another's fault that packets leave late.
    news: bool,
    told: Bandwidth,
    told_at: Option<Instant>,
    probing: Probing,
    quiet_until: Option<Instant>,
    /// See [`Pace::strain`]: what was told before; and what was told last when it was so until now.
    strained: Option<u64>,
    relieved: Option<u64>,
    /// When media was first sent.
    began: Option<Instant>,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self {
            unsent: 0,
            queued: 0,
            size: 0,
            room: room(FIRST_ESTIMATE),
            keyframe: 0,
            behind: false,
            media: false,
            padding: false,
            active: now,
            video: None,
            estimate: FIRST_ESTIMATE,
            momentary: None,
            loss: 0.0,
            burst: 0.0,
            sent: 0,
            came: 0,
            cap: None,
            high: (FIRST_ESTIMATE, now),
            lost_in: 0.0,
            trip: Trip::default(),
            queue: Queue::default(),
            waited: false,
            news: false,
            told: Bandwidth::default(),
            told_at: None,
            probing: Probing::default(),
            quiet_until: None,
            strained: None,
            relieved: None,
            began: None,
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
            if written.keyframe {
                self.keyframe = self.waiting();
            }
            self.behind |= self.waiting() > self.room + self.keyframe;
        }
    }

    /// Whether the viewer's network takes less than what is written for it.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// The estimator says what the viewer's network carries.
    pub fn estimated(&mut self, estimate: Bitrate) {
        self.estimate = estimate.as_u64();
    }

    /// The engine says how it estimates at this moment, and what was lost in the last second.
    pub fn measured(&mut self, stats: &PeerStats, now: Instant) {
        self.news = true;
        self.momentary = stats.bwe_tx.map(|estimate| estimate.as_u64());
        let before = std::mem::replace(&mut self.loss, stats.egress_loss_fraction.unwrap_or(0.0));
        // The engine says what was lost in the last second, and says it five times as often.
        self.burst = ((self.loss - before) / STATISTICS.as_secs_f32()).clamp(0.0, 1.0);
        let sent = stats.bytes_tx.saturating_sub(self.sent);
        self.sent = stats.bytes_tx;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate, not a sum of money"
        )]
        let came = (sent as f32 * 8.0 / STATISTICS.as_secs_f32() * (1.0 - self.burst)) as u64;
        self.came = came;
        self.lost_in = stats.ingress_loss_fraction.unwrap_or(0.0);
        self.trip.took(stats.rtt, now);
    }

    /// How the network does at this moment.
    pub fn path(&self) -> Path {
        let estimate = self.momentary.unwrap_or(self.estimate);
        Path { loss: self.loss, estimate, queued: self.trip.is_longer() }
    }

    /// Whether what is sent is far more than the network carries.
    fn is_flooded(&self) -> bool {
        self.burst > if self.trip.is_longer() { FLOOD } else { DELUGE }
    }

    /// What the network carries, if that is to be told anew.
    pub fn bandwidth(&mut self, now: Instant) -> Option<Bandwidth> {
        // What leaves while a flood runs off says nothing.
        let quiet = self.quiet_until.is_some_and(|until| now < until);
        let carries = self.queue.carries(now).filter(|_| !quiet);
        let waits = carries.is_some() || self.behind;
        let waited = std::mem::replace(&mut self.waited, waits);
        // Between statistics only what waits here says anything new, and after a flood the time.
        if !self.news && !waits && !waited && self.cap.is_none() && self.momentary.is_some() {
            return None;
        }
        let estimated = self.momentary.unwrap_or(self.estimate);
        // In its first moments the estimator falls to little more than what was sent so far,
        // whatever the network carries. What was lost or has to wait says more.
        let new = self.began.is_none_or(|at| now < at + STARTUP) && self.loss < LOSSY;
        let estimate = if new { estimated.max(FIRST_ESTIMATE) } else { estimated };
        let cap = self.cap(estimate, now);
        let before = self.strained.filter(|_| self.loss < LOSSY);
        let told = carries.filter(|_| before.is_none());
        let estimate = estimate.max(before.unwrap_or(0));
        let estimate = [told, cap].into_iter().flatten().fold(estimate, u64::min).max(LEAST);
        let unknown = self.trip.rtt().is_none();
        let longer = self.strained.is_none() && (unknown || self.trip.is_longer());
        let squeezed = waits && (longer || self.loss > 0.0);
        self.queue.doubt(waits && !squeezed, now);
        if new {
            // What is only assumed does not collapse when the estimator is believed.
            self.high = (estimated, now);
        } else if estimate >= self.high.0 || now >= self.high.1 + COLLAPSES {
            self.high = (estimate, now);
        }
        let new = Bandwidth {
            estimate,
            squeezed,
            flooded: self.is_flooded() || (squeezed && self.collapses(estimate, now)),
            queued: self.trip.is_longer(),
            late: self.strained.is_some(),
            loss: self.loss,
            lost_in: self.lost_in,
            rtt: self.trip.rtt(),
        };
        let moved = estimate.abs_diff(self.told.estimate) * WORTH_TELLING > self.told.estimate;
        let lost = |new: f32, old: f32| (new - old).abs() > 0.01;
        let state = |told: &Bandwidth| (told.flooded, told.squeezed, told.queued, told.late);
        let other = lost(new.loss, self.told.loss)
            || lost(new.lost_in, self.told.lost_in)
            || state(&new) != state(&self.told)
            || (new.rtt.is_some() && self.told.rtt.is_none());
        (moved || other || self.is_stale(now)).then(|| {
            self.told_at = Some(now);
            self.told = new;
            self.room = room(estimate);
            new
        })
    }

    /// Whether statistics came since this was asked.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether small changes have added up for long enough.
    fn is_stale(&self, now: Instant) -> bool {
        let (old, new) = (self.told.rtt.unwrap_or_default(), self.trip.rtt().unwrap_or_default());
        old.abs_diff(new) > RTT_MOVED
            && self.told_at.is_none_or(|at| now.saturating_duration_since(at) > TOLD_EVERY)
    }

    /// How much is sent and could be used.
    pub fn needs(&mut self, need: Need) {
        self.probing.needs(need);
    }

    /// Whether all of this runs late, since the worker cannot keep up. What waits then proves nothing
    /// about the network: unless packets get lost it is taken to carry what it did before, and
    /// nothing better is looked for.
    pub fn strain(&mut self, strained: bool) {
        if strained == self.strained.is_some() {
            return;
        }
        if strained {
            self.strained = Some(self.told.estimate);
        } else {
            self.strained = None;
            self.relieved = Some(self.told.estimate);
        }
        self.news = true;
    }

    /// What the estimator is to be asked for now, if that is something else than before.
    pub fn wish(&mut self, now: Instant) -> Option<Wanted> {
        if self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        let says = self.momentary.unwrap_or(self.estimate);
        if self.queue.proves_wrong(now) {
            return Some(self.probing.anew(says.max(self.strained.unwrap_or(0)), now));
        }
        if self.strained.is_some() {
            return self.probing.nothing();
        }
        // Less than that is how an estimate moves anyway, and to begin anew costs probes.
        let fell = |before: &u64| says < before - before / 4;
        if let Some(before) = self.relieved.take().filter(fell) {
            return Some(self.probing.anew(before, now));
        }
        let full = self.trip.stays_longer(now);
        self.probing.wish(Found { estimate: self.told.estimate, says, loss: self.loss, full }, now)
    }

    /// No video waits any more, and for a while no more is believed to come through than now: the
    /// estimator takes seconds to find that, and sees no reason to once nothing more is sent. Until
    /// the network has emptied, the engine is asked for nothing.
    pub fn flooded(&mut self, now: Instant) {
        self.unsent = self.unsent.saturating_sub(self.queued);
        self.queued = 0;
        self.keyframe = 0;
        self.behind = false;
        self.probing.begin_anew();
        self.quiet_until = Some(now + EMPTIES);
        let carries = if self.is_flooded() { self.came / ANEW } else { self.told.estimate };
        self.cap = Some((carries.max(LEAST), now + EMPTIES));
        self.high = (carries, now);
    }

    /// Whether an estimate is far less than a moment ago, and than what is sent.
    fn collapses(&self, estimate: u64, now: Instant) -> bool {
        let (high, at) = self.high;
        now < at + COLLAPSES && estimate < high / COLLAPSE && estimate < self.probing.sent()
    }

    /// The most that is believed to come through after a flood, if that is still in doubt.
    fn cap(&mut self, estimated: u64, now: Instant) -> Option<u64> {
        let (cap, at) = self.cap?;
        let grown = if now >= at && self.loss < LOSSY {
            (cap + cap / 2, now + CAP_GROWS)
        } else {
            (cap, at)
        };
        self.cap = Some(grown).filter(|(cap, _)| *cap < estimated);
        Some(cap)
    }

    /// Whether packets that were written are still to come, when so many came since it was last
    /// asked when to be woken.
    pub fn has_more(&self, sent: Sent) -> bool {
        self.unsent > sent.first
    }

    /// When to wake the engine, if the last of what was written has just come, and nothing else with
    /// it. All that it could say then is that its pacer wants to be woken at once, since whatever else it
    /// had to say came first: not to ask spares a walk over the whole engine. While something better is
    /// looked for it is asked all the same, since a probe that begins late finds less than there is.
    pub fn rest_after(&mut self, sent: Sent, now: Instant) -> Option<Instant> {
        let last = self.unsent == sent.first && sent.packets == sent.first;
        let looks = self.probing.misses() && self.strained.is_none();
        if !last || !self.media || self.padding || looks {
            return None;
        }
        self.count(sent, now);
        self.queue.empty();
        self.queued = 0;
        self.media = false;
        Some(now + if self.is_sound_only(now) { REST_OF_SOUND } else { REST_AFTER_MEDIA })
    }

    /// So much has come.
    fn count(&mut self, sent: Sent, now: Instant) {
        self.unsent = self.unsent.saturating_sub(sent.first);
        self.queued = self.queued.saturating_sub(sent.video);
        self.keyframe = self.keyframe.saturating_sub(u64::from(sent.video) * self.size);
        self.behind &= self.waiting() > self.room / 4;
        if sent.packets > 0 {
            self.active = now;
            self.began.get_or_insert(now);
        }
        if sent.video > 0 {
            self.video = Some(now);
        }
    }

    /// When to wake the engine; `None`: at once, it has more.
    pub fn rest(&mut self, wish: Wish, now: Instant) -> Option<Instant> {
        self.count(wish.sent, now);
        if wish.at <= now {
            return None;
        }
        self.queue.left(
            wish.sent.bytes,
            self.waiting().saturating_sub(self.keyframe),
            self.told.estimate,
            now,
        );
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
            true if !pads && self.is_sound_only(now) => REST_OF_SOUND,
            _ if self.strained.is_some() && self.is_sound_only(now) => REST_OF_SOUND,
            media if (media && !pads) || self.strained.is_some() => REST_AFTER_MEDIA,
            _ => REST,
        };
        let idle = now.saturating_duration_since(self.active) > IDLE_AFTER;
        Some(match wish.pacing {
            true if at_once => now + rest,
            true if self.strained.is_some() && self.queued == 0 => wish.at.max(now + rest),
            true if idle && self.queued == 0 => wish.at.max(now + IDLE_WAKE),
            _ => wish.at,
        })
    }

    /// Whether there is nothing to estimate: no video is sent, nor could be.
    fn is_sound_only(&self, now: Instant) -> bool {
        let video = self.video.is_some_and(|at| now.saturating_duration_since(at) < SOUND_ONLY);
        !video && self.queued == 0 && (self.strained.is_some() || !self.probing.misses())
    }

    /// Bytes of video that wait, about.
    fn waiting(&self) -> u64 {
        u64::from(self.queued) * self.size
    }
}

/// How many bytes may be queued.
fn room(estimate: u64) -> u64 {
    let bytes = u128::from(estimate) * QUEUE.as_millis() / 8_000;
    u64::try_from(bytes).map_or(QUEUE_BYTES, |bytes| bytes.max(QUEUE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    fn wrote(packets: u64) -> Written {
        Written { packets, bytes: packets * 1_000, ..Written::default() }
    }

    fn pacer(at: Instant, sent: u32) -> Wish {
        Wish {
            at,
            pacing: true,
            sent: Sent { packets: sent, first: sent, video: sent, bytes: u64::from(sent) * 1_000 },
        }
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
    fn more_is_taken_without_asking_until_all_that_was_written_has_come() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        let came = |first| Sent { packets: first + 1, first, ..Sent::default() };
        assert!(!pace.has_more(came(0)), "padding alone");
        pace.wrote(wrote(2), true);
        pace.wrote(wrote(1), false);
        assert!(pace.has_more(came(2)), "resends and padding are not what was written");
        assert!(!pace.has_more(came(3)));
        assert_eq!(pace.rest(pacer(t + us(1), 3), t), Some(t + REST_AFTER_MEDIA));
        assert!(!pace.has_more(came(0)), "counted once");
    }

    #[test]
    fn the_last_of_what_was_written_is_not_asked_after_unless_something_came_beside_it() {
        let t = crate::test_clock();
        let came = |packets, first, video| Sent { packets, first, video, bytes: 1_000 };
        let mut pace = Pace::new(t);
        pace.wrote(wrote(2), true);
        assert_eq!(pace.rest_after(came(1, 1, 1), t), None, "there is more");
        assert_eq!(pace.rest_after(came(3, 2, 2), t), None, "a resend may be followed by others");
        assert_eq!(pace.rest_after(came(2, 2, 2), t), Some(t + REST_AFTER_MEDIA));
        assert_eq!((pace.unsent, pace.waiting()), (0, 0));
        assert_eq!(pace.rest_after(came(0, 0, 0), t), None, "nothing was written");
        pace.rest(pacer(t + us(1), 0), t);
        pace.rest(Wish { sent: came(1, 0, 0), ..pacer(t + us(1), 0) }, t);
        pace.wrote(wrote(1), true);
        assert_eq!(pace.rest_after(came(1, 1, 1), t), None, "it pads");
        let mut pace = Pace::new(t);
        pace.needs(Need { next: 1, ..Need::default() });
        pace.wrote(wrote(1), true);
        assert_eq!(pace.rest_after(came(1, 1, 1), t), None, "it may be about to probe");
        let later = t + SOUND_ONLY;
        let mut pace = Pace::new(t);
        pace.wrote(wrote(1), false);
        assert_eq!(pace.rest_after(came(1, 1, 0), later), Some(later + REST_OF_SOUND));
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
        let one = Sent { packets: 1, first: 1, ..Sent::default() };
        let wish = Wish { at: t + us(1), pacing: true, sent: one };
        assert_eq!(pace.rest(wish, t), None);
        assert_eq!(pace.rest(wish, t), Some(t + REST_OF_SOUND));
    }

    #[test]
    fn sound_is_alone_a_second_after_the_last_video_unless_video_is_missing() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let mut pace = Pace::new(t);
        let sound = |ms| Wish {
            at: at(ms) + us(1),
            pacing: true,
            sent: Sent { packets: 1, first: 1, ..Sent::default() },
        };
        pace.wrote(wrote(1), true);
        assert_eq!(pace.rest(pacer(t + us(1), 1), t), Some(t + REST_AFTER_MEDIA));
        for (ms, missing, rest) in [
            (999, 0, REST_AFTER_MEDIA),
            (1_000, 0, REST_OF_SOUND),
            (1_020, 100_000, REST_AFTER_MEDIA),
        ] {
            pace.needs(Need { next: missing, ..Need::default() });
            pace.wrote(wrote(1), false);
            assert_eq!(pace.rest(sound(ms), at(ms)), Some(at(ms) + rest), "at {ms} ms");
        }
    }

    #[test]
    fn media_in_the_midst_of_a_probe_does_not_stop_it() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        let padding = Sent { packets: 1, ..Sent::default() };
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
        assert_eq!(pace.rest(pacer(t + us(1), 0), t), Some(t + REST_OF_SOUND));
    }

    #[test]
    fn the_queue_holds_six_tenths_of_a_second_and_a_keyframe() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        pace.wrote(wrote(225), true);
        assert!(!pace.is_behind());
        pace.wrote(wrote(1), true);
        assert!(pace.is_behind());
        assert_eq!(pace.rest(pacer(t + us(10), 160), t), None);
        assert!(pace.is_behind(), "not until most of it has left");
        assert_eq!(pace.rest(pacer(t + us(10), 20), t), None);
        assert!(!pace.is_behind());
        pace.wrote(Written { keyframe: true, ..wrote(400) }, true);
        assert!(!pace.is_behind(), "a keyframe always fits");
        pace.wrote(wrote(230), true);
        assert!(pace.is_behind(), "but not everything after it");
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
    fn a_queue_that_does_not_empty_says_what_the_network_carries() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        pace.wrote(wrote(100), true);
        let at = |ms| t + Duration::from_millis(ms);
        // Five packets of 1,000 bytes in each 100 ms: 400 kbit/s, and ninety and more wait.
        for ms in [0, 100, 200] {
            assert!(pace.rest(pacer(at(ms + 50), 5), at(ms)).is_some());
        }
        let told = pace.bandwidth(at(200)).unwrap().estimate;
        assert!((300_000..600_000).contains(&told), "{told}");
        assert_eq!(pace.bandwidth(at(250)), None, "nothing new");
        let later = pace.bandwidth(at(1_800)).unwrap().estimate;
        assert_eq!(later, FIRST_ESTIMATE, "the estimator knows better by then");
    }

    #[test]
    fn between_statistics_only_what_waits_and_whose_fault_it_is_are_told() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let mut pace = Pace::new(t);
        pace.rest(pacer(at(10), 1), t);
        pace.momentary = Some(2_000_000);
        pace.news = true;
        assert_eq!(pace.bandwidth(at(3_000)).unwrap().estimate, 2_000_000);
        assert!(pace.take_news(), "it is kept for whoever asks");
        pace.momentary = Some(1_000_000);
        assert_eq!(pace.bandwidth(at(3_100)), None, "nothing came that says so");
        pace.news = true;
        assert_eq!(pace.bandwidth(at(3_200)).unwrap().estimate, 1_000_000);
        assert!(pace.take_news());
        pace.wrote(wrote(300), true);
        assert!(pace.bandwidth(at(3_210)).unwrap().squeezed, "video waits");
        pace.rest(pacer(at(4_000), 300), at(3_220));
        assert!(!pace.bandwidth(at(3_220)).unwrap().squeezed, "no more");
        pace.strain(true);
        assert!(pace.bandwidth(at(3_230)).unwrap().late);
        assert!(pace.take_news());
        pace.strain(true);
        assert!(!pace.take_news(), "once");
    }

    #[test]
    fn what_waits_only_here_proves_the_estimator_wrong() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let far = Duration::from_millis(20);
        for (what, rtt, loss, doubted) in [
            ("nothing is wrong on the way", far, 0.0, true),
            ("packets take longer", far + Duration::from_millis(100), 0.0, false),
            ("packets are lost", far, 0.01, false),
        ] {
            let mut pace = Pace::new(t);
            pace.needs(Need { sent: 800_000, next: 800_000, full: 800_000, ..Need::default() });
            pace.estimated(Bitrate::kbps(500));
            pace.trip.took(Some(far), t);
            pace.wrote(wrote(300), true);
            pace.trip.took(Some(rtt), at(100));
            pace.loss = loss;
            let told = pace.bandwidth(at(100)).map(|told| told.squeezed);
            assert_eq!(told, Some(!doubted), "{what}");
            let anew = |pace: &mut Pace, ms| pace.wish(at(ms)).and_then(|wanted| wanted.anew);
            assert_eq!(anew(&mut pace, 599), None, "{what}");
            let begins = doubted.then_some(Bitrate::kbps(1_000));
            assert_eq!(anew(&mut pace, 600), begins, "{what}: with what is sent, and a quarter");
            assert_eq!(anew(&mut pace, 700), None, "{what}: once");
        }
    }

    #[test]
    fn what_waits_while_the_worker_is_late_says_nothing_about_the_network() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let far = Duration::from_millis(20);
        let missing = Need { sent: 100_000, next: 800_000, full: 800_000, ..Need::default() };
        for (strained, loss, estimate) in
            [(true, 0.0, 2_000_000), (true, 0.05, 500_000), (false, 0.0, 500_000)]
        {
            let mut pace = Pace::new(t);
            pace.needs(missing);
            pace.rest(pacer(at(10), 1), t);
            pace.estimated(Bitrate::mbps(2));
            pace.trip.took(Some(far), t);
            assert_eq!(pace.bandwidth(at(3_000)).unwrap().estimate, 2_000_000);
            pace.strain(strained);
            pace.estimated(Bitrate::kbps(500));
            pace.wrote(wrote(300), true);
            pace.trip.took(Some(far * 10), at(3_100));
            pace.loss = loss;
            let told = pace.bandwidth(at(3_100)).unwrap();
            assert_eq!((told.estimate, told.squeezed), (estimate, !strained || loss > 0.0));
            let wanted = pace.wish(at(3_100)).unwrap();
            let nothing = wanted.least == Bitrate::ZERO && wanted.most == Bitrate::ZERO;
            assert_eq!(nothing, strained, "what is looked for: {wanted:?}");
            pace.strain(false);
            let anew = pace.wish(at(3_200)).and_then(|wanted| wanted.anew);
            let carried = strained && loss == 0.0;
            assert_eq!(anew, carried.then_some(Bitrate::mbps(2)), "begins with what it carried");
        }
    }

    #[test]
    fn what_was_only_assumed_at_first_does_not_collapse() {
        let t = crate::test_clock();
        let mut pace = Pace::new(t);
        let at = |ms| t + Duration::from_millis(ms);
        pace.needs(Need { sent: 1_200_000, ..Need::default() });
        pace.rest(pacer(at(10), 1), t);
        pace.estimated(Bitrate::kbps(900));
        assert_eq!(pace.bandwidth(at(1_900)), None, "as much as was assumed");
        pace.wrote(wrote(300), true);
        let told = pace.bandwidth(at(2_100)).unwrap();
        assert!(told.squeezed && !told.flooded && told.estimate == 900_000, "{told:?}");
        pace.estimated(Bitrate::kbps(400));
        assert!(pace.bandwidth(at(2_300)).unwrap().flooded, "what was estimated does");
    }
}
