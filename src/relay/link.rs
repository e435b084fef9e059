//! Whether what comes from another worker still counts.
//!
//! A link loses nothing as long as its queue has room. When it has not, the link is broken: both
//! sides forget what they shared and begin anew. Each side counts its beginnings; a message that
//! was written before the writer knew of the other's newest one is void.

/// Under which beginnings a message was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The writer's own.
    mine: u32,
    /// The newest of the reader's that the writer knew.
    yours: u32,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It counts.
    Current,
    /// The other side began anew: first forget what was shared, then it counts.
    Fresh,
    /// It is void.
    Stale,
}

/// One worker's end of a link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    mine: u32,
    theirs: u32,
}

impl Link {
    /// The stamp for a message that is written now.
    #[must_use]
    pub fn stamp(self) -> Stamp {
        Stamp { mine: self.mine, yours: self.theirs }
    }

    /// Something that must not be lost was lost: begins anew.
    pub fn broke(&mut self) {
        self.mine = self.mine.wrapping_add(1);
    }

    /// Judges a message by its stamp.
    pub fn receive(&mut self, stamp: Stamp) -> Received {
        let fresh = stamp.mine != self.theirs;
        self.theirs = stamp.mine;
        match (fresh, stamp.yours == self.mine) {
            (true, _) => Received::Fresh,
            (false, true) => Received::Current,
            (false, false) => Received::Stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_a_break_became_known_is_void() {
        let (mut here, mut there) = (Link::default(), Link::default());
        assert_eq!(there.receive(here.stamp()), Received::Current);
        let late = there.stamp();
        here.broke();
        assert_eq!(here.receive(late), Received::Stale);
        assert_eq!(there.receive(here.stamp()), Received::Fresh);
        assert_eq!(there.receive(here.stamp()), Received::Current);
        assert_eq!(here.receive(there.stamp()), Received::Current);
    }

    #[test]
    fn a_break_on_both_sides_at_once_ends_in_agreement() {
        let (mut here, mut there) = (Link::default(), Link::default());
        here.broke();
        there.broke();
        let (a, b) = (here.stamp(), there.stamp());
        assert_eq!(here.receive(b), Received::Fresh);
        assert_eq!(there.receive(a), Received::Fresh);
        assert_eq!(here.receive(there.stamp()), Received::Current);
        assert_eq!(there.receive(here.stamp()), Received::Current);
    }
}
