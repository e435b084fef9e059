//! What frames lean on, and which of them one viewer was not sent: a frame that leans on what was
//! left out cannot be decoded, and is left out too.

use crate::wire::descriptor::Descriptor;
use crate::wire::vp9::Vp9;

/// References that a frame can have: AV1 has eight buffers.
const MAX_REFERENCES: usize = 8;

/// How far back frames are remembered, in frame numbers. VP9 leans on at most 127 pictures back,
/// each with four numbers here.
const WINDOW: u16 = 512;

/// Words of 64 bits that hold a window.
const WORDS: usize = 8;

/// The numbers that a VP9 picture takes: one for each spatial layer, and so of each layer's frames
/// those of neighbouring pictures are this far apart.
const PER_PICTURE: u16 = 4;

/// A frame of one spatial layer among those of its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    number: u16,
    /// How far back the frames lie that it leans on; 0: no more of them.
    references: [u16; MAX_REFERENCES],
    /// The packet is its last.
    pub ends: bool,
}

impl Frame {
    /// A frame by its running number and how far back lies what it leans on. References over eight
    /// are forgotten: no codec has them.
    #[must_use]
    pub fn new(number: u16, references: impl IntoIterator<Item = u16>, ends: bool) -> Self {
        let mut frame = Self { number, ends, ..Self::default() };
        for (place, reference) in frame.references.iter_mut().zip(references) {
            *place = reference;
        }
        frame
    }

    /// What a VP9 packet says of its frame; `None` if it does not say enough. Outside of flexible
    /// mode a frame of a spatial layer is taken to lean on the picture before it.
    #[must_use]
    pub fn of_vp9(vp9: &Vp9) -> Option<Self> {
        let (id, spatial) = (vp9.picture_id?, vp9.spatial?);
        if u16::from(spatial) >= PER_PICTURE {
            return None;
        }
        let number = id.wrapping_mul(PER_PICTURE).wrapping_add(u16::from(spatial));
        let earlier = match (vp9.predicted, vp9.flexible) {
            (false, _) => [0; 3],
            (true, true) => vp9.references,
            (true, false) => [1, 0, 0],
        };
        let earlier = earlier.into_iter().map(|back| u16::from(back).saturating_mul(PER_PICTURE));
        let lower = vp9.inter_layer.then_some(1);
        let all = earlier.filter(|back| *back > 0).chain(lower);
        Some(Self::new(number, all, vp9.ends_frame()))
    }

    /// What a dependency descriptor says of a frame.
    #[must_use]
    pub fn of_descriptor(descriptor: &Descriptor) -> Self {
        let references = descriptor.references.as_slice().iter().copied();
        Self::new(descriptor.head.frame, references, descriptor.head.last)
    }

    /// Whether it leans on its own picture alone, as a frame of this spatial layer.
    #[must_use]
    pub fn joins(&self, spatial: u8) -> bool {
        self.references.iter().all(|back| *back <= u16::from(spatial))
    }
}

/// Which of the latest frames were sent and which were left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    newest: Option<u16>,
    decided: [u64; WORDS],
    left: [u64; WORDS],
}

impl Frames {
    /// Whether a frame was left out, if that is decided.
    #[must_use]
    pub fn was_left(&self, frame: &Frame) -> Option<bool> {
        has(&self.decided, frame.number).then(|| has(&self.left, frame.number))
    }

    /// Whether a frame leans on one that was left out. What was lost on its way here does not count:
    /// it may still come.
    #[must_use]
    pub fn breaks(&self, frame: &Frame) -> bool {
        let references = frame.references.iter().filter(|back| (1..WINDOW).contains(*back));
        references.into_iter().any(|back| has(&self.left, frame.number.wrapping_sub(*back)))
    }

    /// Notes what becomes of a frame.
    pub fn decide(&mut self, frame: &Frame, left: bool) {
        let newest = *self.newest.get_or_insert_with(|| frame.number.wrapping_sub(1));
        let ahead = frame.number.wrapping_sub(newest) & WINDOW.wrapping_sub(1);
        if ahead <= WINDOW / 2 {
            for step in 1..=ahead {
                let number = newest.wrapping_add(step);
                set(&mut self.decided, number, false);
                set(&mut self.left, number, false);
            }
            self.newest = Some(frame.number);
        }
        set(&mut self.decided, frame.number, true);
        set(&mut self.left, frame.number, left);
    }
}

fn has(words: &[u64; WORDS], number: u16) -> bool {
    let word = words.get(usize::from(number / 64) % WORDS).copied().unwrap_or(0);
    word.checked_shr(u32::from(number % 64)).unwrap_or(0) & 1 != 0
}

fn set(words: &mut [u64; WORDS], number: u16, value: bool) {
    let bit = 1u64.checked_shl(u32::from(number % 64)).unwrap_or(0);
    if let Some(word) = words.get_mut(usize::from(number / 64) % WORDS) {
        *word = if value { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_leans_on_what_was_left_out_breaks() {
        let mut frames = Frames::default();
        for number in [u16::MAX - 1, u16::MAX, 0, 1] {
            frames.decide(&Frame::new(number, [], true), number == u16::MAX);
        }
        assert!(frames.breaks(&Frame::new(2, [1, 3], true)));
        assert!(!frames.breaks(&Frame::new(2, [1, 2, 4], true)));
        assert_eq!(frames.was_left(&Frame::new(u16::MAX, [], true)), Some(true));
        assert_eq!(frames.was_left(&Frame::new(1, [], true)), Some(false));
        assert_eq!(frames.was_left(&Frame::new(2, [], true)), None);
    }

    #[test]
    fn what_lies_a_window_back_is_forgotten() {
        let mut frames = Frames::default();
        frames.decide(&Frame::new(7, [], true), true);
        for number in (207..1_000).step_by(200) {
            frames.decide(&Frame::new(number, [], true), false);
        }
        assert_eq!(frames.was_left(&Frame::new(7 + WINDOW, [], true)), None);
        assert!(!frames.breaks(&Frame::new(8 + WINDOW, [1], true)));
    }

    #[test]
    fn a_frame_that_comes_late_takes_nothing_from_newer_ones() {
        let mut frames = Frames::default();
        frames.decide(&Frame::new(10, [], true), true);
        frames.decide(&Frame::new(8, [], true), false);
        assert_eq!(frames.was_left(&Frame::new(10, [], true)), Some(true));
        assert_eq!(frames.was_left(&Frame::new(8, [], true)), Some(false));
        assert_eq!(frames.was_left(&Frame::new(9, [], true)), None);
    }

    #[test]
    fn pictures_of_vp9_are_counted_over_their_seam() {
        // Flexible: picture 0 leans on the one before it, and on its own lower layer.
        let after = Frame::of_vp9(&Vp9::parse(&[0xfc, 0x80, 0, 0x03, 0x02]).unwrap()).unwrap();
        let before = Frame::of_vp9(&Vp9::parse(&[0xbc, 0xff, 0xff, 0x02]).unwrap()).unwrap();
        let mut frames = Frames::default();
        frames.decide(&before, true);
        assert!(frames.breaks(&after));
        assert!(!after.joins(1) && before.joins(1));
    }
}
