//! A worker's session and the object handles that are valid in it.

use std::sync::Arc;

use cryptoki::{error::Error, object::ObjectHandle, session::Session};

use super::{keys::Key, token::is_logged_in};

/// A worker's session and its handles, which end with the session that found them.
pub(super) struct SessionSlot {
    pub(super) session: Session,
    handles: Vec<(Arc<Key>, ObjectHandle)>,
}

impl SessionSlot {
    pub(super) fn new(session: Session) -> Self {
        Self { session, handles: Vec::new() }
    }

    /// Returns whether the session is known to be without a login.
    pub(super) fn is_logged_out(&self) -> bool {
        matches!(is_logged_in(&self.session), Ok(false))
    }

    /// Returns the handle of a key in this session; `None` when the token no longer has the key.
    pub(super) fn handle(&mut self, key: &Arc<Key>) -> Result<Option<ObjectHandle>, Error> {
        if let Some((_, handle)) = self.handles.iter().find(|(known, _)| Arc::ptr_eq(known, key)) {
            return Ok(Some(*handle));
        }
        let found = key.find(&self.session)?;
        self.handles.extend(found.map(|handle| (Arc::clone(key), handle)));
        Ok(found)
    }
}
