//! How much an engine may do for one input before it counts as caught in a loop. A loop is as bad
//! as a panic: it takes the worker with it.

use super::SessionError;

/// Most outputs of the engine for one input. A keyframe for a viewer with 64 seats is a few
/// hundred; an engine that makes more is caught in a loop (`algesten/str0m` 863, 1017, 1062).
const OUTPUTS: u32 = 2_000;

/// Most times that the engine may ask to be woken at once.
const WAKES: u32 = 100;

/// What is left to one drain.
#[derive(Debug, Default)]
pub(super) struct Budget {
    outputs: u32,
    wakes: u32,
}

impl Budget {
    /// The engine gave something out.
    pub fn output(&mut self) -> Result<(), SessionError> {
        self.outputs += 1;
        if self.outputs > OUTPUTS { Err(SessionError::Budget) } else { Ok(()) }
    }

    /// The engine wants to be woken at once.
    pub fn wake(&mut self) -> Result<(), SessionError> {
        self.wakes += 1;
        if self.wakes > WAKES { Err(SessionError::Budget) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_ends_at_its_two_thousandth_output_and_its_hundredth_wake() {
        let mut budget = Budget::default();
        assert!((0..2_000).all(|_| budget.output().is_ok()));
        assert_eq!(budget.output(), Err(SessionError::Budget));
        assert!((0..100).all(|_| budget.wake().is_ok()));
        assert_eq!(budget.wake(), Err(SessionError::Budget));
    }
}
