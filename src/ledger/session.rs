//! Bindings of train sessions, as they were when the sessions were first opened here.
//!
//! Format 1 signs the session, but neither `@id` nor the indices of the route. So the ledger stores together what a train stated when it
//! was first opened: session, train id, creator and this station's stop. A session keeps this binding, whatever happens to its runs.

use stationmaster_train::route::StopIndex;

/// A session's binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The train's `@id`.
    pub train_id: String,
    /// The creator; `None` when an older version opened the train and its config could not be read again.
    pub creator: Option<SessionCreator>,
    /// This station's index in the route.
    pub stop_index: StopIndex,
}

/// The creator of a train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCreator {
    /// The creator's id, in the form in which it is hashed.
    pub id: String,
    /// The fingerprint of the creator's key.
    pub fingerprint: String,
}
