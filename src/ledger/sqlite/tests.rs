use std::{
    fs,
    path::{Path, PathBuf},
};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use stationmaster_image::oci::reference::ImageId;
use stationmaster_train::{digest::Sha256Digest, route::StopIndex};
use tokio::runtime::Runtime;

use super::{schema::MIGRATOR, *};
use crate::ledger::*;

/// A directory for a ledger.
struct TestLedger {
    runtime: Runtime,
    directory: tempfile::TempDir,
}

impl TestLedger {
    fn new() -> Self {
        Self { runtime: Runtime::new().unwrap(), directory: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ledger.sqlite")
    }

    fn open(&self) -> Result<Ledger, LedgerError> {
        self.runtime.block_on(Ledger::open(&self.file()))
    }

    fn attach(&self) -> Result<Ledger, LedgerError> {
        self.runtime.block_on(Ledger::attach(&self.file()))
    }

    fn close(&self, ledger: Ledger) {
        self.runtime.block_on(ledger.close());
    }

    /// Changes the file past the ledger.
    fn sql(&self, statements: &'static str) {
        self.runtime.block_on(async {
            let mut connection = SqliteConnectOptions::new().filename(self.file()).connect().await.unwrap();
            sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }
}

/// Returns the id of the image that a test calls `name`.
fn image(name: &str) -> ImageId {
    Sha256Digest::of(name.as_bytes()).into()
}

fn id(name: &str) -> RunId {
    RunId::named(name)
}

fn new_run(name: &str, session: u8, stop: u32) -> NewRun {
    NewRun {
        id: id(name),
        station: "a".into(),
        train_id: "train".into(),
        session_id: vec![session; 64],
        stop_index: StopIndex::new(stop),
        principal: "unix:uid=1".into(),
        idempotency_key: format!("key of {session}"),
        opened_into: OpenInto::Image,
        image: "train:latest".into(),
        source_image: image(&format!("source of {name}")),
        base_image: image("base"),
        key_label: "a".into(),
        config: b"{}".to_vec(),
    }
}

fn prepared(ledger: &Ledger, name: &str, session: u8, stop: u32) {
    ledger.begin(&new_run(name, session, stop)).unwrap().unwrap();
    ledger.advance(id(name), RunState::Opening, RunState::Prepared).unwrap();
}

fn completed(ledger: &Ledger, name: &str, session: u8, stop: u32) {
    prepared(ledger, name, session, stop);
    ledger.begin_closing(id(name), &image("left")).unwrap();
    ledger.advance(id(name), RunState::Closing, RunState::Completed).unwrap();
}

fn why() -> ReasonText {
    "a reason".parse().unwrap()
}

fn ids(runs: &[Run]) -> Vec<String> {
    runs.iter().map(|run| run.id.name()).collect()
}

fn all() -> RunFilter {
    RunFilter { open: false, state: None, train: None, session: None, limit: 100 }
}

#[test]
fn every_commit_is_synced() {
    let test = TestLedger::new();
    let service = test.open().unwrap();
    for ledger in [&service, &test.attach().unwrap()] {
        let (journal, synchronous): (String, i64) = test.runtime.block_on(async {
            let journal = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&ledger.pool).await.unwrap();
            (journal, sqlx::query_scalar("PRAGMA synchronous").fetch_one(&ledger.pool).await.unwrap())
        });
        // 2 is FULL.
        assert_eq!((journal.as_str(), synchronous), ("wal", 2));
    }
}

#[test]
fn every_migration_of_the_directory_is_in_the_program() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ledger/sqlite/migrations"));
    let read = TestLedger::new().runtime.block_on(sqlx::migrate::Migrator::new(directory)).unwrap();
    let of = |migrator: &sqlx::migrate::Migrator| {
        let all = migrator.iter().map(|one| (one.version, one.description.clone(), one.checksum.clone(), one.no_tx));
        all.collect::<Vec<_>>()
    };
    assert_eq!(of(&MIGRATOR), of(&read));
}

#[test]
fn a_ledger_of_the_first_version_opens_with_its_runs() {
    let test = TestLedger::new();
    test.runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(test.file()).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        MIGRATOR.run_direct(Some(1), &mut connection, false).await.unwrap();
        connection.close().await.unwrap();
    });
    // The second began when the clock had jumped back.
    test.sql(
        "INSERT INTO runs (id, state, station, train_id, session_id, stop_index, idempotency_key, image, source_image, base_image, \
         key_label, config, created_at, updated_at) VALUES \
         ('6f6e6500-0000-0000-0000-000000000000', 'completed', 'a', 'train', x'0101', 0, 'k1', 'i', \
         printf('sha256:%064d', 1), printf('sha256:%064d', 0), 'a', x'7b7d', 2000, 2000), \
         ('74776f00-0000-0000-0000-000000000000', 'prepared', 'a', 'train', x'0202', 1, 'k2', 'i', \
         printf('sha256:%064d', 2), printf('sha256:%064d', 0), 'a', x'7b7d', 1000, 1000), \
         ('74687265-6500-0000-0000-000000000000', 'aborted', 'a', 'train', x'0202', 1, 'k3', 'i', \
         printf('sha256:%064d', 3), printf('sha256:%064d', 0), 'a', x'7b7d', 1500, 1500)",
    );
    assert!(matches!(test.attach(), Err(LedgerError::Older { schema: 1, .. })), "a guest migrates");
    let ledger = test.open().unwrap();
    assert_eq!(ids(&ledger.list(&all()).unwrap()), ["three", "two", "one"]);
    let one = ledger.run(id("one")).unwrap().unwrap();
    assert_eq!((one.state, one.opened_into, one.created_at), (RunState::Completed, OpenInto::Image, 2000));
    assert!(one.released.is_none() && one.abandoned_by.is_none() && one.held.is_empty());
    assert_eq!(ledger.finished("a", &[1, 1], StopIndex::new(0)).unwrap().map(|run| run.id), Some(id("one")));
    assert_eq!(ids(&ledger.open_runs().unwrap()), ["two"]);
    // And it goes on from there.
    prepared(&ledger, "four", 4, 0);
    assert_eq!(ids(&ledger.list(&all()).unwrap())[0], "four");
    test.close(ledger);
    assert_eq!(test.open().unwrap().count().unwrap(), 4);
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_left_as_it_is() {
    let test = TestLedger::new();
    test.close(test.open().unwrap());
    test.sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'later', TRUE, x'00', 0)",
    );
    let before = fs::read(test.file()).unwrap();
    assert!(matches!(test.open(), Err(LedgerError::Newer { schema: 99, .. })));
    assert!(matches!(test.attach(), Err(LedgerError::Newer { schema: 99, .. })));
    assert_eq!(fs::read(test.file()).unwrap(), before);
}

#[test]
fn a_damaged_ledger_is_refused_and_left_as_it_is() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    completed(&ledger, "one", 1, 0);
    test.close(ledger);
    let whole = fs::read(test.file()).unwrap();
    let mut torn = whole.clone();
    torn.truncate(whole.len() / 2);
    let mut overwritten = whole.clone();
    overwritten[4096..8192].fill(0xff);
    for damaged in [b"no database at all, but long enough to be looked at".repeat(100), torn, overwritten] {
        fs::write(test.file(), &damaged).unwrap();
        let error = test.open().unwrap_err();
        assert!(matches!(error, LedgerError::Damaged(_)), "{error:?}");
        assert!(error.hint().is_some());
        assert_eq!(fs::read(test.file()).unwrap(), damaged);
    }
    fs::write(test.file(), whole).unwrap();
    assert_eq!(test.open().unwrap().count().unwrap(), 1);
}

#[test]
fn a_guest_makes_no_ledger() {
    let test = TestLedger::new();
    assert!(matches!(test.attach(), Err(LedgerError::Absent(_))));
    assert!(!Path::new(&test.file()).exists());
}

#[test]
fn a_clock_that_jumps_back_neither_reorders_nor_loses_runs() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    // A later id sorts before an earlier one, as version 7 does when the clock went back between them.
    completed(&ledger, "ffff", 1, 0);
    test.sql("UPDATE runs SET created_at = created_at + 86400, updated_at = updated_at + 86400");
    completed(&ledger, "0000", 2, 0);
    prepared(&ledger, "8888", 1, 1);
    assert_eq!(ids(&ledger.list(&all()).unwrap()), ["8888", "0000", "ffff"]);
    let newest = ledger.of_session("a", &[1; 64]).unwrap().unwrap();
    assert_eq!(newest.id, id("8888"), "the run with the latest time, not the newest one");
    assert!(
        ledger.finished("a", &[1; 64], StopIndex::new(0)).unwrap().is_some()
            && ledger.begin(&new_run("again", 1, 0)).unwrap().is_err()
    );
}

#[test]
fn runs_are_listed_by_what_is_asked_for() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    completed(&ledger, "one", 0x1a, 0);
    prepared(&ledger, "two", 0x2b, 0);
    let mut other = new_run("three", 0x2c, 0);
    other.train_id = "other".into();
    ledger.begin(&other).unwrap().unwrap();
    let list = |change: &dyn Fn(&mut RunFilter)| {
        let mut filter = all();
        change(&mut filter);
        ledger.list(&filter).unwrap().into_iter().map(|run| run.id.name()).collect::<Vec<_>>()
    };
    assert_eq!(list(&|filter| filter.open = true), ["three", "two"]);
    assert_eq!(list(&|filter| filter.state = Some(RunState::Completed)), ["one"]);
    assert_eq!(list(&|filter| filter.train = Some("other".into())), ["three"]);
    assert_eq!(list(&|filter| filter.session = Some("2".into())), ["three", "two"]);
    assert_eq!(list(&|filter| filter.session = Some("2b2b2".into())), ["two"]);
    assert_eq!(list(&|filter| filter.limit = 1), ["three"]);
}

#[test]
fn a_released_stop_takes_exactly_one_more_completed_run() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    completed(&ledger, "one", 1, 0);
    // Another process, as an administrator's command is.
    let office = test.attach().unwrap();
    assert!(ledger.begin(&new_run("two", 1, 0)).unwrap().is_err());
    let released = office.release(id("one"), "uid:0", &why()).unwrap().released.unwrap();
    assert_eq!((released.by.as_str(), released.reason.as_str()), ("uid:0", "a reason"));
    assert!(ledger.finished("a", &[1; 64], StopIndex::new(0)).unwrap().is_none());
    assert!(ledger.of_idempotency_key("a", "unix:uid=1", "key of 1").unwrap().is_none());
    // A run that fails does not use up the permission.
    prepared(&ledger, "two", 1, 0);
    assert!(ledger.begin(&new_run("beside", 1, 0)).unwrap().is_err(), "two at once");
    ledger.advance(id("two"), RunState::Prepared, RunState::Aborting).unwrap();
    ledger.end_abort(id("two"), &[]).unwrap();
    completed(&ledger, "three", 1, 0);
    assert_eq!(ledger.begin(&new_run("four", 1, 0)).unwrap().unwrap_err().id, id("three"));
    assert_eq!(ledger.finished("a", &[1; 64], StopIndex::new(0)).unwrap().unwrap().id, id("three"));
    assert_eq!(ledger.of_session("a", &[1; 64]).unwrap().unwrap().id, id("three"));
}

#[test]
fn a_finished_stop_shuts_the_stops_before_it_and_no_later_one() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    completed(&ledger, "one", 1, 2);
    let shut =
        |station: &str, session: u8, stop| ledger.finished(station, &[session; 64], StopIndex::new(stop)).unwrap().is_some();
    assert_eq!([0, 2, 3].map(|stop| shut("a", 1, stop)), [true, true, false]);
    assert!(!shut("b", 1, 0) && !shut("a", 2, 0));
}

#[test]
fn only_completed_runs_are_released_and_each_once() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    assert!(matches!(ledger.release(id("one"), "uid:0", &why()), Err(LedgerError::NoSuchRun(_))));
    prepared(&ledger, "one", 1, 0);
    assert!(matches!(ledger.release(id("one"), "uid:0", &why()), Err(LedgerError::InState(RunState::Prepared))));
    completed(&ledger, "two", 2, 0);
    ledger.release(id("two"), "uid:0", &why()).unwrap();
    assert!(matches!(ledger.release(id("two"), "uid:1", &why()), Err(LedgerError::ReleasedBefore)));
    assert_eq!(ledger.run(id("two")).unwrap().unwrap().released.unwrap().by, "uid:0");
}

#[test]
fn only_prepared_runs_are_given_up_and_the_reason_stays() {
    let test = TestLedger::new();
    let (ledger, office) = (test.open().unwrap(), test.attach().unwrap());
    assert!(matches!(office.abandon(id("one"), "uid:0", &why()), Err(LedgerError::NoSuchRun(_))));
    ledger.begin(&new_run("one", 1, 0)).unwrap().unwrap();
    assert!(matches!(office.abandon(id("one"), "uid:0", &why()), Err(LedgerError::InState(RunState::Opening))));
    ledger.advance(id("one"), RunState::Opening, RunState::Prepared).unwrap();
    assert_eq!(office.abandon(id("one"), "uid:0", &why()).unwrap().state, RunState::Aborting);
    assert_eq!(ids(&ledger.aborting().unwrap()), ["one"]);
    assert!(
        matches!(ledger.begin_closing(id("one"), &image("left")), Err(LedgerError::StateChanged(_))),
        "a step goes on all the same"
    );
    ledger.end_abort(id("one"), &["container".into()]).unwrap();
    let run = office.run(id("one")).unwrap().unwrap();
    assert_eq!(
        (run.state, run.reason.as_deref(), run.held.as_slice()),
        (RunState::Aborted, Some("a reason"), &["container".into()][..])
    );
    assert_eq!(run.abandoned_by.as_deref(), Some("uid:0"));
    completed(&ledger, "two", 2, 0);
    assert!(matches!(office.abandon(id("two"), "uid:0", &why()), Err(LedgerError::InState(RunState::Completed))));
}

#[test]
fn a_run_that_fails_keeps_why_and_what_holds_plaintext_and_frees_the_stop() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    ledger.begin(&new_run("one", 1, 0)).unwrap().unwrap();
    ledger.fail_opening(id("one"), "a reason", &["container".into()]).unwrap();
    let run = ledger.run(id("one")).unwrap().unwrap();
    assert_eq!((run.state, run.reason.as_deref(), &*run.held), (RunState::Failed, Some("a reason"), &["container".into()][..]));
    prepared(&ledger, "two", 1, 0);
    assert!(matches!(ledger.fail_opening(id("two"), "a reason", &[]), Err(LedgerError::StateChanged("opening"))));
}

#[test]
fn a_reason_is_one_line_and_not_empty() {
    assert_eq!("  lost at the next stop ".parse::<ReasonText>().unwrap().as_str(), "lost at the next stop");
    assert_eq!("ä".repeat(500).parse::<ReasonText>().unwrap().as_str().chars().count(), 500);
    for (text, error) in [
        (String::new(), ReasonError::Empty),
        (" ".into(), ReasonError::Empty),
        ("a".repeat(501), ReasonError::Long),
        ("two\nlines".into(), ReasonError::Control),
        ("\u{1b}[2J".into(), ReasonError::Control),
        ("c1 \u{9b}2J".into(), ReasonError::Control),
    ] {
        assert_eq!(text.parse::<ReasonText>(), Err(error), "{text:?}");
    }
}

/// A config as an older version kept it.
fn kept_config() -> Vec<u8> {
    let train: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/train.json")).unwrap();
    train["steps"][0]["config"].as_str().unwrap().as_bytes().to_vec()
}

#[test]
fn a_run_that_has_ended_keeps_no_config_but_its_digest() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    type End<'a> = (&'a str, &'a dyn Fn(RunId));
    let end: [End<'_>; 4] = [
        ("failed", &|id| ledger.fail_opening(id, "why", &[]).unwrap()),
        ("aborted", &|id| {
            ledger.advance(id, RunState::Opening, RunState::Prepared).unwrap();
            ledger.advance(id, RunState::Prepared, RunState::Aborting).unwrap();
            ledger.end_abort(id, &[]).unwrap();
        }),
        ("completed", &|id| {
            ledger.advance(id, RunState::Opening, RunState::Prepared).unwrap();
            ledger.begin_closing(id, &image("left")).unwrap();
            ledger.advance(id, RunState::Closing, RunState::Completed).unwrap();
        }),
        ("forgotten", &|_| ledger.forget_open("restored").unwrap()),
    ];
    for (session, (name, end)) in end.into_iter().enumerate() {
        let open = ledger.begin(&new_run(name, session as u8, 0)).unwrap().unwrap();
        assert_eq!(open.config, b"{}");
        end(id(name));
        let ended = ledger.run(id(name)).unwrap().unwrap();
        assert!(!ended.state.is_open() && ended.config.is_empty(), "{name}: {} bytes", ended.config.len());
        assert_eq!(ended.config_sha256, Some(Sha256Digest::of(b"{}")), "{name}");
    }
}

#[test]
fn a_session_is_bound_once_and_outlives_its_runs() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    let session = |train: &str, stop| Session { train_id: train.into(), creator: None, stop_index: StopIndex::new(stop) };
    assert_eq!(ledger.session("a", &[1; 64]).unwrap(), None);
    assert_eq!(ledger.bind_session("a", &[1; 64], &session("train", 0)).unwrap(), session("train", 0));
    assert_eq!(ledger.bind_session("a", &[1; 64], &session("another", 1)).unwrap(), session("train", 0));
    assert_eq!(ledger.session("b", &[1; 64]).unwrap(), None, "another station's");
    completed(&ledger, "one", 1, 0);
    ledger.prune(i64::MAX).unwrap();
    assert_eq!(ledger.session("a", &[1; 64]).unwrap(), Some(session("train", 0)));
}

#[test]
fn pruning_keeps_what_keeps_a_train_from_running_twice_and_what_still_holds_plaintext() {
    let test = TestLedger::new();
    let ledger = test.open().unwrap();
    completed(&ledger, "done", 1, 0);
    completed(&ledger, "held", 2, 0);
    ledger.begin(&new_run("failed", 3, 0)).unwrap().unwrap();
    ledger.fail_opening(id("failed"), "why", &[]).unwrap();
    ledger.begin(&new_run("holding", 4, 0)).unwrap().unwrap();
    ledger.fail_opening(id("holding"), "why", &["container".into()]).unwrap();
    prepared(&ledger, "open", 5, 0);
    let record = |held: &[&str]| PostRunRecord {
        image: "train:latest".into(),
        image_id: image("sealed"),
        results_digest: "00".into(),
        result_files: 1,
        dropped_files: Default::default(),
        plaintext_held_by: held.iter().map(|&held| held.to_owned()).collect(),
        warnings: vec!["a long text".repeat(100)],
        rules: Vec::new(),
    };
    ledger.record_post_run(id("done"), &record(&[])).unwrap();
    ledger.record_post_run(id("held"), &record(&["container"])).unwrap();
    assert_eq!(ledger.prunable(0).unwrap(), Pruned::default(), "nothing is so old");
    let expected = Pruned { removed: 1, shortened: 1 };
    assert_eq!((ledger.prunable(i64::MAX).unwrap(), ledger.prune(i64::MAX).unwrap()), (expected, expected));
    assert_eq!(ledger.prune(i64::MAX).unwrap(), Pruned::default(), "the second time there is nothing left");
    assert_eq!(ids(&ledger.list(&all()).unwrap()), ["open", "holding", "held", "done"]);
    assert!(
        ledger.finished("a", &[1; 64], StopIndex::new(0)).unwrap().is_some()
            && ledger.begin(&new_run("again", 1, 0)).unwrap().is_err()
    );
    assert_eq!(ledger.run(id("done")).unwrap().unwrap().post_run, None);
    assert!(ledger.run(id("held")).unwrap().unwrap().post_run.is_some());
    assert_eq!(ledger.run(id("holding")).unwrap().unwrap().held, ["container"]);
}

#[test]
fn sessions_and_digests_of_older_versions_are_filled_in_and_configs_of_ended_runs_dropped() {
    let test = TestLedger::new();
    test.runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(test.file()).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        MIGRATOR.run_direct(Some(4), &mut connection, false).await.unwrap();
        for (number, (name, state, pre_run)) in
            [("failed", "failed", false), ("done", "completed", true), ("open", "prepared", true)].into_iter().enumerate()
        {
            let sql = "INSERT INTO runs (id, state, station, train_id, session_id, stop_index, idempotency_key, image, source_image, \
                 base_image, key_label, config, created_at, updated_at, number) VALUES (?, ?, 'a', ?, ?, 1, 'k', 'i', \
                 printf('sha256:%064d', 1), printf('sha256:%064d', 0), 'a', ?, 5, \
                 5, ?)";
            let query = sqlx::query(sql).bind(id(name).to_string()).bind(state).bind(name).bind(vec![number as u8]).bind(kept_config());
            query.bind(number as i64).execute(&mut connection).await.unwrap();
            if pre_run {
                let record = r#"{"image_id":"sha256:0000000000000000000000000000000000000000000000000000000000000000","has_query":false,"dropped_files":[],"immutable_digest":"00","results_digest":null,"warnings":[]}"#;
                sqlx::query("UPDATE runs SET pre_run = ? WHERE id = ?").bind(record).bind(id(name).to_string()).execute(&mut connection).await.unwrap();
            }
        }
        connection.close().await.unwrap();
    });
    let ledger = test.open().unwrap();
    assert_eq!(ledger.session("a", &[0]).unwrap(), None, "what was never opened is not bound");
    for (name, session) in [("done", 1), ("open", 2)] {
        let bound = ledger.session("a", &[session]).unwrap().unwrap();
        assert_eq!((bound.train_id.as_str(), bound.stop_index), (name, StopIndex::new(1)));
        let creator = bound.creator.unwrap();
        assert!(!creator.id.is_empty() && creator.fingerprint.starts_with("SHA256:"), "{creator:?}");
    }
    let sizes = ["failed", "done", "open"].map(|name| ledger.run(id(name)).unwrap().unwrap().config.len());
    assert_eq!(sizes, [0, 0, kept_config().len()]);
    assert!(ledger.list(&all()).unwrap().iter().all(|run| run.config_sha256.is_some() && run.principal.is_none()));
}
