//! State transitions of runs: each intent is written before, each outcome after the step.

use stationmaster_image::oci::reference::ImageId;
use stationmaster_train::digest::Sha256Digest;

use super::{Ledger, Query, json, now, row::stored_id};
use crate::ledger::{FileDigest, LedgerError, NewRun, PostRunRecord, PreRunRecord, Run, RunId, RunState};

/// Maximum length of a stored failure reason, in characters: it may contain names chosen by a train's author.
const REASON_CHARACTERS: usize = 4096;

/// Prefix of the fact that a run's completion is not known to be in the audit log; its id follows.
const UNRECORDED: &str = "unrecorded-completion:";

impl Ledger {
    /// Writes the intent to open a train. Returns the run that occupies the stop already, if there is one.
    pub fn begin(&self, run: &NewRun) -> Result<Result<Run, Run>, LedgerError> {
        let now = now();
        let insert = sqlx::query(
            "INSERT INTO runs (id, state, station, train_id, session_id, stop_index, principal, idempotency_key, opened_into, image, \
             source_image, base_image, key_label, config, config_sha256, created_at, updated_at, number) \
             VALUES (?, 'opening', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
             (SELECT COALESCE(MAX(number), 0) + 1 FROM runs)) ON CONFLICT DO NOTHING",
        )
        .bind(run.id.to_string())
        .bind(&run.station)
        .bind(&run.train_id)
        .bind(&run.session_id)
        .bind(run.stop_index.get())
        .bind(&run.principal)
        .bind(&run.idempotency_key)
        .bind(run.opened_into.as_str())
        .bind(&run.image)
        .bind(run.source_image.to_string())
        .bind(run.base_image.to_string())
        .bind(&run.key_label)
        .bind(&run.config)
        .bind(Sha256Digest::of(&run.config).to_hex())
        .bind(now)
        .bind(now);
        let inserted = self.block(insert.execute(&self.pool))?.rows_affected() == 1;
        if inserted {
            let run = self.run(run.id)?.ok_or_else(|| LedgerError::Corrupt("a new run is missing".into()))?;
            return Ok(Ok(run));
        }
        match self.of_stop(&run.station, &run.session_id, run.stop_index)? {
            Some(holder) => Ok(Err(holder)),
            None => Err(LedgerError::StateChanged("opening")),
        }
    }

    /// Stores the id of the run's opened image before the image can exist.
    pub fn announce_opened(&self, id: RunId, image_id: &ImageId) -> Result<(), LedgerError> {
        self.update(
            sqlx::query("UPDATE runs SET opened_image = ?, updated_at = ? WHERE id = ? AND state = 'opening'")
                .bind(image_id.to_string())
                .bind(now())
                .bind(id.to_string()),
            "opening",
        )
    }

    /// Stores the outcome of a pre-run before it is visible outside.
    pub fn record_pre_run(&self, id: RunId, record: &PreRunRecord, files: &[FileDigest]) -> Result<(), LedgerError> {
        let query =
            sqlx::query("UPDATE runs SET pre_run = ?, immutable_files = ?, updated_at = ? WHERE id = ? AND state = 'opening'");
        self.update(query.bind(json(record)?).bind(json(&files)?).bind(now()).bind(id.to_string()), "opening")
    }

    /// Writes the intent to close a run, and the image from which its results come.
    pub fn begin_closing(&self, id: RunId, from_image: &ImageId) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET state = 'closing', closing_image = ?, sealed_image = NULL, post_run = NULL, updated_at = ? WHERE id = ? AND state = 'prepared'",
        );
        self.update(query.bind(from_image.to_string()).bind(now()).bind(id.to_string()), "prepared")
    }

    /// Stores the id of the run's sealed image before the image can exist.
    pub fn announce_sealed(&self, id: RunId, image_id: &ImageId) -> Result<(), LedgerError> {
        self.update(
            sqlx::query("UPDATE runs SET sealed_image = ?, updated_at = ? WHERE id = ? AND state = 'closing'")
                .bind(image_id.to_string())
                .bind(now())
                .bind(id.to_string()),
            "closing",
        )
    }

    /// Stores the outcome of a post-run before it is visible outside.
    pub fn record_post_run(&self, id: RunId, record: &PostRunRecord) -> Result<(), LedgerError> {
        self.update(
            sqlx::query("UPDATE runs SET post_run = ?, updated_at = ? WHERE id = ?")
                .bind(json(record)?)
                .bind(now())
                .bind(id.to_string()),
            "closing",
        )
    }

    /// Moves a run from one state to the next; fails when it is in another. A run that ends keeps only the digest of its config:
    /// most of the config is unsigned, and its size is up to the sender.
    pub fn advance(&self, id: RunId, from: RunState, to: RunState) -> Result<(), LedgerError> {
        let query = sqlx::query(if to.is_open() {
            "UPDATE runs SET state = ?, updated_at = ? WHERE id = ? AND state = ?"
        } else {
            "UPDATE runs SET state = ?, config = x'', updated_at = ? WHERE id = ? AND state = ?"
        });
        self.update(query.bind(to.as_str()).bind(now()).bind(id.to_string()).bind(from.as_str()), from.as_str())
    }

    /// Completes a run. Until [`Ledger::completion_recorded`] the run is one of [`Ledger::unrecorded_completions`], so that a crash between
    /// this commit and the audit record of it is noticed.
    pub fn complete(&self, id: RunId) -> Result<(), LedgerError> {
        self.block(async {
            let mut both = self.pool.begin().await?;
            let query = sqlx::query(
                "UPDATE runs SET state = 'completed', config = x'', updated_at = ? WHERE id = ? AND state = 'closing'",
            );
            if query.bind(now()).bind(id.to_string()).execute(&mut *both).await?.rows_affected() != 1 {
                return Err(LedgerError::StateChanged("closing"));
            }
            let query = sqlx::query("INSERT OR REPLACE INTO facts (name, value, updated_at) VALUES (?, 'yes', ?)");
            query.bind(format!("{UNRECORDED}{id}")).bind(now()).execute(&mut *both).await?;
            Ok(both.commit().await?)
        })
    }

    /// Notes that the completion of a run is in the audit log. Does not wait for the disk: after a power loss it may be recorded twice.
    pub fn completion_recorded(&self, id: RunId) -> Result<(), LedgerError> {
        let query = sqlx::query("DELETE FROM facts WHERE name = ?");
        self.block(query.bind(format!("{UNRECORDED}{id}")).execute(&self.heads))?;
        Ok(())
    }

    /// Returns the completed runs whose completion may not be in the audit log.
    pub fn unrecorded_completions(&self) -> Result<Vec<RunId>, LedgerError> {
        let query = sqlx::query_scalar("SELECT substr(name, ?1) FROM facts WHERE substr(name, 1, ?1 - 1) = ?2 ORDER BY name");
        let ids: Vec<String> = self.block(query.bind(UNRECORDED.len() as i64 + 1).bind(UNRECORDED).fetch_all(&self.pool))?;
        ids.iter().map(|id| stored_id(id)).collect()
    }

    /// Ends a run whose train could not be opened, with the reason and what holds plaintext of it.
    pub fn fail_opening(&self, id: RunId, reason: &str, held: &[String]) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET state = 'failed', config = x'', reason = ?, held = ?, updated_at = ? WHERE id = ? AND state = 'opening'",
        );
        let reason: String = reason.chars().take(REASON_CHARACTERS).collect();
        self.update(query.bind(reason).bind(json(&held)?).bind(now()).bind(id.to_string()), "opening")
    }

    /// Ends a run that was being aborted, with what still holds plaintext of it.
    pub fn end_abort(&self, id: RunId, held: &[String]) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET state = 'aborted', config = x'', held = ?, updated_at = ? WHERE id = ? AND state = 'aborting'",
        );
        self.update(query.bind(json(&held)?).bind(now()).bind(id.to_string()), "aborting")
    }

    pub(super) fn update(&self, query: Query<'_>, state: &'static str) -> Result<(), LedgerError> {
        match self.block(query.execute(&self.pool))?.rows_affected() {
            1 => Ok(()),
            _ => Err(LedgerError::StateChanged(state)),
        }
    }
}
