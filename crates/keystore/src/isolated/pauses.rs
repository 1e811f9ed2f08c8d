//! Pauses between the starts of a token's process: a module that crashes soon after each start must not use the processor, the token
//! and the audit without end.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
/// With the time that a token needs to open, below the 5 s within which a token that is back is served.
const LONGEST: Duration = Duration::from_secs(4);
/// A process that lived as long as this ended by a rare fault: the next one starts at once.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// The pause before the next start: doubled from start to start, until a process lives long.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(FIRST)
    }

    /// Returns the pause before the next start, after a process that lived this long; zero for one that was never ready.
    pub(super) fn after(&mut self, life: Duration) -> Duration {
        if life >= LONG_LIFE {
            self.0 = FIRST;
            return Duration::ZERO;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, LONG_LIFE, LONGEST, Pauses};
    use std::time::Duration;

    #[test]
    fn pauses_grow_while_processes_end_soon_and_are_forgotten_after_a_long_life() {
        let mut pauses = Pauses::new();
        let short = LONG_LIFE - Duration::from_millis(1);
        let taken: Vec<_> = (0..7).map(|_| pauses.after(short)).collect();
        assert_eq!(taken[0], FIRST);
        assert!(taken.windows(2).all(|pair| pair[1] == (pair[0] * 2).min(LONGEST)), "{taken:?}");
        assert_eq!(taken[6], LONGEST);
        assert_eq!(pauses.after(LONG_LIFE), Duration::ZERO);
        assert_eq!(pauses.after(Duration::ZERO), FIRST);
    }
}
