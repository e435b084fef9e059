//! How often one address may do what costs us something.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::DoorLimits;

/// Rates per client address (an IPv6 client owns its /64).
pub(super) struct Limits {
    count_loopback: bool,
    connections: DefaultKeyedRateLimiter<IpAddr>,
    joins: DefaultKeyedRateLimiter<IpAddr>,
    rooms: DefaultKeyedRateLimiter<IpAddr>,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limits")
    }
}

/// So many in `period`, all of them at once if they like.
fn quota(count: u32, period: Duration) -> Quota {
    let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    let each = period / count.get();
    Quota::with_period(each).unwrap_or_else(|| Quota::per_second(count)).allow_burst(count)
}

impl Limits {
    pub fn new(doors: &DoorLimits) -> Self {
        Self {
            count_loopback: doors.count_loopback,
            connections: RateLimiter::keyed(quota(doors.new_connections, Duration::from_secs(10))),
            joins: RateLimiter::keyed(quota(doors.joins, Duration::from_secs(10))),
            rooms: RateLimiter::keyed(quota(doors.rooms, Duration::from_secs(60))),
        }
    }

    /// Whether an address may open one more connection.
    pub fn connection(&self, ip: IpAddr) -> bool {
        self.is_exempt(ip) || self.connections.check_key(&network(ip)).is_ok()
    }

    /// Whether an address may join once more.
    pub fn join(&self, ip: IpAddr) -> bool {
        self.is_exempt(ip) || self.joins.check_key(&network(ip)).is_ok()
    }

    /// Whether an address may open one more room.
    pub fn room(&self, ip: IpAddr) -> bool {
        self.is_exempt(ip) || self.rooms.check_key(&network(ip)).is_ok()
    }

    /// Forgets addresses that have been quiet.
    pub fn sweep(&self) {
        self.connections.retain_recent();
        self.joins.retain_recent();
        self.rooms.retain_recent();
    }

    fn is_exempt(&self, ip: IpAddr) -> bool {
        ip.to_canonical().is_loopback() && !self.count_loopback
    }
}

/// What counts as one client.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The rates of one WebSocket.
#[derive(Debug)]
pub(super) struct SocketLimits {
    messages: DefaultDirectRateLimiter,
    bytes: DefaultDirectRateLimiter,
    offers: DefaultDirectRateLimiter,
}

impl SocketLimits {
    pub fn new(doors: &DoorLimits) -> Self {
        let per_second = NonZeroU32::new(doors.messages_per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(doors.messages_burst).unwrap_or(NonZeroU32::MIN);
        Self {
            messages: RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)),
            bytes: RateLimiter::direct(quota(doors.message_bytes, Duration::from_secs(10))),
            offers: RateLimiter::direct(quota(doors.offers, Duration::from_secs(10))),
        }
    }

    /// Whether one more message of so many bytes may come.
    pub fn message(&self, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let bytes = NonZeroU32::new(bytes).unwrap_or(NonZeroU32::MIN);
        self.messages.check().is_ok() && matches!(self.bytes.check_n(bytes), Ok(Ok(())))
    }

    pub fn offer(&self) -> bool {
        self.offers.check().is_ok()
    }
}

/// How far over its rate a client goes. One that keeps to it again for a while starts anew.
#[derive(Debug, Default)]
pub(super) struct Flood {
    messages: u32,
    last: Option<Instant>,
}

impl Flood {
    /// From here on the client has been told; telling it again would be a flood of our own.
    pub const TOLD: u32 = 2;
    /// From here on it does not listen.
    pub const OVER: u32 = 101;
    /// Time after which a flood is over.
    const CALM: Duration = Duration::from_secs(10);

    /// Counts one message over the rate; how many this flood has so far.
    pub fn rise(&mut self, now: Instant) -> u32 {
        if self.last.is_none_or(|last| now.duration_since(last) >= Self::CALM) {
            self.messages = 0;
        }
        self.last = Some(now);
        self.messages += 1;
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hundred_and_first_join_of_an_address_waits_and_others_do_not() {
        let limits = Limits::new(&DoorLimits::default());
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        assert!((0..100).all(|_| limits.join(ip(1))));
        assert!(!limits.join(ip(1)));
        assert!(limits.join(ip(2)));
        assert!((0..500).all(|_| limits.join(IpAddr::from([127, 0, 0, 1]))), "loopback is exempt");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let ip = |text: &str| network(text.parse().unwrap());
        assert_eq!(ip("2001:db8:1:2::1"), ip("2001:db8:1:2:ffff::9"));
        assert_ne!(ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), IpAddr::from([192, 0, 2, 1]));
    }

    #[test]
    fn bytes_count_beside_messages() {
        let limits = SocketLimits::new(&DoorLimits { message_bytes: 1_000, ..Default::default() });
        assert!(limits.message(900));
        assert!(!limits.message(900), "the bytes are used up");
        assert!(!limits.message(5_000), "more than there will ever be");
        assert!(limits.message(50));
        let limits = SocketLimits::new(&DoorLimits { messages_burst: 2, ..Default::default() });
        assert!(limits.message(0) && limits.message(0));
        assert!(!limits.message(0), "the messages are used up");
    }

    #[test]
    fn a_flood_is_forgotten_after_a_calm() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut flood = Flood::default();
        assert_eq!(flood.rise(at(0)), 1);
        assert_eq!(flood.rise(at(9_000)), 2);
        assert_eq!(flood.rise(at(18_999)), 3);
        assert_eq!(flood.rise(at(28_999)), 1);
    }
}
