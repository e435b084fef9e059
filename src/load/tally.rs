//! What came of one publisher's stream at one viewer: each packet counted once, doubles apart.

use std::ops::Range;

use super::mark::Mark;

/// Packets that are remembered behind the newest one. A resend comes within a second; 1,024
/// packets are more than that at 1,000 a second. One that comes later still is counted as double.
const MEMORY: u64 = 1_024;
const WORDS: usize = 16;

/// Counts of one stream, over the packets that were sent within the window.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Different packets that came.
    pub received: u64,
    /// Packets that came again.
    pub duplicated: u64,
    /// Packets between the first and the last of each run of one layer. Which layer a viewer gets
    /// is the server's to choose, so under simulcast only gaps within a layer are losses.
    pub spanned: u64,
    layer: u8,
    /// One more than the highest number that came.
    next: u64,
    seen: [u64; WORDS],
}

impl Tally {
    /// Counts one packet. Whether it is new.
    pub fn count(&mut self, mark: &Mark, window: Option<&Range<u64>>) -> bool {
        let inside = u64::from(window.is_some_and(|window| window.contains(&mark.sent)));
        let number = u64::from(mark.number);
        if mark.layer != self.layer || self.next == 0 {
            (self.layer, self.next, self.seen) = (mark.layer, number, [0; WORDS]);
        }
        if number >= self.next {
            let steps = number - self.next + 1;
            self.spanned += if inside == 1 { steps } else { 0 };
            self.forget(self.next, steps);
            self.next = number + 1;
        } else if self.next - number > MEMORY || self.has(number) {
            self.duplicated += inside;
            return false;
        }
        self.received += inside;
        if let Some(word) = self.seen.get_mut(word(number)) {
            *word |= 1 << (number % 64);
        }
        true
    }

    fn has(&self, number: u64) -> bool {
        self.seen.get(word(number)).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Clears the places of the numbers from `first` on, which are about to be used again.
    fn forget(&mut self, first: u64, steps: u64) {
        for number in first..first + steps.min(MEMORY) {
            if let Some(word) = self.seen.get_mut(word(number)) {
                *word &= !(1 << (number % 64));
            }
        }
    }
}

fn word(number: u64) -> usize {
    usize::try_from(number / 64 % WORDS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn mark(layer: u8, number: u32, sent: u64) -> Mark {
        Mark { run: 1, publisher: 1, kind: Kind::Video, layer, number, sent }
    }

    fn tally(numbers: impl IntoIterator<Item = u32>) -> Tally {
        let mut tally = Tally::default();
        for number in numbers {
            tally.count(&mark(0, number, 5), Some(&(0..10)));
        }
        tally
    }

    #[test]
    fn each_packet_is_counted_once_in_any_order() {
        let shuffled = tally([3, 1, 2, 1, 7, 3, 5000, 4999, 4999]);
        assert_eq!((shuffled.received, shuffled.duplicated), (6, 3), "late ones are no doubles");
        let late = tally((0..100).filter(|n| n % 10 != 3).chain([3, 13, 13]));
        assert_eq!((late.received, late.duplicated), (92, 1), "resent ones are no doubles");
        let long = tally(0..10_000);
        assert_eq!((long.received, long.duplicated, long.spanned), (10_000, 0, 10_000));
    }

    #[test]
    fn only_what_was_sent_within_the_window_counts() {
        let mut tally = Tally::default();
        for (number, sent) in [(0, 9), (1, 10), (2, 19), (3, 20)] {
            tally.count(&mark(0, number, sent), Some(&(10..20)));
        }
        assert_eq!(tally.received, 2);
        tally.count(&mark(0, 9, 15), None);
        assert_eq!(tally.received, 2, "no window, no count");
    }

    #[test]
    fn a_switch_of_layers_is_no_loss_and_a_gap_within_one_is() {
        let mut tally = Tally::default();
        for (layer, number) in [(0, 10), (0, 11), (2, 500), (2, 502), (0, 30)] {
            tally.count(&mark(layer, number, 5), Some(&(0..10)));
        }
        assert_eq!((tally.received, tally.spanned), (5, 6));
    }
}
