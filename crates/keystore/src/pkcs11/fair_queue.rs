//! A bounded, fair queue before the worker threads. Callers are served round robin: a caller with many jobs delays its own jobs, not those of others.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Why a job was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// The queue, or the caller's share of it, is full.
    Full,
    /// The queue is closed.
    Closed,
}

/// What a worker gets from the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Popped<T> {
    /// The next job.
    Job(T),
    /// No job came while the worker waited.
    Idle,
    /// The queue is closed and empty.
    Closed,
}

/// Waiting jobs: first in, first out within a caller, round robin among callers.
pub(super) struct FairQueue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    bound: usize,
    /// Maximum number of waiting jobs of one caller: no single caller can take the last place.
    share: usize,
}

struct State<T> {
    jobs: HashMap<Arc<str>, VecDeque<T>>,
    /// Callers with a waiting job, the next one first.
    order: VecDeque<Arc<str>>,
    waiting: usize,
    closed: bool,
}

impl<T> FairQueue<T> {
    pub(super) fn new(bound: usize) -> Self {
        let bound = bound.max(1);
        let share = (bound * 3 / 4).min(bound - 1).max(1);
        let state = State { jobs: HashMap::new(), order: VecDeque::new(), waiting: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), bound, share }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, caller: &Arc<str>, job: T) -> Result<(), NotQueued> {
        let mut state = self.state();
        if state.closed {
            return Err(NotQueued::Closed);
        }
        let own = state.jobs.get(caller).map_or(0, VecDeque::len);
        if state.waiting >= self.bound || own >= self.share {
            return Err(NotQueued::Full);
        }
        state.jobs.entry(Arc::clone(caller)).or_default().push_back(job);
        if own == 0 {
            state.order.push_back(Arc::clone(caller));
        }
        state.waiting += 1;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Returns the next job. Waits for one, at most for `patience` if it is given.
    pub(super) fn pop(&self, patience: Option<Duration>) -> Popped<T> {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = self.state();
        loop {
            if let Some(caller) = state.order.pop_front() {
                let (job, more) = match state.jobs.get_mut(&caller) {
                    Some(jobs) => (jobs.pop_front(), !jobs.is_empty()),
                    None => (None, false),
                };
                if more {
                    state.order.push_back(caller);
                } else {
                    state.jobs.remove(&caller);
                }
                if let Some(job) = job {
                    state.waiting -= 1;
                    return Popped::Job(job);
                }
            } else if state.closed {
                return Popped::Closed;
            } else if let Some(until) = until {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Popped::Idle;
                }
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.state().waiting
    }

    /// Closes the queue. Waiting jobs are still returned.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next<T>(queue: &FairQueue<T>) -> T {
        match queue.pop(None) {
            Popped::Job(job) => job,
            _ => panic!("nothing waits"),
        }
    }

    #[test]
    fn a_worker_that_waits_in_vain_is_told_and_a_later_job_is_not_lost() {
        let queue = FairQueue::new(4);
        assert_eq!(queue.pop(Some(Duration::from_millis(5))), Popped::Idle);
        queue.push(&Arc::from("one"), 7).unwrap();
        assert_eq!(queue.pop(Some(Duration::ZERO)), Popped::Job(7));
    }

    #[test]
    fn a_caller_with_many_jobs_does_not_delay_one_with_few() {
        let queue = FairQueue::new(256);
        let [many, few]: [Arc<str>; 2] = ["many", "few"].map(Arc::from);
        for at in 0..96 {
            queue.push(&many, ("many", at)).unwrap();
        }
        for at in 0..2 {
            queue.push(&few, ("few", at)).unwrap();
        }
        let first: Vec<_> = (0..5).map(|_| next(&queue)).collect();
        assert_eq!(first, [("many", 0), ("few", 0), ("many", 1), ("few", 1), ("many", 2)]);
        assert_eq!(queue.waiting(), 93);
    }

    #[test]
    fn the_last_place_is_never_one_callers() {
        for bound in [2, 3, 4, 7, 256] {
            let queue = FairQueue::new(bound);
            let [one, other]: [Arc<str>; 2] = ["one", "other"].map(Arc::from);
            while queue.push(&one, ()).is_ok() {}
            assert_eq!(queue.push(&one, ()), Err(NotQueued::Full), "{bound}");
            queue.push(&other, ()).unwrap_or_else(|_| panic!("no place is left of {bound}"));
        }
    }

    #[test]
    fn what_waits_is_handed_out_after_the_end_and_nothing_more_is_taken() {
        let queue = FairQueue::new(4);
        let one: Arc<str> = Arc::from("one");
        queue.push(&one, 7).unwrap();
        queue.close();
        assert_eq!(queue.push(&one, 8), Err(NotQueued::Closed));
        assert_eq!((queue.pop(None), queue.pop(None)), (Popped::Job(7), Popped::Closed));
    }
}
