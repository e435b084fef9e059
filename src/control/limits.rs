//! How often one address may do what costs us something.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::DoorLimits;

/// Rates per client address (an IPv6 client owns its /64).
pub(super) struct Limits {
    count_loopback: bool,
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
            joins: RateLimiter::keyed(quota(doors.joins, Duration::from_secs(10))),
            rooms: RateLimiter::keyed(quota(doors.rooms, Duration::from_secs(60))),
        }
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
    offers: DefaultDirectRateLimiter,
}

impl SocketLimits {
    pub fn new(doors: &DoorLimits) -> Self {
        let per_second = NonZeroU32::new(doors.messages_per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(doors.messages_burst).unwrap_or(NonZeroU32::MIN);
        Self {
            messages: RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)),
            offers: RateLimiter::direct(quota(doors.offers, Duration::from_secs(10))),
        }
    }

    pub fn message(&self) -> bool {
        self.messages.check().is_ok()
    }

    pub fn offer(&self) -> bool {
        self.offers.check().is_ok()
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
}
