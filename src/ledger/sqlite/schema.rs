//! Opens the ledger's file: as the service, which creates and migrates it, or as a command beside a running service.

use std::{path::Path, sync::LazyLock, time::Duration};

use sqlx::{
    SqlSafeStr, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use stationmaster_system::files::{check_private, explained, make_private};
use tokio::runtime::Handle;

use super::{Ledger, catch_up::catch_up};
use crate::ledger::{LedgerError, UPGRADED};

/// The files in `migrations/`: number, description, statements. `sqlx::migrate!` would read them itself, but compiles sqlx and SQLite a
/// second time, for the macro.
const MIGRATIONS: [(i64, &str, &str); 6] = [
    (1, "runs", include_str!("migrations/0001_runs.sql")),
    (2, "opened into", include_str!("migrations/0002_opened_into.sql")),
    (3, "officer", include_str!("migrations/0003_officer.sql")),
    (4, "audit heads", include_str!("migrations/0004_audit_heads.sql")),
    (5, "sessions", include_str!("migrations/0005_sessions.sql")),
    (10, "audit writers", include_str!("migrations/0010_audit_writers.sql")),
];

pub(super) static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let migration = |(version, description, statements): (i64, &'static str, &'static str)| {
        let no_transaction = statements.starts_with("-- no-transaction");
        Migration::new(version, description.into(), MigrationType::Simple, statements.into_sql_str(), no_transaction)
    };
    Migrator::with_migrations(MIGRATIONS.map(migration).into())
});

/// The first schema with facts about the state directory.
const WITH_FACTS: i64 = 5;

/// Maximum time to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl Ledger {
    /// Opens the ledger in a file, creating or migrating it. The caller must hold the state directory's lock.
    ///
    /// # Errors
    /// When a newer version has written it, or it is damaged: it is left unchanged.
    pub async fn open(file: &Path) -> Result<Self, LedgerError> {
        let is_new = !file.exists();
        restrict_modes(file)?;
        let options = options(file).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let pool = connect(options).await?;
        check_integrity(&pool).await?;
        let before = newest(&pool).await?;
        if let Some(newest) = before
            && newest > known()
        {
            return Err(LedgerError::Newer { schema: newest, known: known() });
        }
        MIGRATOR.run(&pool).await?;
        catch_up(&pool).await?;
        if is_new {
            tracing::info!(file = %file.display(), "a new ledger: no run is known");
        }
        let ledger = Self { pool, heads: heads(file), handle: Handle::current() };
        if before.is_some_and(|before| before < WITH_FACTS) {
            ledger.keep_fact(UPGRADED, "a version that kept no facts").await?;
        }
        Ok(ledger)
    }

    /// Opens the ledger of a service that may be running. Neither creates nor migrates it.
    ///
    /// # Errors
    /// When it does not exist, or is not of this version.
    pub async fn attach(file: &Path) -> Result<Self, LedgerError> {
        // A missing file and an unreadable one are different errors.
        match rustix::fs::access(file, rustix::fs::Access::READ_OK) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT) => return Err(LedgerError::Absent(file.to_owned())),
            Err(error) => return Err(unusable(file, error.into())),
        }
        for_each_file(file, check_private)?;
        let pool = connect(options(file).create_if_missing(false)).await?;
        match newest(&pool).await?.unwrap_or(0) {
            schema if schema > known() => Err(LedgerError::Newer { schema, known: known() }),
            schema if schema < known() => Err(LedgerError::Older { schema, known: known() }),
            _ => Ok(Self { pool, heads: heads(file), handle: Handle::current() }),
        }
    }

    /// Closes the file. All commits are then in the database's single file, unless another process has it open.
    pub async fn close(self) {
        self.heads.close().await;
        self.pool.close().await;
    }

    /// Returns the schema that this version writes.
    #[must_use]
    pub fn schema() -> i64 {
        known()
    }
}

/// Restricts the files' modes: SQLite creates a database with the umask's mode, and files beside it with the database's mode.
fn restrict_modes(file: &Path) -> Result<(), LedgerError> {
    for_each_file(file, make_private)
}

/// Calls a function for the database's file, and for those beside it that exist: SQLite opens all of them by their names.
fn for_each_file(file: &Path, check: impl Fn(&Path) -> std::io::Result<()>) -> Result<(), LedgerError> {
    check(file).map_err(|error| unusable(file, error))?;
    for ending in ["-wal", "-shm"] {
        let mut beside = file.as_os_str().to_owned();
        beside.push(ending);
        let beside = Path::new(&beside);
        if beside.symlink_metadata().is_err() {
            continue;
        }
        match check(beside) {
            // SQLite removes these when its last connection is closed, at any moment.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            checked => checked.map_err(|error| unusable(beside, error))?,
        }
    }
    Ok(())
}

fn unusable(file: &Path, error: std::io::Error) -> LedgerError {
    LedgerError::Closed { file: file.to_owned(), source: explained(file, error) }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(file).synchronous(SqliteSynchronous::Full).busy_timeout(BUSY_TIMEOUT)
}

/// Returns a pool that connects when it is used.
fn heads(file: &Path) -> SqlitePool {
    let options = options(file).create_if_missing(false).synchronous(SqliteSynchronous::Normal);
    // No test of the one connection before each of its uses, of which every signature has one.
    SqlitePoolOptions::new().max_connections(1).test_before_acquire(false).connect_lazy_with(options)
}

async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, LedgerError> {
    Ok(SqlitePoolOptions::new().max_connections(1).connect_with(options).await?)
}

/// Reads the whole file once, because the loss of a page would otherwise be detected only during a run.
async fn check_integrity(pool: &SqlitePool) -> Result<(), LedgerError> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(pool).await?;
    if found == "ok" { Ok(()) } else { Err(LedgerError::Damaged(found.replace('\n', " "))) }
}

fn known() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Returns the newest schema that was applied to a file; `None` when it has none yet.
async fn newest(pool: &SqlitePool) -> Result<Option<i64>, LedgerError> {
    let is_there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')").fetch_one(pool).await?;
    if !is_there {
        return Ok(None);
    }
    Ok(sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(pool).await?)
}
