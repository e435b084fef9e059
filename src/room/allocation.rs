//! What of each video a viewer is sent when its network does not carry everything: pure.

use std::cmp::Reverse;

use crate::forward::layers::Rung;

/// What is taken beyond what a viewer has already must leave so many hundredths of itself free: rates
/// and estimates move by so much from one look to the next, and a picture that is given and taken
/// away again is worse than a smaller one.
const SPARE: u64 = 12;

/// A video that a viewer wants, and what decides between it and others.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What there is of it, cheapest first.
    pub rungs: &'a [Rung],
    /// How many of the rungs are of use: more would be a larger picture than is shown. None: it is
    /// not wanted.
    pub useful: usize,
    /// How many of the rungs the viewer has now.
    pub held: usize,
    /// It comes first: a shared screen, or pinned.
    pub first: bool,
    /// Higher first.
    pub priority: u8,
    /// The height at which it is shown: taller first.
    pub height: u16,
}

/// What an allocation came to, in bit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// What is sent.
    pub sent: u64,
    /// What would be sent with the next step up; the same when there is none.
    pub next: u64,
    /// What would be sent with all that is of use.
    pub full: u64,
}

/// How much may be sent, in bit/s.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// With what a viewer has already.
    pub held: u64,
    /// With anything that it has not: what was there for a while, not just now.
    pub new: u64,
    /// The same for the lowest of what it has nothing of: a picture is missed more than a better one.
    pub first: u64,
}

/// Says for each ask how many of its rungs are given, so that all of it together stays within the
/// budget. First everybody gets the lowest, in order; then each rises by one in each round,
/// those that come first before all others, then by priority.
pub fn allocate(budget: Budget, asks: &[Ask<'_>], given: &mut Vec<usize>) -> Sum {
    given.clear();
    given.resize(asks.len(), 0);
    let mut order: Vec<usize> = (0..asks.len()).collect();
    let rank =
        |at: &usize| asks.get(*at).map(|a| (Reverse((a.first, a.priority)), Reverse(a.height)));
    order.sort_by_key(rank);
    let mut sent = 0;
    for at in &order {
        rise(budget, asks, given, *at, &mut sent);
    }
    let class = |at: &usize| asks.get(*at).map(|ask| (ask.first, ask.priority));
    for equals in order.chunk_by(|a, b| class(a) == class(b)) {
        let mut rising = true;
        while rising {
            rising = false;
            for at in equals {
                // Who was not given the lowest is not given more: all got their turn for that.
                if given.get(*at).is_some_and(|given| *given > 0) {
                    rising |= rise(budget, asks, given, *at, &mut sent);
                }
            }
        }
    }
    let full = asks.iter().map(|ask| cost(ask, ask.useful.min(ask.rungs.len()))).sum();
    Sum { sent, next: next_step(asks, given, sent), full }
}

/// What the lowest of the ask that comes first costs, if a viewer has more of it than that, or has
/// only that since a moment ago (`fell`).
pub fn first_least(asks: &[Ask<'_>], fell: bool) -> Option<u64> {
    first(asks).filter(|ask| ask.held > 1 || (ask.held == 1 && fell)).map(|ask| cost(ask, 1))
}

/// The same, whatever a viewer has.
pub fn least(asks: &[Ask<'_>]) -> Option<u64> {
    first(asks).map(|ask| cost(ask, 1))
}

fn first<'a, 'b>(asks: &'a [Ask<'b>]) -> Option<&'a Ask<'b>> {
    let wanted = asks.iter().filter(|ask| ask.useful > 0);
    wanted.min_by_key(|ask| (Reverse((ask.first, ask.priority)), Reverse(ask.height)))
}

/// The budget that so much needs to be newly taken, in bit/s.
pub fn with_spare(rate: u64) -> u64 {
    rate + rate / 100 * SPARE
}

/// What would be sent if whoever comes first and lacks something got one rung more.
pub fn next_step(asks: &[Ask<'_>], given: &[usize], sent: u64) -> u64 {
    let lacks = |(ask, has): &(&Ask<'_>, &usize)| **has < ask.useful.min(ask.rungs.len());
    let first = asks.iter().zip(given).filter(lacks).min_by_key(|(ask, has)| {
        // Who has nothing is given something before anybody gets more.
        (**has > 0, Reverse((ask.first, ask.priority)), **has, Reverse(ask.height))
    });
    first.map_or(sent, |(ask, has)| sent - cost(ask, *has) + cost(ask, *has + 1))
}

/// Gives one rung more, if it is of use and fits.
fn rise(budget: Budget, asks: &[Ask<'_>], given: &mut [usize], at: usize, sent: &mut u64) -> bool {
    let (Some(ask), Some(has)) = (asks.get(at), given.get_mut(at)) else { return false };
    if *has >= ask.useful.min(ask.rungs.len()) {
        return false;
    }
    let after = *sent - cost(ask, *has) + cost(ask, *has + 1);
    let fits = match *has < ask.held {
        true => after <= budget.held,
        false => {
            let new = if ask.held == 0 && *has == 0 { budget.first } else { budget.new };
            with_spare(after) <= budget.held.min(new)
        }
    };
    if fits {
        *has += 1;
        *sent = after;
    }
    fits
}

/// What so many rungs of an ask cost.
fn cost(ask: &Ask<'_>, rungs: usize) -> u64 {
    let top = rungs.checked_sub(1).and_then(|at| ask.rungs.get(at));
    top.map_or(0, |rung| u64::from(rung.bps))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::forward::layers::Target;

    fn rungs(rates: &[u32]) -> Vec<Rung> {
        let rung =
            |(layer, bps): (u8, &u32)| Rung { target: Target { layer, temporal: 2 }, bps: *bps };
        (0u8..).zip(rates).map(rung).collect()
    }

    fn ask(rungs: &[Rung]) -> Ask<'_> {
        Ask { rungs, useful: rungs.len(), held: 0, first: false, priority: 0, height: 360 }
    }

    fn steady(rate: u64) -> Budget {
        Budget { held: rate, new: rate, first: rate }
    }

    fn given(budget: u64, asks: &[Ask<'_>]) -> Vec<usize> {
        let mut given = Vec::new();
        allocate(steady(budget), asks, &mut given);
        given
    }

    #[test]
    fn everybody_gets_the_lowest_before_anybody_gets_more() {
        let camera = rungs(&[100_000, 500_000, 1_500_000]);
        let three = [ask(&camera); 3];
        assert_eq!(given(340_000, &three), [1, 1, 1]);
        assert_eq!(given(800_000, &three), [2, 1, 1]);
        assert_eq!(given(230_000, &three), [1, 1, 0]);
        assert_eq!(given(10_000_000, &three), [3, 3, 3]);
    }

    #[test]
    fn a_screen_rises_first_and_the_larger_tile_before_the_smaller() {
        let camera = rungs(&[100_000, 500_000]);
        let screen = Ask { first: true, ..ask(&camera) };
        let small = Ask { height: 90, ..ask(&camera) };
        assert_eq!(given(800_000, &[small, ask(&camera), screen]), [1, 1, 2]);
        assert_eq!(given(1_300_000, &[small, ask(&camera), screen]), [1, 2, 2]);
    }

    #[test]
    fn what_is_held_stays_while_it_fits_and_what_is_new_needs_room_to_spare() {
        let camera = rungs(&[100_000, 500_000]);
        assert_eq!(given(500_000, &[ask(&camera)]), [1]);
        assert_eq!(given(500_000, &[Ask { held: 2, ..ask(&camera) }]), [2]);
        assert_eq!(given(499_999, &[Ask { held: 2, ..ask(&camera) }]), [1]);
        assert_eq!(given(560_001, &[ask(&camera)]), [2]);
    }

    #[test]
    fn what_is_not_wanted_costs_nothing_and_is_not_missed() {
        let camera = rungs(&[100_000, 500_000]);
        let hidden = Ask { useful: 0, ..ask(&camera) };
        let small = Ask { useful: 1, ..ask(&camera) };
        let mut given = Vec::new();
        let sum = allocate(steady(1_000_000), &[hidden, small], &mut given);
        assert_eq!(given, [0, 1]);
        assert_eq!(sum, Sum { sent: 100_000, next: 100_000, full: 100_000 });
    }

    #[test]
    fn the_next_step_is_that_of_who_would_rise_first() {
        let camera = rungs(&[100_000, 500_000]);
        let screen = Ask { first: true, ..ask(&camera) };
        let mut given = Vec::new();
        let sum = allocate(steady(250_000), &[ask(&camera), screen], &mut given);
        assert_eq!(given, [1, 1]);
        assert_eq!(sum, Sum { sent: 200_000, next: 600_000, full: 1_000_000 });
    }

    #[test]
    fn the_least_of_one_picture_is_kept_for_a_while() {
        let camera = rungs(&[100_000, 500_000]);
        let screen = Ask { first: true, held: 2, ..ask(&camera) };
        assert_eq!(first_least(&[ask(&camera), screen], false), Some(100_000));
        let least = Ask { held: 1, ..screen };
        assert_eq!(first_least(&[ask(&camera), least], true), Some(100_000));
        assert_eq!(first_least(&[ask(&camera), least], false), None, "it was too much for long");
        assert_eq!(first_least(&[Ask { useful: 0, ..screen }, ask(&camera)], true), None);
    }

    prop_compose! {
        fn some_ask()(
            mut rates in prop::collection::vec(20_000..3_000_000u32, 1..9),
            useful in 0..9usize, held in 0..9usize, first: bool, priority in 0..3u8, height in 0..4u16,
        ) -> (Vec<Rung>, usize, usize, bool, u8, u16) {
            rates.sort_unstable();
            rates.dedup();
            (rungs(&rates), useful, held, first, priority, height * 180)
        }
    }

    proptest! {
        #[test]
        fn an_allocation_fits_stays_within_what_is_of_use_and_does_not_change_by_itself(
            owned in prop::collection::vec(some_ask(), 0..12), budget in 0..20_000_000u64, new in 0..20_000_000u64,
        ) {
            let mut asks: Vec<Ask<'_>> = owned.iter()
                .map(|(rungs, useful, held, first, priority, height)| Ask {
                    rungs, useful: *useful, held: *held, first: *first, priority: *priority, height: *height,
                })
                .collect();
            let mut given = Vec::new();
            let budget = Budget { held: budget, new, first: new.max(budget / 2) };
            let sum = allocate(budget, &asks, &mut given);
            prop_assert!(sum.sent <= budget.held);
            let costs: u64 = asks.iter().zip(&given).map(|(ask, has)| cost(ask, *has)).sum();
            prop_assert_eq!(costs, sum.sent);
            prop_assert!(sum.sent <= sum.next && sum.next <= sum.full);
            for (ask, has) in asks.iter().zip(&given) {
                prop_assert!(*has <= ask.useful.min(ask.rungs.len()));
            }
            asks.iter_mut().zip(&given).for_each(|(ask, has)| ask.held = *has);
            let mut again = Vec::new();
            allocate(budget, &asks, &mut again);
            prop_assert_eq!(given, again, "nothing has changed");
        }

        #[test]
        fn who_comes_first_has_a_picture_whenever_one_would_fit_alone(
            owned in prop::collection::vec(some_ask(), 1..8), budget in 0..1_000_000u64,
        ) {
            let mut asks: Vec<Ask<'_>> = owned.iter().map(|(rungs, ..)| ask(rungs)).collect();
            asks[0].first = true;
            let alone = given(budget, &asks[..1]);
            let among = given(budget, &asks);
            prop_assert_eq!(alone[0] > 0, among[0] > 0);
            prop_assert!(among[0] <= alone[0], "others cost something");
        }
    }
}
