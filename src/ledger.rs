//! What ran here: runs and their states, in an embedded SQLite (WAL, every commit synced).
//!
//! ```text
//! opening ──► prepared ──► closing ──► completed
//!    │          │  ▲          │
//!    ▼          ▼  └──────────┘ (cut off)
//!  failed    aborting ──► aborted
//! ```
//!
//! A state that ends in `-ing` is an intent: written before anything is changed outside, so that a start after a crash knows
//! what to finish or to roll back. Only this room names sqlx.

mod run;

use std::path::Path;

use sqlx::{
    Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use thiserror::Error;
use tokio::runtime::Handle;

pub use run::{FileDigest, NewRun, OpenInto, PostRunRecord, PreRunRecord, RuleNote, Run, RunState};

/// Why the ledger could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The database failed. The operator's fault (disk, permissions); a retry may help.
    #[error("the ledger failed: {0}")]
    Database(sqlx::Error),
    /// The disk under it is full. The operator's fault; a retry helps when there is space.
    #[error("the ledger's disk is full")]
    DiskFull,
    /// The database was written by a newer version, or its migration failed.
    #[error("the ledger cannot be brought to this version: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row cannot be read. Somebody changed the database.
    #[error("the ledger holds an unreadable row: {0}")]
    Corrupt(String),
    /// The run's state changed meanwhile.
    #[error("the run is no longer in the state {0}")]
    StateChanged(&'static str),
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        /// SQLITE_FULL.
        const FULL: &str = "13";
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_deref() == Some(FULL) { Self::DiskFull } else { Self::Database(error) }
    }
}

/// The ledger. Cheap to clone. Its blocking functions must not be called from async code.
#[derive(Clone)]
pub struct Ledger {
    pool: SqlitePool,
    handle: Handle,
}

/// All columns, in the order of [`read`].
const COLUMNS: &str = "id, state, station, train_id, session_id, stop_index, idempotency_key, opened_into, image, source_image, base_image, \
    opened_image, closing_image, sealed_image, key_label, config, immutable_files, pre_run, post_run, reason, created_at, updated_at";

impl Ledger {
    /// Opens the ledger in a file, making or migrating it.
    pub async fn open(file: &Path) -> Result<Self, LedgerError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::migrate!("src/ledger/migrations").run(&pool).await?;
        Ok(Self { pool, handle: Handle::current() })
    }

    fn block<T>(&self, call: impl Future<Output = T>) -> T {
        self.handle.block_on(call)
    }

    /// Writes the intent to open a train. Answers the run that holds the stop already, if there is one.
    pub fn begin(&self, run: &NewRun) -> Result<Result<Run, Run>, LedgerError> {
        let now = now();
        let insert = sqlx::query(
            "INSERT INTO runs (id, state, station, train_id, session_id, stop_index, idempotency_key, opened_into, image, source_image, \
             base_image, key_label, config, created_at, updated_at) VALUES (?, 'opening', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT DO NOTHING",
        )
        .bind(&run.id)
        .bind(&run.station)
        .bind(&run.train_id)
        .bind(&run.session_id)
        .bind(run.stop_index)
        .bind(&run.idempotency_key)
        .bind(run.opened_into.as_str())
        .bind(&run.image)
        .bind(&run.source_image)
        .bind(&run.base_image)
        .bind(&run.key_label)
        .bind(&run.config)
        .bind(now)
        .bind(now);
        let inserted = self.block(insert.execute(&self.pool))?.rows_affected() == 1;
        if inserted {
            let run = self.run(&run.id)?.ok_or_else(|| LedgerError::Corrupt("a new run is missing".into()))?;
            return Ok(Ok(run));
        }
        match self.of_stop(&run.station, &run.session_id, run.stop_index)? {
            Some(holder) => Ok(Err(holder)),
            None => Err(LedgerError::StateChanged("opening")),
        }
    }

    /// A run by its id.
    pub fn run(&self, id: &str) -> Result<Option<Run>, LedgerError> {
        self.first("id = ?", |query| query.bind(id))
    }

    /// The run that holds a train's stop: any but aborted and failed ones.
    pub fn of_stop(&self, station: &str, session_id: &[u8], stop_index: u32) -> Result<Option<Run>, LedgerError> {
        self.first("station = ? AND session_id = ? AND stop_index = ? AND state NOT IN ('aborted', 'failed')", |query| {
            query.bind(station).bind(session_id).bind(stop_index)
        })
    }

    /// The newest live run of a train session at this station.
    pub fn of_session(&self, station: &str, session_id: &[u8]) -> Result<Option<Run>, LedgerError> {
        self.first("station = ? AND session_id = ? AND state NOT IN ('aborted', 'failed') ORDER BY created_at DESC", |query| {
            query.bind(station).bind(session_id)
        })
    }

    /// The newest run whose opened image this is.
    pub fn of_opened_image(&self, image_id: &str) -> Result<Option<Run>, LedgerError> {
        self.first("opened_image = ? AND state NOT IN ('aborted', 'failed') ORDER BY created_at DESC", |query| {
            query.bind(image_id)
        })
    }

    /// The newest run, ended or not, that was opened into this image, or whose results were sealed from it.
    pub fn of_plaintext_image(&self, image_id: &str) -> Result<Option<Run>, LedgerError> {
        self.first(
            "(opened_image = ? OR (opened_into = 'image' AND closing_image = ? AND closing_image <> source_image)) \
             ORDER BY created_at DESC",
            |query| query.bind(image_id).bind(image_id),
        )
    }

    /// Runs that are not ended.
    pub fn open_runs(&self) -> Result<Vec<Run>, LedgerError> {
        self.all("state IN ('opening', 'prepared', 'closing', 'aborting') ORDER BY created_at")
    }

    /// The newest live run with a client's idempotency key.
    pub fn of_idempotency_key(&self, station: &str, key: &str) -> Result<Option<Run>, LedgerError> {
        self.first(
            "station = ? AND idempotency_key = ? AND state NOT IN ('aborted', 'failed') ORDER BY created_at DESC",
            |query| query.bind(station).bind(key),
        )
    }

    /// Runs whose last step was cut off.
    pub fn cut_off(&self) -> Result<Vec<Run>, LedgerError> {
        self.all("state IN ('opening', 'closing', 'aborting') ORDER BY created_at")
    }

    /// Remembers how far a log of the audit has come.
    pub async fn remember_audit(&self, log: &str, size: u64, head: &[u8]) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "INSERT INTO audit_heads (log, size, head, updated_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT (log) DO UPDATE SET size = excluded.size, head = excluded.head, updated_at = excluded.updated_at",
        );
        query.bind(log).bind(size.cast_signed()).bind(head).bind(now()).execute(&self.pool).await?;
        Ok(())
    }

    /// The log of the audit that was written to last: its id, its size, and the hash of its last record.
    pub async fn remembered_audit(&self) -> Result<Option<(String, u64, Vec<u8>)>, LedgerError> {
        let sql = "SELECT log, size, head FROM audit_heads ORDER BY updated_at DESC, size DESC LIMIT 1";
        let Some(row) = sqlx::query(sql).fetch_optional(&self.pool).await? else { return Ok(None) };
        let size: i64 = row.try_get("size")?;
        Ok(Some((row.try_get("log")?, size.cast_unsigned(), row.try_get("head")?)))
    }

    fn all(&self, condition: &str) -> Result<Vec<Run>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE {condition}");
        let rows = self.block(sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.pool))?;
        rows.iter().map(read).collect()
    }

    fn first<'q>(
        &self,
        condition: &str,
        bind: impl FnOnce(
            sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
        ) -> sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Option<Run>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE {condition} LIMIT 1");
        let row = self.block(bind(sqlx::query(sqlx::AssertSqlSafe(sql))).fetch_optional(&self.pool))?;
        row.as_ref().map(read).transpose()
    }

    /// Remembers the image that may now come to exist as the run's opened one.
    pub fn announce_opened(&self, id: &str, image_id: &str) -> Result<(), LedgerError> {
        self.update(
            sqlx::query("UPDATE runs SET opened_image = ?, updated_at = ? WHERE id = ? AND state = 'opening'")
                .bind(image_id)
                .bind(now())
                .bind(id),
            "opening",
        )
    }

    /// Remembers the outcome of a pre-run before it shows outside.
    pub fn record_pre_run(&self, id: &str, record: &PreRunRecord, files: &[FileDigest]) -> Result<(), LedgerError> {
        let query =
            sqlx::query("UPDATE runs SET pre_run = ?, immutable_files = ?, updated_at = ? WHERE id = ? AND state = 'opening'");
        self.update(query.bind(json(record)?).bind(json(&files)?).bind(now()).bind(id), "opening")
    }

    /// Writes the intent to close a run, and which image its results come from.
    pub fn begin_closing(&self, id: &str, from_image: &str) -> Result<(), LedgerError> {
        let query = sqlx::query(
            "UPDATE runs SET state = 'closing', closing_image = ?, sealed_image = NULL, post_run = NULL, updated_at = ? WHERE id = ? AND state = 'prepared'",
        );
        self.update(query.bind(from_image).bind(now()).bind(id), "prepared")
    }

    /// Remembers the image that may now come to exist as the run's sealed one.
    pub fn announce_sealed(&self, id: &str, image_id: &str) -> Result<(), LedgerError> {
        self.update(
            sqlx::query("UPDATE runs SET sealed_image = ?, updated_at = ? WHERE id = ? AND state = 'closing'")
                .bind(image_id)
                .bind(now())
                .bind(id),
            "closing",
        )
    }

    /// Remembers the outcome of a post-run before it shows outside.
    pub fn record_post_run(&self, id: &str, record: &PostRunRecord) -> Result<(), LedgerError> {
        self.update(
            sqlx::query("UPDATE runs SET post_run = ?, updated_at = ? WHERE id = ?").bind(json(record)?).bind(now()).bind(id),
            "closing",
        )
    }

    /// Moves a run from one state to the next; refused when it is in another.
    pub fn advance(&self, id: &str, from: RunState, to: RunState, reason: Option<&str>) -> Result<(), LedgerError> {
        let query = sqlx::query("UPDATE runs SET state = ?, reason = ?, updated_at = ? WHERE id = ? AND state = ?");
        self.update(
            query.bind(to.as_str()).bind(reason.map(str::to_owned)).bind(now()).bind(id).bind(from.as_str()),
            from.as_str(),
        )
    }

    fn update<'q>(
        &self,
        query: sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
        state: &'static str,
    ) -> Result<(), LedgerError> {
        match self.block(query.execute(&self.pool))?.rows_affected() {
            1 => Ok(()),
            _ => Err(LedgerError::StateChanged(state)),
        }
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|e| LedgerError::Corrupt(e.to_string()))
}

fn read(row: &SqliteRow) -> Result<Run, LedgerError> {
    fn parse<T: serde::de::DeserializeOwned>(text: Option<String>) -> Result<Option<T>, LedgerError> {
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|e| LedgerError::Corrupt(e.to_string()))
    }
    let state: String = row.try_get("state")?;
    let files: String = row.try_get("immutable_files")?;
    let into: String = row.try_get("opened_into")?;
    Ok(Run {
        id: row.try_get("id")?,
        state: RunState::parse(&state).ok_or(LedgerError::Corrupt(state))?,
        station: row.try_get("station")?,
        train_id: row.try_get("train_id")?,
        session_id: row.try_get("session_id")?,
        stop_index: row.try_get("stop_index")?,
        idempotency_key: row.try_get("idempotency_key")?,
        opened_into: OpenInto::parse(&into).ok_or(LedgerError::Corrupt(into))?,
        image: row.try_get("image")?,
        source_image: row.try_get("source_image")?,
        base_image: row.try_get("base_image")?,
        opened_image: row.try_get("opened_image")?,
        closing_image: row.try_get("closing_image")?,
        sealed_image: row.try_get("sealed_image")?,
        key_label: row.try_get("key_label")?,
        config: row.try_get("config")?,
        immutable_files: parse(Some(files))?.unwrap_or_default(),
        pre_run: parse(row.try_get("pre_run")?)?,
        post_run: parse(row.try_get("post_run")?)?,
    })
}
