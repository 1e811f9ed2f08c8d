//! Connection limits of a listener: the total, the share of one principal or address, and which idle connection is evicted when
//! no place is free.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::idle_timeout::ConnectionActivity;
use crate::service::shares::share_of;

/// The open connections of a listener.
pub(super) struct Connections {
    most: usize,
    share: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    number: u64,
    of: BTreeMap<u64, Entry>,
}

struct Entry {
    principal: String,
    address: Option<IpAddr>,
    activity: Arc<ConnectionActivity>,
    close: CancellationToken,
}

/// A connection's place, released when dropped.
pub(super) struct Slot {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open().of.remove(&self.number);
    }
}

impl Connections {
    pub(super) fn at_most(most: usize) -> Arc<Self> {
        Arc::new(Self { most, share: share_of(most), open: Mutex::default() })
    }

    /// Whether a connection from an address could have a place, whatever its principal: this check is cheaper than a handshake.
    pub(super) fn may_have_place(&self, address: Option<IpAddr>) -> bool {
        let open = self.open();
        let crowded = open.of.len() >= self.most || self.is_at_its_share(&open, |entry| is_from(entry, address));
        !crowded || open.least_useful(|entry| open.of.len() >= self.most || is_from(entry, address)).is_some()
    }

    /// Assigns a place to a connection. If none is free, the least recently useful of the idle connections is evicted: among
    /// those of the same principal or address if these have used their share, otherwise among all.
    pub(super) fn admit(
        self: &Arc<Self>,
        principal: &str,
        address: Option<IpAddr>,
        (activity, close): (&Arc<ConnectionActivity>, &CancellationToken),
    ) -> Option<Slot> {
        let mut open = self.open();
        let is_own = |entry: &Entry| entry.principal == principal;
        if self.is_at_its_share(&open, is_own) {
            open.make_way(is_own)?;
        }
        if self.is_at_its_share(&open, |entry| is_from(entry, address)) {
            open.make_way(|entry| is_from(entry, address))?;
        }
        if open.of.len() >= self.most {
            open.make_way(|_| true)?;
        }
        let number = open.number;
        open.number += 1;
        let entry = Entry { principal: principal.to_owned(), address, activity: Arc::clone(activity), close: close.clone() };
        open.of.insert(number, entry);
        Some(Slot { connections: Arc::clone(self), number })
    }

    fn is_at_its_share(&self, open: &Open, of: impl Fn(&Entry) -> bool) -> bool {
        open.of.values().filter(|entry| of(entry)).count() >= self.share
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Processes on this machine have no address.
fn is_from(entry: &Entry, address: Option<IpAddr>) -> bool {
    address.is_some() && entry.address == address
}

impl Open {
    /// Returns the idle connection whose last use was the longest time ago; those that were never used come first.
    fn least_useful(&self, among: impl Fn(&Entry) -> bool) -> Option<u64> {
        let idle = self.of.iter().filter(|(_, entry)| among(entry) && entry.activity.is_idle());
        idle.min_by_key(|(number, entry)| (entry.activity.last_useful(), **number)).map(|(number, _)| *number)
    }

    fn make_way(&mut self, among: impl Fn(&Entry) -> bool) -> Option<()> {
        let number = self.least_useful(among)?;
        // Its place is free at once; the connection ends as soon as its task runs.
        self.of.remove(&number)?.close.cancel();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Held {
        activity: Arc<ConnectionActivity>,
        close: CancellationToken,
        _slot: Slot,
    }

    fn come(connections: &Arc<Connections>, principal: &str, address: Option<IpAddr>) -> Option<Held> {
        let (activity, close) = (Arc::<ConnectionActivity>::default(), CancellationToken::new());
        let slot = connections.admit(principal, address, (&activity, &close))?;
        Some(Held { activity, close, _slot: slot })
    }

    #[test]
    fn a_principal_that_has_its_share_takes_no_place_of_others() {
        let connections = Connections::at_most(4);
        let busy: Vec<_> = (0..3).map(|_| come(&connections, "one", None).unwrap()).collect();
        let using: Vec<_> = busy.iter().map(|held| held.activity.use_it()).collect();
        assert!(come(&connections, "one", None).is_none(), "it uses all that it may have");
        let other = come(&connections, "other", None).expect("the last place is for others");
        drop(using);
        let fourth = come(&connections, "one", None).expect("one of its own gives way");
        assert_eq!(busy.iter().filter(|held| held.close.is_cancelled()).count(), 1);
        assert!(!other.close.is_cancelled() && !fourth.close.is_cancelled());
    }

    #[test]
    fn when_all_places_are_taken_the_least_recently_useful_gives_way_and_none_that_works() {
        let connections = Connections::at_most(4);
        let [working, useful, asked_health, silent] = ["a", "b", "c", "d"].map(|name| come(&connections, name, None).unwrap());
        let _working = working.activity.use_it();
        drop(useful.activity.use_it());
        asked_health.activity.request_started();
        let mut later = Vec::new();
        for expected in [&asked_health, &silent] {
            later.push(come(&connections, "e", None).unwrap());
            assert!(expected.close.is_cancelled());
            drop(later.last().unwrap().activity.use_it());
        }
        later.push(come(&connections, "f", None).unwrap());
        assert!(useful.close.is_cancelled() && !working.close.is_cancelled());
        assert!(later.iter().all(|held| !held.close.is_cancelled()));
    }

    #[test]
    fn one_address_has_one_share_for_all_its_clients() {
        let connections = Connections::at_most(4);
        let [near, far] = [1, 2].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        let held: Vec<_> = ["a", "b", "c"].iter().map(|name| come(&connections, name, near).unwrap()).collect();
        let _using: Vec<_> = held.iter().map(|held| held.activity.use_it()).collect();
        assert!(come(&connections, "d", near).is_none() && !connections.may_have_place(near));
        assert!(connections.may_have_place(far));
        come(&connections, "d", far).expect("a place from elsewhere");
    }
}
