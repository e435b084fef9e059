//! The fence around each session: one that panics or will not come to rest ends alone.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::report::Totals;
use crate::session::SessionError;

/// A session failed; it must not be touched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// Runs a session's work. What the work leaves half done belongs to that session alone, and the
/// session is dropped when it failed: nothing broken is seen by anybody else.
pub(super) fn guarded<T>(
    totals: &mut Totals,
    work: impl FnOnce() -> Result<T, SessionError>,
) -> Result<T, Failed> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(SessionError::Budget)) => {
            totals.failed_budget += 1;
            Err(Failed)
        }
        Err(_) => {
            totals.failed_panic += 1;
            Err(Failed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_a_loop_are_failures_that_are_counted_apart() {
        let mut totals = Totals::default();
        assert_eq!(guarded(&mut totals, || Ok(7)), Ok(7));
        assert_eq!(guarded::<()>(&mut totals, || panic!("broken")), Err(Failed));
        assert_eq!(guarded::<()>(&mut totals, || Err(SessionError::Budget)), Err(Failed));
        assert_eq!((totals.failed_panic, totals.failed_budget), (1, 1));
    }
}
