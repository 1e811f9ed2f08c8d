//! Memory for what is kept of images while they are read: names, nodes of trees, plans. One budget for all calls of the process.
//!
//! An archive of some megabytes can hold a million names, so what is kept is counted before it is kept. Each reader has a [`Share`]; a few
//! megabytes of it are its own, so that an ordinary train is read however much the others have taken. What is beyond comes out of the
//! budget, half of which no reader exceeds. A reader that finds the budget taken is refused at once: two that wait for each other
//! would wait for ever.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::image::ImageError;

/// Bytes of the budget unless [`set_limit`] says otherwise: two images of some 500,000 files each at a time.
pub const DEFAULT_MIB: u64 = 512;
/// Bytes that any reader may keep: a few thousand files.
const FREE: u64 = 4 << 20;
/// Bytes that are taken out of the budget at a time.
const PIECE: u64 = 1 << 20;
/// Bytes that must have come back before the allocator is told to give back what it holds.
const WORTH_IT: u64 = 4 << 20;
/// What a kept entry costs besides its name and itself: the allocator's notes, the tree's spare room.
const OVERHEAD: usize = 96;

/// The process's budget.
static BUDGET: Budget =
    Budget { limit: AtomicU64::new(DEFAULT_MIB << 20), taken: AtomicU64::new(0), returned: AtomicU64::new(0) };

struct Budget {
    limit: AtomicU64,
    taken: AtomicU64,
    /// Bytes that came back since the allocator was last told.
    returned: AtomicU64,
}

/// Sets the budget, in bytes.
pub fn set_limit(bytes: u64) {
    BUDGET.limit.store(bytes, Ordering::Relaxed);
}

/// Has the allocator give the system what readers have freed. To be called where a step has ended.
pub fn give_back() {
    if BUDGET.returned.load(Ordering::Relaxed) < WORTH_IT || BUDGET.returned.swap(0, Ordering::Relaxed) < WORTH_IT {
        return;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and glibc lets any thread call it at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What one reader keeps. The budget has it back when this is dropped.
#[derive(Debug, Default)]
pub struct Share {
    kept: u64,
    /// Out of the budget.
    taken: u64,
}

impl Share {
    /// Counts an entry of a tree or a list that is about to be kept: `T` itself, its name, and what the tree costs.
    ///
    /// # Errors
    /// As [`Share::take`].
    pub fn entry<T>(&mut self, name: usize) -> Result<(), ImageError> {
        self.take(2 * size_of::<T>() + name + OVERHEAD)
    }

    /// Counts bytes that are about to be kept.
    ///
    /// # Errors
    /// [`ImageError::Limit`] when they are more than any one reader may keep; [`ImageError::MemoryTaken`] when other calls have what is needed.
    pub fn take(&mut self, bytes: usize) -> Result<(), ImageError> {
        self.kept = self.kept.saturating_add(bytes as u64);
        let Some(missing) = self.kept.checked_sub(FREE + self.taken).filter(|missing| *missing > 0) else { return Ok(()) };
        let limit = BUDGET.limit.load(Ordering::Relaxed);
        let wanted = missing.next_multiple_of(PIECE);
        if self.taken + wanted > limit / 2 {
            return Err(ImageError::Limit("memory for the names of one image"));
        }
        let grant = |taken: u64| taken.checked_add(wanted).filter(|taken| *taken <= limit);
        BUDGET.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grant).map_err(|_| ImageError::MemoryTaken)?;
        self.taken += wanted;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        BUDGET.taken.fetch_sub(self.taken, Ordering::Relaxed);
        BUDGET.returned.fetch_add(self.kept, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::image::archive::memory_budget::*;

    const MIB: usize = 1 << 20;

    /// The only test of the library that takes more than its own few megabytes: the budget is the process's.
    #[test]
    fn one_budget_bounds_all_readers_and_each_keeps_its_own_few_megabytes() {
        let half = (DEFAULT_MIB as usize / 2) * MIB;
        let (mut one, mut two, mut three) = (Share::default(), Share::default(), Share::default());
        one.take(half + FREE as usize).unwrap();
        assert!(matches!(one.take(1), Err(ImageError::Limit(_))), "no reader takes more than half");
        two.take(half + FREE as usize).unwrap();
        three.take(FREE as usize).unwrap();
        assert!(matches!(three.take(1), Err(ImageError::MemoryTaken)), "the budget is taken");
        drop(one);
        three.take(1).unwrap();
        drop((two, three));
        assert_eq!(BUDGET.taken.load(Ordering::Relaxed), 0, "all of it came back");
    }
}
