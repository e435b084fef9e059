//! Counters: each dropped packet and refused request has a reason here, and each reason a name
//! that an operator can look up.
//!
//! Plain integers, owned by one thread and copied out once in a while: nothing on the packet's
//! way hashes, locks or formats.

use std::time::Duration;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a packet or message went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value of the metric's `reason` label.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// Over 1,500 bytes, under 12, or of no kind that WebRTC knows (RFC 7983).
    Unclassified = "unclassified",
    /// A STUN message that is not one.
    StunMalformed = "stun_malformed",
    /// A STUN method other than Binding.
    StunMethod = "stun_method",
    /// A Binding request without a user name that is not plain.
    StunPlain = "stun_plain",
    /// Plain STUN over the rate limit.
    StunRate = "stun_rate",
    /// A STUN request for nobody here.
    UfragUnknown = "ufrag_unknown",
    /// A STUN request that is not signed with the session's password.
    StunIntegrity = "stun_integrity",
    /// More sources than a session may have.
    SourceLimit = "source_limit",
    /// Neither STUN nor from an address that has proved itself.
    Stranger = "stranger",
    /// DTLS other than a ClientHello before the first ClientHello.
    DtlsBeforeHello = "dtls_before_hello",
    /// RTP or RTCP that cannot be read.
    RtpMalformed = "rtp_malformed",
    /// A new SSRC while the known one is heard.
    SsrcUnproven = "ssrc_unproven",
    /// More SSRCs than a session may have.
    SsrcLimit = "ssrc_limit",
    /// RTCP over the rate limit.
    RtcpRate = "rtcp_rate",
    /// The engine refused the datagram.
    Engine = "engine",
    /// Belongs to no published track.
    Unpublished = "unpublished",
    /// The track is muted.
    Muted = "muted",
    /// The viewer has not heard of the seat's new occupant yet.
    SeatPending = "seat_pending",
    /// Waits for a keyframe to begin with.
    AwaitsKeyframe = "awaits_keyframe",
    /// Of a simulcast layer that this viewer is not sent.
    OtherLayer = "other_layer",
    /// Of a temporal layer that this viewer is not sent.
    Thinned = "thinned",
    /// This viewer is not sent the track: its network does not carry it, or its page does not show it.
    Paused = "paused",
    /// Of a microphone that is not among the loudest.
    Quiet = "quiet",
    /// Too late: older than what this viewer was sent at the start.
    TooOld = "too_old",
    /// Sent to this viewer before.
    Duplicate = "duplicate",
    /// The payload is over 1,400 bytes.
    PayloadTooLarge = "payload_too_large",
    /// The viewer has no codec for it.
    Codec = "codec",
    /// The viewer's media path does not stand.
    NotConnected = "not_connected",
    /// The viewer's network takes less than what is sent: its pacer is a second behind.
    ViewerBehind = "viewer_behind",
    /// The worker cannot keep up, and this viewer is among those that are spared video.
    Shed = "shed",
    /// The socket's buffer was full.
    SocketFull = "socket_full",
    /// The queue to a neighbouring worker was full.
    HandoverFull = "handover_full",
    /// The queue to another worker of the room was full.
    RelayFull = "relay_full",
    /// Came from another worker for a track that is not wanted here any more.
    RelayStale = "relay_stale",
    /// A lossy data message for a slow receiver.
    DataLossyFull = "data_lossy_full",
    /// A data message that cannot be read or goes to a channel that is none of ours.
    DataMalformed = "data_malformed",
}

/// One counter per [`DropReason`].
#[derive(Clone, Debug)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl Drops {
    /// Counts one.
    pub fn count(&mut self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    /// Counts `n`.
    pub fn count_many(&mut self, reason: DropReason, n: u64) {
        if let Some(counter) = self.0.get_mut(reason as usize) {
            *counter = counter.wrapping_add(n);
        }
    }

    /// How many so far.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many so far, all reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.wrapping_add(theirs);
        }
    }
}

/// Upper bounds of the buckets of every delay histogram, in microseconds.
pub const DELAY_BUCKETS_US: [u64; 11] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000];

/// A delay histogram in the shape that Prometheus wants.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Observations per bucket of [`DELAY_BUCKETS_US`], not cumulative; the last is "above".
    pub buckets: [u64; DELAY_BUCKETS_US.len() + 1],
    /// Sum of all observations in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts `n` observations of the same delay.
    pub fn observe(&mut self, delay: Duration, n: u64) {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let bucket = DELAY_BUCKETS_US.partition_point(|bound| *bound < us);
        if let Some(counter) = self.buckets.get_mut(bucket) {
            *counter += n;
        }
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(n));
    }

    /// How many observations so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter_and_name() {
        let mut drops = Drops::default();
        for reason in DropReason::ALL {
            drops.count(*reason);
        }
        let mut names = Vec::new();
        for reason in DropReason::ALL {
            assert_eq!(drops.of(*reason), 1, "{reason:?}");
            names.push(reason.name());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn a_delay_falls_into_the_bucket_that_bounds_it() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_micros(50), 2);
        histogram.observe(Duration::from_micros(51), 1);
        histogram.observe(Duration::from_secs(1), 1);
        assert_eq!(histogram.buckets[0], 2);
        assert_eq!(histogram.buckets[1], 1);
        assert_eq!(histogram.buckets[DELAY_BUCKETS_US.len()], 1);
        assert_eq!(histogram.count(), 4);
    }
}
