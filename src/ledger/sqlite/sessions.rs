//! Stores and reads the bindings of train sessions.

use sqlx::Row;
use stationmaster_train::route::StopIndex;

use super::{Ledger, now};
use crate::ledger::{LedgerError, RunState, Session, SessionCreator};

impl Ledger {
    /// Returns the binding of a session that was opened at this station before.
    pub fn session(&self, station: &str, session_id: &[u8]) -> Result<Option<Session>, LedgerError> {
        let query =
            sqlx::query("SELECT train_id, creator, creator_key, stop_index FROM sessions WHERE station = ? AND session_id = ?");
        let row = self.block(query.bind(station).bind(session_id).fetch_optional(&self.pool))?;
        let Some(row) = row else { return Ok(None) };
        let (id, fingerprint): (Option<String>, Option<String>) = (row.try_get("creator")?, row.try_get("creator_key")?);
        let creator = id.zip(fingerprint).map(|(id, fingerprint)| SessionCreator { id, fingerprint });
        Ok(Some(Session { train_id: row.try_get("train_id")?, creator, stop_index: StopIndex::new(row.try_get("stop_index")?) }))
    }

    /// Removes the binding of a session of which no run is open or keeps its stop closed: the next train that is verified with this session
    /// binds it anew.
    ///
    /// # Errors
    /// When it is not bound, or a run holds it.
    pub fn forget_session(&self, session_id: &[u8]) -> Result<(), LedgerError> {
        let sql =
            "SELECT state FROM runs WHERE session_id = ? AND state NOT IN ('aborted', 'failed') AND released_at IS NULL LIMIT 1";
        let held: Option<String> = self.block(sqlx::query_scalar(sql).bind(session_id).fetch_optional(&self.pool))?;
        if let Some(state) = held {
            return Err(LedgerError::InState(RunState::from_name(&state).ok_or(LedgerError::Corrupt(state))?));
        }
        let query = sqlx::query("DELETE FROM sessions WHERE session_id = ?").bind(session_id);
        match self.block(query.execute(&self.pool))?.rows_affected() {
            0 => Err(LedgerError::NoSuchSession(const_hex::encode(session_id))),
            _ => Ok(()),
        }
    }

    /// Binds a session, unless it is bound. Returns the binding now in force.
    pub fn bind_session(&self, station: &str, session_id: &[u8], new: &Session) -> Result<Session, LedgerError> {
        let query = sqlx::query(
            "INSERT INTO sessions (station, session_id, train_id, creator, creator_key, stop_index, first_seen) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        );
        let query = query
            .bind(station)
            .bind(session_id)
            .bind(&new.train_id)
            .bind(new.creator.as_ref().map(|creator| &creator.id))
            .bind(new.creator.as_ref().map(|creator| &creator.fingerprint))
            .bind(new.stop_index.get())
            .bind(now());
        self.block(query.execute(&self.pool))?;
        self.session(station, session_id)?.ok_or_else(|| LedgerError::Corrupt("a new session is missing".into()))
    }
}
