//! What one viewer hears of each publisher, and how late: from decrypted payloads to counts.

use std::ops::Range;
use std::time::Duration;

use super::clock::nanos;
use super::delays::Delays;
use super::mark::Mark;
use super::plan::Person;
use super::tally::Tally;
use crate::model::Kind;

/// What all viewers of one thread heard together.
#[derive(Debug)]
pub struct Ears {
    /// What counts: nanoseconds from the beginning of the run.
    pub window: Option<Range<u64>>,
    /// One-way delays of audio within the window.
    pub audio: Delays,
    /// One-way delays of video within the window.
    pub video: Delays,
    /// How long trains waited in a socket of ours within the window.
    pub waits: Delays,
    /// The window is open now.
    pub open: bool,
    /// Packets that were decrypted, from the beginning.
    pub decrypted: u64,
    /// Packets within the window, doubles among them.
    pub counted: u64,
    /// Packets that carried no mark of this run.
    pub foreign: u64,
}

impl Ears {
    pub(super) fn new() -> Self {
        Self {
            window: None,
            audio: Delays::new(),
            video: Delays::new(),
            waits: Delays::new(),
            open: false,
            decrypted: 0,
            counted: 0,
            foreign: 0,
        }
    }

    pub(super) fn waited(&mut self, waited: Duration) {
        if self.open {
            self.waits.record(nanos(waited));
        }
    }
}

/// What one viewer hears.
#[derive(Debug)]
pub struct Hearing {
    run: u32,
    first: u32,
    /// It comes late and is first sent what others saw before: its delays say nothing.
    guest: bool,
    /// Of each person of the room, audio and video.
    tallies: Vec<[Option<Box<Tally>>; 2]>,
}

impl Hearing {
    /// Ears for one person.
    #[must_use]
    pub fn new(person: &Person, run: u32) -> Self {
        let people = if person.watches { usize::try_from(person.of).unwrap_or(0) } else { 0 };
        let mut tallies = Vec::new();
        tallies.resize_with(people, Default::default);
        Self { run, first: person.first, guest: person.is_guest(), tallies }
    }

    /// Counts one payload that arrived at `arrived`, in nanoseconds of the run. What it was,
    /// if it was one of this run's, and new.
    pub fn hear(&mut self, payload: &[u8], arrived: u64, ears: &mut Ears) -> Option<Kind> {
        ears.decrypted += 1;
        let mark = Mark::find(payload).ok().filter(|mark| mark.run == self.run);
        let place = mark.and_then(|mark| {
            let index = usize::try_from(mark.publisher.checked_sub(self.first)?).ok()?;
            let place = self.tallies.get_mut(index)?.get_mut(usize::from(mark.kind == Kind::Video));
            place.map(|tally| (mark, tally))
        });
        let Some((mark, tally)) = place else {
            ears.foreign += 1;
            return None;
        };
        let window = ears.window.as_ref();
        let new = tally.get_or_insert_default().count(&mark, window);
        if window.is_some_and(|window| window.contains(&mark.sent)) {
            ears.counted += 1;
            let delays = if mark.kind == Kind::Video { &mut ears.video } else { &mut ears.audio };
            if !self.guest {
                delays.record(arrived.saturating_sub(mark.sent));
            }
        }
        new.then_some(mark.kind)
    }

    /// What came of each publisher that was heard at all: its number, what, and how much.
    pub fn heard(&self) -> impl Iterator<Item = (u32, Kind, &Tally)> {
        (self.first..).zip(&self.tallies).flat_map(|(publisher, [audio, video])| {
            let both = [(Kind::Audio, audio), (Kind::Video, video)];
            both.into_iter()
                .filter_map(move |(kind, tally)| Some((publisher, kind, tally.as_deref()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::mark::AUDIO_HEAD;
    use super::super::options::tests::options;
    use super::super::plan::people;
    use super::*;

    #[test]
    fn what_a_guest_is_sent_counts_but_its_delays_do_not() {
        let people = people(&options("churn --people 2 --rate 4 --stay 1 --seconds 3"));
        let mark =
            Mark { run: 1, publisher: 0, kind: Kind::Audio, layer: 0, number: 1, sent: 5_000 };
        let payload: Vec<u8> = [0; AUDIO_HEAD].into_iter().chain(mark.write()).collect();
        for (person, delays) in [(&people[1], Some(1)), (&people[2], None)] {
            let mut ears = Ears { window: Some(0..10_000), ..Ears::new() };
            let mut hearing = Hearing::new(person, 1);
            assert_eq!(hearing.hear(&payload, 8_000, &mut ears), Some(Kind::Audio));
            assert_eq!(ears.counted, 1);
            assert_eq!(ears.audio.percentiles().map(|delays| delays.count), delays);
        }
    }
}
