//! Conversion of a database row to a run.

use sqlx::{Row, sqlite::SqliteRow};
use stationmaster_image::oci::reference::ImageId;
use stationmaster_train::{digest::Sha256Digest, route::StopIndex};

use crate::ledger::{LedgerError, OpenInto, RerunPermission, Run, RunId, RunState};

/// All columns, in the order of [`read`].
pub(super) const COLUMNS: &str = "id, state, station, train_id, session_id, stop_index, principal, idempotency_key, opened_into, image, \
    source_image, base_image, opened_image, closing_image, sealed_image, key_label, config, config_sha256, immutable_files, pre_run, post_run, \
    created_at, updated_at, reason, abandoned_by, held, released_at, released_by, released_reason";

pub(super) fn read(row: &SqliteRow) -> Result<Run, LedgerError> {
    fn parse<T: serde::de::DeserializeOwned>(text: Option<String>) -> Result<Option<T>, LedgerError> {
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|e| LedgerError::Corrupt(e.to_string()))
    }
    let state: String = row.try_get("state")?;
    let files: String = row.try_get("immutable_files")?;
    let into: String = row.try_get("opened_into")?;
    Ok(Run {
        id: stored_id(row.try_get("id")?)?,
        state: RunState::from_name(&state).ok_or(LedgerError::Corrupt(state))?,
        station: row.try_get("station")?,
        train_id: row.try_get("train_id")?,
        session_id: row.try_get("session_id")?,
        stop_index: StopIndex::new(row.try_get("stop_index")?),
        principal: row.try_get("principal")?,
        idempotency_key: row.try_get("idempotency_key")?,
        opened_into: OpenInto::parse(&into).ok_or(LedgerError::Corrupt(into))?,
        image: row.try_get("image")?,
        source_image: image(row.try_get("source_image")?)?,
        base_image: image(row.try_get("base_image")?)?,
        opened_image: row.try_get::<Option<&str>, _>("opened_image")?.map(image).transpose()?,
        closing_image: row.try_get::<Option<&str>, _>("closing_image")?.map(image).transpose()?,
        sealed_image: row.try_get::<Option<&str>, _>("sealed_image")?.map(image).transpose()?,
        key_label: row.try_get("key_label")?,
        config: row.try_get("config")?,
        config_sha256: config_digest(row)?,
        immutable_files: parse(Some(files))?.unwrap_or_default(),
        pre_run: parse(row.try_get("pre_run")?)?,
        post_run: parse(row.try_get("post_run")?)?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        reason: row.try_get("reason")?,
        abandoned_by: row.try_get("abandoned_by")?,
        held: parse(Some(row.try_get("held")?))?.unwrap_or_default(),
        released: release(row)?,
    })
}

/// Parses a run's id as the ledger has it.
pub(super) fn stored_id(text: &str) -> Result<RunId, LedgerError> {
    text.parse().map_err(|_| LedgerError::Corrupt(format!("{text:?} is not the id of a run")))
}

/// Parses an image's id as the ledger has it.
fn image(text: &str) -> Result<ImageId, LedgerError> {
    text.parse().map_err(|_| LedgerError::Corrupt(format!("{text:?} is not the id of an image")))
}

/// Returns the digest of a run's config. A row of an older version has none until a service of this version has completed it.
fn config_digest(row: &SqliteRow) -> Result<Option<Sha256Digest>, LedgerError> {
    match row.try_get("config_sha256")? {
        "" => Ok(None),
        hex => Sha256Digest::from_hex(hex).map(Some).map_err(|error| LedgerError::Corrupt(format!("{hex:?}: {error}"))),
    }
}

fn release(row: &SqliteRow) -> Result<Option<RerunPermission>, LedgerError> {
    let Some(at) = row.try_get("released_at")? else { return Ok(None) };
    let text = |name| Ok::<_, LedgerError>(row.try_get::<Option<String>, _>(name)?.unwrap_or_default());
    Ok(Some(RerunPermission { at, by: text("released_by")?, reason: text("released_reason")? }))
}
