//! Who sits where in one viewer's seats: pure.
//!
//! Seats are pairs (an audio and a video line), and so are those who sit in them: a participant's
//! microphone and camera, or its screen and the screen's sound.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// Shortest time between two changes of a seat that a speaker causes. Shorter makes the picture
/// restless, longer lets somebody speak unseen.
pub const CALM: Duration = Duration::from_secs(2);

/// How many seats a client is asked to have, step by step. Doubling keeps the number of further
/// offers small; beyond 24 pairs browsers need a second for each offer.
const STEPS: [u8; 5] = [4, 8, 16, 24, 64];

/// Who spoke within this is heard, and needs a seat for that.
const HEARD: Duration = Duration::from_secs(10);

/// How a pinned picture is [`Candidate::shown`]; others by their priority.
pub const PINNED: u16 = 1_000;

/// Who can sit in a seat: a member's main pair or its screen share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The member's place in the room's list.
    pub member: usize,
    /// The screen share, not camera and microphone.
    pub screen: bool,
}

/// A pair that wants a seat, and what decides between it and others.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Who.
    pub pair: Pair,
    /// The viewer's page shows its picture, and puts it before others: higher first, 0 if it is not
    /// shown.
    pub shown: u16,
    /// When it spoke last.
    pub spoke: Option<Instant>,
    /// Its place in the order of coming.
    pub came: usize,
}

/// A seat as it is now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Who sits there.
    pub pair: Option<Pair>,
    /// When that changed last.
    pub changed: Option<Instant>,
}

/// What is to be done with a viewer's seats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// New occupants by seat; `None` empties the seat.
    pub moves: Vec<(usize, Option<Pair>)>,
    /// Who has no seat after that.
    pub unseated: Vec<Pair>,
    /// When to plan again, because a change had to wait.
    pub again: Option<Instant>,
}

/// How many seats a client should have when `pairs` want one, at most `limit`.
#[must_use]
pub fn wanted_seats(pairs: usize, limit: u8) -> u8 {
    let step = STEPS.into_iter().find(|step| usize::from(*step) >= pairs);
    step.unwrap_or(u8::MAX).min(limit)
}

/// Seats the candidates: screen shares first, then who is pinned, then who speaks, shown or not: a seat
/// is also an ear. Then who is shown, who spoke last, who came first. Nobody moves without need.
#[must_use]
pub fn plan(places: &[Place], candidates: &[Candidate], now: Instant) -> Plan {
    let mut ranked: Vec<&Candidate> = candidates.iter().collect();
    let rank = |c: &&Candidate| {
        let screen = c.pair.screen && c.shown > 0;
        let heard = c.spoke.is_some_and(|at| now.saturating_duration_since(at) < HEARD);
        (!screen, c.shown < PINNED, !heard, Reverse(c.shown), Reverse(c.spoke), c.came)
    };
    ranked.sort_by_key(rank);
    let cut = places.len().min(ranked.len());
    let (chosen, rest) = ranked.split_at(cut);
    let exists = |pair: Pair| candidates.iter().any(|c| c.pair == pair);
    let is_chosen = |pair: Pair| chosen.iter().any(|c| c.pair == pair);

    let mut plan = Plan::default();
    let mut missing: Vec<Pair> = chosen
        .iter()
        .map(|c| c.pair)
        .filter(|pair| !places.iter().any(|place| place.pair == Some(*pair)))
        .collect();
    missing.reverse();
    let mut displaced = Vec::new();
    // Free seats and those of people who are gone first; then seats whose occupant ranks lower.
    for (seat, place) in places.iter().enumerate() {
        match place.pair {
            None => {
                if let Some(pair) = missing.pop() {
                    plan.moves.push((seat, Some(pair)));
                }
            }
            Some(pair) if !exists(pair) => plan.moves.push((seat, missing.pop())),
            Some(_) => {}
        }
    }
    for (seat, place) in places.iter().enumerate() {
        let Some(occupant) = place.pair else { continue };
        if is_chosen(occupant) || !exists(occupant) || missing.is_empty() {
            continue;
        }
        let free_at = place.changed.and_then(|at| at.checked_add(CALM)).filter(|at| *at > now);
        let screen = missing.last().is_some_and(|pair| pair.screen);
        match free_at {
            Some(at) if !screen => plan.again = Some(plan.again.map_or(at, |other| other.min(at))),
            _ => {
                plan.moves.push((seat, missing.pop()));
                displaced.push(occupant);
            }
        }
    }
    let seated =
        |pair: Pair| places.iter().any(|p| p.pair == Some(pair)) && !displaced.contains(&pair);
    plan.unseated = missing.iter().rev().copied().collect();
    plan.unseated.extend(rest.iter().map(|c| c.pair).filter(|pair| !seated(*pair)));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(member: usize) -> Pair {
        Pair { member, screen: false }
    }

    fn candidate(member: usize, spoke: Option<Instant>) -> Candidate {
        Candidate { pair: camera(member), shown: 1, spoke, came: member }
    }

    fn apply(places: &mut [Place], plan: &Plan, now: Instant) {
        for (seat, pair) in &plan.moves {
            places[*seat] = Place { pair: *pair, changed: Some(now) };
        }
    }

    #[test]
    fn everybody_sits_while_there_are_seats_and_nobody_moves_when_one_leaves() {
        let t = crate::test_clock();
        let mut places = [Place::default(); 4];
        let all: Vec<_> = (0..3).map(|m| candidate(m, None)).collect();
        let first = plan(&places, &all, t);
        apply(&mut places, &first, t);
        assert_eq!(
            places.map(|p| p.pair),
            [Some(camera(0)), Some(camera(1)), Some(camera(2)), None]
        );
        let without = [all[0], all[2]];
        let second = plan(&places, &without, t);
        assert_eq!(second.moves, [(1, None)]);
        apply(&mut places, &second, t);
        let with_new = [all[0], all[2], candidate(9, None)];
        assert_eq!(plan(&places, &with_new, t).moves, [(1, Some(camera(9)))]);
    }

    #[test]
    fn a_speaker_takes_the_seat_of_who_was_silent_longest_but_not_within_two_seconds() {
        let t = crate::test_clock();
        let mut places = [Place::default(); 2];
        let mut all = vec![candidate(0, Some(t)), candidate(1, None), candidate(2, None)];
        let first = plan(&places, &all, t);
        assert_eq!(first.unseated, [camera(2)]);
        apply(&mut places, &first, t);
        let at = t + Duration::from_millis(500);
        all[2].spoke = Some(at);
        let early = plan(&places, &all, at);
        assert!(early.moves.is_empty());
        assert_eq!(early.again, Some(t + CALM));
        assert_eq!(early.unseated, [camera(2)]);
        let late = plan(&places, &all, t + CALM);
        assert_eq!(late.moves, [(1, Some(camera(2)))]);
        assert_eq!(late.unseated, [camera(1)]);
    }

    #[test]
    fn a_screen_share_comes_first_and_at_once() {
        let t = crate::test_clock();
        let mut places = [Place::default(); 2];
        let mut all = vec![candidate(0, Some(t)), candidate(1, Some(t))];
        let first = plan(&places, &all, t);
        apply(&mut places, &first, t);
        let screen = Pair { member: 2, screen: true };
        all.push(Candidate { pair: screen, shown: 1, spoke: None, came: 2 });
        let plan = plan(&places, &all, t);
        assert_eq!(plan.moves, [(1, Some(screen))]);
        assert_eq!(plan.unseated, [camera(1)]);
    }

    #[test]
    fn who_is_shown_has_a_seat_before_who_is_not_and_a_pin_before_all() {
        let t = crate::test_clock();
        let mut places = [Place::default(); 2];
        let mut all = vec![candidate(0, None), candidate(1, None), candidate(2, Some(t))];
        all[0].shown = 0;
        let first = plan(&places, &all, t);
        assert_eq!(first.unseated, [camera(0)], "its picture is not on the page");
        apply(&mut places, &first, t);
        all[0].shown = PINNED;
        let pinned = plan(&places, &all, t + CALM);
        assert_eq!(pinned.unseated, [camera(1)]);
        all[2].shown = 0;
        let hidden = plan(&places, &all, t + CALM);
        assert_eq!(hidden.unseated, [camera(1)], "who speaks is heard, shown or not");
        let later = plan(&places, &all, t + HEARD);
        assert_eq!(later.unseated, [camera(2)]);
    }

    #[test]
    fn seats_grow_by_steps_up_to_the_limit() {
        assert_eq!(wanted_seats(0, 24), 4);
        assert_eq!(wanted_seats(4, 24), 4);
        assert_eq!(wanted_seats(5, 24), 8);
        assert_eq!(wanted_seats(17, 24), 24);
        assert_eq!(wanted_seats(500, 24), 24);
        assert_eq!(wanted_seats(500, 64), 64);
        assert_eq!(wanted_seats(3, 2), 2);
    }
}
