//! Facts about the state directory, kept in the ledger so that a part that is lost later is missed.

use std::collections::BTreeMap;

use sqlx::Row;

use super::{Ledger, now};
use crate::ledger::LedgerError;

impl Ledger {
    /// Returns all facts, by name.
    pub async fn facts(&self) -> Result<BTreeMap<String, String>, LedgerError> {
        let rows = sqlx::query("SELECT name, value FROM facts").fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("value")?))).collect()
    }

    /// Stores a fact.
    pub async fn keep_fact(&self, name: &str, value: &str) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "INSERT INTO facts (name, value, updated_at) VALUES (?, ?, ?) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        );
        query.bind(name).bind(value).bind(now()).execute(&self.pool).await?;
        Ok(())
    }

    /// Removes a fact.
    pub async fn drop_fact(&self, name: &str) -> Result<(), LedgerError> {
        sqlx::query("DELETE FROM facts WHERE name = ?").bind(name).execute(&self.pool).await?;
        Ok(())
    }

    /// Stores that keys were pinned at first sight: their file exists from now on.
    pub fn keep_first_seen(&self) -> Result<(), LedgerError> {
        self.block(self.keep_fact("first-seen", "there"))
    }

    /// Returns the stations to which the runs belong.
    pub async fn stations(&self) -> Result<Vec<String>, LedgerError> {
        Ok(sqlx::query_scalar("SELECT DISTINCT station FROM runs ORDER BY station").fetch_all(&self.pool).await?)
    }
}
