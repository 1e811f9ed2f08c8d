//! Completes rows of older versions where SQL alone cannot: the creator of a session's train, and the digest of a config.

use sqlx::{Row, SqlitePool};
use stationmaster_train::{config::TrainConfig, digest::Sha256Digest, keys::PublicKey};

use crate::ledger::LedgerError;

/// Completes the rows, and drops the configs of runs that have ended. Does not change rows of this version.
pub(super) async fn catch_up(pool: &SqlitePool) -> Result<(), LedgerError> {
    let unbound = sqlx::query("SELECT station, session_id FROM sessions WHERE creator IS NULL").fetch_all(pool).await?;
    for session in unbound {
        let (station, session_id): (String, Vec<u8>) = (session.try_get("station")?, session.try_get("session_id")?);
        let sql = "SELECT config FROM runs WHERE station = ? AND session_id = ? AND pre_run IS NOT NULL AND length(config) > 0 \
             ORDER BY number LIMIT 1";
        let config: Option<Vec<u8>> = sqlx::query_scalar(sql).bind(&station).bind(&session_id).fetch_optional(pool).await?;
        let Some(creator) = config.and_then(|config| TrainConfig::parse(&config).ok()).map(|config| config.creator) else {
            continue;
        };
        let Ok(key) = PublicKey::from_hex_pem(&creator.rsa_public_key) else { continue };
        let sql = "UPDATE sessions SET creator = ?, creator_key = ? WHERE station = ? AND session_id = ?";
        let query = sqlx::query(sql).bind(creator.id.to_string()).bind(key.fingerprint());
        query.bind(station).bind(session_id).execute(pool).await?;
    }
    let undigested: Vec<String> = sqlx::query_scalar("SELECT id FROM runs WHERE config_sha256 = ''").fetch_all(pool).await?;
    for id in undigested {
        // One at a time, because each may have megabytes.
        let config: Vec<u8> = sqlx::query_scalar("SELECT config FROM runs WHERE id = ?").bind(&id).fetch_one(pool).await?;
        let sql = "UPDATE runs SET config_sha256 = ?, config = CASE WHEN state IN ('completed', 'aborted', 'failed') THEN x'' ELSE \
             config END WHERE id = ?";
        sqlx::query(sql).bind(Sha256Digest::of(&config).to_hex()).bind(id).execute(pool).await?;
    }
    Ok(())
}
