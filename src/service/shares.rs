//! Limits of the service, and fair-share pools: no principal can hold all places of a pool.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limits from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Maximum number of concurrent steps.
    pub runs: usize,
    /// Maximum number of archives that are received concurrently.
    pub uploads: usize,
    /// Maximum size of an archive, in bytes.
    pub upload_bytes: u64,
    /// Minimum rate of an upload, in bytes per second.
    pub upload_rate: u64,
    /// Maximum time for the upload of an archive.
    pub upload_time: Duration,
}

/// Number of principals that are remembered before those without a place are removed.
const REMEMBERED: usize = 64;

/// Returns one principal's share of a pool: three quarters, and never the last place of a pool that has more than one.
#[must_use]
pub fn share_of(pool: usize) -> usize {
    (pool * 3 / 4).min(pool.saturating_sub(1)).max(1)
}

/// The reason why no place is free for a principal, with the number of places taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The principal holds as many as one principal may.
    Own(usize),
    /// All callers together hold all places.
    All(usize),
}

/// A pool of places. Cheap to clone.
#[derive(Clone)]
pub struct Shares {
    all: Arc<Semaphore>,
    pool: usize,
    each: usize,
    of: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// A place of a pool, released when dropped.
pub struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Shares {
    /// Makes a pool in which each principal's share is given by [`share_of`].
    #[must_use]
    pub fn new(pool: usize) -> Self {
        Self::with_share(pool, share_of(pool))
    }

    /// Makes a pool in which each principal has `each` places, fewer if that would include the last place.
    #[must_use]
    pub fn with_share(pool: usize, each: usize) -> Self {
        let each = each.min(pool.saturating_sub(1)).max(1);
        Self { all: Arc::new(Semaphore::new(pool)), pool, each, of: Arc::default() }
    }

    /// Takes a place for a principal.
    ///
    /// # Errors
    /// The reason why no place is free.
    pub fn take(&self, principal: &str) -> Result<Place, Full> {
        let of = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            if of.len() >= REMEMBERED {
                // A counter with another reference belongs to a place in use.
                of.retain(|_, places| Arc::strong_count(places) > 1);
            }
            Arc::clone(of.entry(principal.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
        };
        let own = of.try_acquire_owned().map_err(|_| Full::Own(self.each))?;
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Full::All(self.pool))?;
        Ok(Place { _own: own, _all: all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_principal_has_the_last_place() {
        for pool in [2, 3, 4, 8, 128] {
            for shares in [Shares::new(pool), Shares::with_share(pool, pool)] {
                let held: Vec<_> = std::iter::from_fn(|| shares.take("one").ok()).collect();
                assert!(held.len() < pool && !held.is_empty(), "{} of {pool}", held.len());
                assert_eq!(shares.take("one").err(), Some(Full::Own(held.len())));
                let others: Vec<_> = (0..pool).map_while(|at| shares.take(&at.to_string()).ok()).collect();
                assert_eq!(held.len() + others.len(), pool, "a place for another");
                assert_eq!(shares.take("last").err(), Some(Full::All(pool)));
                drop(held);
                assert!(shares.take("one").is_ok(), "places come back");
            }
        }
        assert_eq!((share_of(0), share_of(1), share_of(4)), (1, 1, 3));
    }

    #[test]
    fn principals_without_a_place_are_forgotten() {
        let shares = Shares::new(4);
        let held = shares.take("held").unwrap();
        for at in 0..1000 {
            drop(shares.take(&at.to_string()).unwrap());
        }
        assert!(shares.of.lock().unwrap().len() <= REMEMBERED);
        assert!(shares.of.lock().unwrap().contains_key("held"));
        drop(held);
    }
}
