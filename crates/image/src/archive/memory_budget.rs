//! Memory budget for image metadata kept while images are read: names, tree nodes, plans. All calls of the process share it.
//!
//! An archive of some megabytes can hold a million names, so metadata is counted before it is kept. Each reader has a
//! [`Share`] with a few megabytes of its own, so that an ordinary train can be read however much other readers have taken.
//! More comes out of the budget, of which no reader may take over half. A reader is refused at once when the budget is
//! exhausted: two readers that wait for each other would wait forever.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ImageError;

/// Default size of the budget in MiB, unless [`set_limit`] sets another: two images of some 500,000 files each at a time.
const DEFAULT_MIB: u64 = 512;
/// Bytes that any reader may keep: a few thousand files.
const FREE: u64 = 4 << 20;
/// Bytes that are taken out of the budget at a time.
const PIECE: u64 = 1 << 20;
/// Bytes that must have been returned before the allocator is asked to return memory to the system.
const WORTH_IT: u64 = 4 << 20;
/// Cost of an entry in addition to its name and itself: the allocator's metadata and the tree's spare capacity.
const OVERHEAD: usize = 96;

/// The process's budget.
static BUDGET: Budget =
    Budget { limit: AtomicU64::new(DEFAULT_MIB << 20), taken: AtomicU64::new(0), returned: AtomicU64::new(0) };

struct Budget {
    limit: AtomicU64,
    taken: AtomicU64,
    /// Bytes returned since the allocator was last asked to return memory.
    returned: AtomicU64,
}

/// Sets the budget, in bytes.
pub fn set_limit(bytes: u64) {
    BUDGET.limit.store(bytes, Ordering::Relaxed);
}

/// Asks the allocator to return memory freed by readers to the system. To be called at the end of a step.
#[allow(unsafe_code, reason = "calls the allocator of glibc, where that is the C library")]
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

/// Memory kept by one reader. It returns to the budget on drop.
#[derive(Debug, Default)]
pub struct Share {
    kept: u64,
    /// Bytes taken out of the budget.
    taken: u64,
}

impl Share {
    /// Counts an entry of a tree or a list before it is kept: `T` itself, its name, and the tree's cost.
    ///
    /// # Errors
    /// As [`Share::take`].
    pub fn entry<T>(&mut self, name: usize) -> Result<(), ImageError> {
        self.take(2 * size_of::<T>() + name + OVERHEAD)
    }

    /// Counts bytes before they are kept.
    ///
    /// # Errors
    /// [`ImageError::Limit`] if they exceed what a reader may keep; [`ImageError::MemoryTaken`] if other calls use the memory.
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
    use crate::archive::memory_budget::*;

    const MIB: usize = 1 << 20;

    /// The only test of the library that takes more than its own few megabytes: the budget is process-wide.
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
