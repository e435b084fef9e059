//! Who comes when, into which room, and what each does there: a pure function of the options.

use std::time::Duration;

use super::options::{Options, Scenario};

/// People that join per second unless said otherwise: a server on one core has time for media
/// beside 40 handshakes.
const JOINS_PER_SECOND: f64 = 40.0;

/// When somebody joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// So long after the beginning.
    Ramp(Duration),
    /// So long after the measurement began.
    Window(Duration),
}

/// One person of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Its number in the run, and its index in the plan.
    pub number: u32,
    /// The room's number.
    pub room: u32,
    /// The first number of its room: the place of a publisher in a list is counted from there.
    pub first: u32,
    /// How many people its room has over the whole run.
    pub of: u32,
    /// Sends audio and video.
    pub publishes: bool,
    /// Receives.
    pub watches: bool,
    /// When it joins.
    pub arrival: Arrival,
    /// How long it stays; to the end without.
    pub stay: Option<Duration>,
}

impl Person {
    /// Comes during the measurement and leaves again; no loss is counted at a guest.
    #[must_use]
    pub fn is_guest(&self) -> bool {
        matches!(self.arrival, Arrival::Window(_))
    }
}

/// Everybody, in the order of their numbers.
#[must_use]
pub fn people(options: &Options) -> Vec<Person> {
    let rooms = if options.scenario == Scenario::Rooms { options.rooms } else { 1 };
    let per_room = options.people();
    let all = rooms.saturating_mul(per_room);
    let ramp = options.ramp.unwrap_or_else(|| f64::from(all) / JOINS_PER_SECOND);
    let guests = if options.scenario == Scenario::Churn { guests(options) } else { Vec::new() };
    // Who neither sends nor receives has no media path: a publisher with nothing to send watches.
    let sends = options.video_pps > 0 || options.audio_pps > 0;
    let of = per_room.saturating_add(u32::try_from(guests.len()).unwrap_or(u32::MAX));
    let base = (0..all).map(|number| {
        let share = f64::from(number) / f64::from(all);
        let publisher = options.scenario != Scenario::Broadcast || number == 0;
        Person {
            number,
            room: number / per_room,
            first: number / per_room * per_room,
            of,
            publishes: publisher,
            watches: options.scenario != Scenario::Broadcast || number != 0 || !sends,
            arrival: Arrival::Ramp(Duration::from_secs_f64(ramp * share)),
            stay: None,
        }
    });
    let guest = |(number, after): (u32, Duration)| Person {
        number,
        room: 0,
        first: 0,
        of,
        publishes: options.guests_publish,
        watches: true,
        arrival: Arrival::Window(after),
        stay: Some(Duration::from_secs_f64(options.stay)),
    };
    base.chain((per_room..).zip(guests).map(guest)).collect()
}

/// When guests come. The last has left when the measurement ends, unless it stays longer than
/// all of that.
fn guests(options: &Options) -> Vec<Duration> {
    let every = Duration::from_secs(1) / options.rate;
    let last = Duration::from_secs_f64((options.seconds - options.stay).max(0.0));
    (0..).map(|n: u32| every.saturating_mul(n)).take_while(|at| *at <= last).collect()
}

/// Pairs of a watcher and a publisher other than itself that should hear of each other during the
/// measurement, guests left out.
pub fn pairs(people: &[Person]) -> impl Iterator<Item = (u32, u32)> {
    let watchers = people.iter().filter(|person| person.watches && !person.is_guest());
    watchers.flat_map(|watcher| {
        let room = |other: &&Person| other.room == watcher.room && other.number != watcher.number;
        let publishers = people.iter().filter(room).filter(|other| other.publishes);
        publishers.filter(|other| !other.is_guest()).map(|other| (watcher.number, other.number))
    })
}

/// A number from 0 to 1 that a seed and an index choose (SplitMix64, Steele and others 2014).
#[must_use]
pub fn chance(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let top = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0);
    f64::from(top) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::options;
    use super::*;

    #[test]
    fn a_broadcast_has_one_publisher_whom_all_others_watch() {
        let people = people(&options("broadcast --viewers 3"));
        assert_eq!(people.iter().filter(|p| p.publishes).count(), 1);
        assert_eq!(pairs(&people).collect::<Vec<_>>(), [(1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn everybody_sends_or_watches() {
        for (rates, publisher_watches) in [
            ("--video-pps 150 --audio-pps 0", false),
            ("--video-pps 0 --audio-pps 50", false),
            ("--video-pps 0 --audio-pps 0", true),
        ] {
            let people = people(&options(&format!("broadcast --viewers 3 {rates}")));
            assert_eq!(people[0].watches, publisher_watches, "{rates}");
            assert!(people[1..].iter().all(|person| person.watches), "{rates}");
        }
    }

    #[test]
    fn rooms_do_not_see_each_other() {
        let people = people(&options("rooms --rooms 4 --people 3 --ramp 6"));
        assert_eq!(people.len(), 12);
        assert_eq!(pairs(&people).count(), 4 * 3 * 2);
        assert!(pairs(&people).all(|(a, b)| a / 3 == b / 3));
        assert_eq!((people[11].room, people[11].first), (3, 9));
        assert_eq!(people[6].arrival, Arrival::Ramp(Duration::from_secs(3)));
    }

    #[test]
    fn guests_come_evenly_and_have_left_before_the_end() {
        let people = people(&options("churn --people 2 --rate 4 --stay 1 --seconds 3"));
        let guests: Vec<&Person> = people.iter().filter(|p| p.is_guest()).collect();
        assert_eq!(guests.len(), 9, "0, 0.25, … 2 seconds");
        assert_eq!(guests[8].arrival, Arrival::Window(Duration::from_secs(2)));
        assert_eq!((guests[8].number, guests[8].of), (10, 11));
        assert_eq!(pairs(&people).count(), 2, "no loss is counted at guests");
    }

    #[test]
    fn chance_follows_the_seed_and_is_spread() {
        assert!((0..1_000).all(|n| (0.0..1.0).contains(&chance(1, n))));
        let low = (0..1_000).filter(|n| chance(1, *n) < 0.5).count();
        assert!((400..600).contains(&low), "{low}");
        assert!((chance(1, 5) - chance(2, 5)).abs() > 1e-9);
    }
}
