use std::{
    fs,
    path::{Path, PathBuf},
};

use stationmaster_train::{digest::Sha256Digest, route::StopIndex};
use tokio::runtime::Runtime;

use super::*;
use crate::{
    audit::{Audit, Entry, Event, Remember, Settings},
    ledger::{Ledger, LogOf, NewRun, OpenInto, RunId, RunState},
};

/// A state directory with a ledger that is open, and room for others.
struct Office {
    runtime: Runtime,
    room: tempfile::TempDir,
    ledger: Ledger,
}

impl Office {
    fn new() -> Self {
        let (runtime, room) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        let state = room.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::write(state.join(INSTANCE), "an id").unwrap();
        fs::write(state.join("pin-latch"), "hashes").unwrap();
        let ledger = runtime.block_on(Ledger::open(&state.join(LEDGER))).unwrap();
        Self { runtime, room, ledger }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    fn run(&self, name: &str, session: u8, states: &[RunState]) {
        let run = NewRun {
            id: RunId::named(name),
            station: "a".into(),
            train_id: "train".into(),
            session_id: vec![session; 64],
            stop_index: StopIndex::new(0),
            principal: "unix:uid=1".into(),
            idempotency_key: String::new(),
            opened_into: OpenInto::Image,
            image: "train:latest".into(),
            source_image: Sha256Digest::of(b"source").into(),
            base_image: Sha256Digest::of(b"base").into(),
            key_label: "a".into(),
            config: Vec::new(),
        };
        self.ledger.begin(&run).unwrap().unwrap();
        let mut before = RunState::Opening;
        for &state in states {
            self.ledger.advance(RunId::named(name), before, state).unwrap();
            before = state;
        }
    }

    fn backup(&self, name: &str) -> Result<Manifest, StateError> {
        backup(&self.at("state"), &self.ledger, Some("a"), &self.at(name))
    }

    fn restore(&self, backup: &str, into: &str, open: Option<OpenRuns>) -> Result<Restored, StateError> {
        fs::create_dir_all(self.at(into)).unwrap();
        let into = self.at(into);
        restore(&self.at(backup), (&into, &into.join("audit")), open, self.runtime.handle())
    }

    fn ledger_in(&self, name: &str) -> Ledger {
        self.runtime.block_on(Ledger::attach(&self.at(name).join(LEDGER))).unwrap()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_was_finished_before_a_backup_is_known_after_it_is_put_back() {
    let office = Office::new();
    office.run("one", 1, &[RunState::Prepared, RunState::Closing, RunState::Completed]);
    fs::write(office.at("state").join(FIRST_SEEN), "version = 1\n").unwrap();
    fs::write(office.at("state").join(KEY_STATES), "version = 1\n").unwrap();
    let manifest = office.backup("backup").unwrap();
    assert_eq!((manifest.runs, manifest.station.as_deref()), (1, Some("a")));
    assert_eq!(names(&office.at("backup")), ["backup.toml", FIRST_SEEN, INSTANCE, KEY_STATES, LEDGER]);
    office.run("two", 2, &[RunState::Prepared, RunState::Closing, RunState::Completed]);

    fs::create_dir(office.at("other")).unwrap();
    fs::write(office.at("other").join("pin-latch"), "other hashes").unwrap();
    assert!(office.restore("backup", "other", None).unwrap().open.is_empty());
    assert_eq!(names(&office.at("other")), [FIRST_SEEN, INSTANCE, KEY_STATES, LEDGER, "pin-latch"]);
    let ledger = office.ledger_in("other");
    assert!(ledger.finished("a", &[1; 64], StopIndex::new(0)).unwrap().is_some());
    assert!(ledger.finished("a", &[2; 64], StopIndex::new(0)).unwrap().is_none(), "what a backup cannot know");
    assert_eq!(fs::read_to_string(office.at("other").join("pin-latch")).unwrap(), "other hashes");
}

#[test]
fn a_backup_is_made_beside_nothing_and_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let office = Office::new();
    office.backup("backup").unwrap();
    assert!(matches!(office.backup("backup"), Err(StateError::InTheWay(_))));
    assert_eq!(names(office.room.path()), ["backup", "state"], "something is left beside it");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&office.at("backup")), 0o700);
    for name in names(&office.at("backup")) {
        assert_eq!(mode(&office.at("backup").join(&name)), 0o600, "{name}");
    }
    fs::remove_file(office.at("state").join(INSTANCE)).unwrap();
    assert!(matches!(office.backup("half"), Err(StateError::Io { .. })));
    assert_eq!(names(office.room.path()), ["backup", "state"], "half a backup is left");
}

#[test]
fn a_backup_that_is_not_as_it_was_made_is_refused_before_anything_is_in_place() {
    let office = Office::new();
    office.run("one", 1, &[RunState::Prepared, RunState::Closing, RunState::Completed]);
    type Damage = fn(&Path);
    let edit = |path: &Path, from: &str, to: &str| {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from));
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    let damages: [(&str, Damage); 6] = [
        ("another instance", |backup| fs::write(backup.join(INSTANCE), "x").unwrap()),
        ("a ledger cut short", |backup| {
            let ledger = fs::read(backup.join(LEDGER)).unwrap();
            fs::write(backup.join(LEDGER), &ledger[..ledger.len() / 2]).unwrap();
        }),
        ("no ledger", |backup| fs::remove_file(backup.join(LEDGER)).unwrap()),
        ("no manifest", |backup| fs::remove_file(backup.join("backup.toml")).unwrap()),
        ("no sense", |backup| fs::write(backup.join("backup.toml"), "version = 1").unwrap()),
        ("nothing", |backup| {
            fs::remove_dir_all(backup).unwrap();
        }),
    ];
    for (what, damage) in damages {
        office.backup("backup").unwrap();
        damage(&office.at("backup"));
        let error = office.restore("backup", "other", None).expect_err(what);
        assert!(matches!(error, StateError::Unsound { .. } | StateError::Io { .. }), "{what}: {error:?}");
        assert!(names(&office.at("other")).is_empty(), "{what}");
        let _ = fs::remove_dir_all(office.at("backup"));
    }
    for (from, to) in [("name = \"instance\"", "name = \"../instance\""), ("version = 1", "version = 2")] {
        office.backup("backup").unwrap();
        edit(&office.at("backup").join("backup.toml"), from, to);
        assert!(matches!(office.restore("backup", "other", None), Err(StateError::Unsound { .. })), "{to}");
        fs::remove_dir_all(office.at("backup")).unwrap();
    }
}

#[test]
fn a_directory_with_state_is_not_written_over() {
    let office = Office::new();
    office.backup("backup").unwrap();
    for name in [LEDGER, "ledger.sqlite-wal", INSTANCE, FIRST_SEEN] {
        let other = office.at("other");
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join(name), "here before").unwrap();
        assert!(matches!(office.restore("backup", "other", None), Err(StateError::InTheWay(_))), "{name}");
        assert_eq!(names(&other), [name]);
        fs::remove_dir_all(other).unwrap();
    }
}

#[test]
fn runs_that_were_open_are_put_back_only_with_a_word_about_them() {
    let office = Office::new();
    office.run("one", 1, &[RunState::Prepared, RunState::Closing]);
    office.backup("backup").unwrap();
    let error = office.restore("backup", "other", None).unwrap_err();
    assert!(
        matches!(&error, StateError::OpenRuns(runs) if runs[0].starts_with(&format!("{} (closing", RunId::named("one")))),
        "{error}"
    );
    assert!(names(&office.at("other")).is_empty());
    assert_eq!(office.restore("backup", "kept", Some(OpenRuns::Keep)).unwrap().open.len(), 1);
    assert_eq!(office.ledger_in("kept").run(RunId::named("one")).unwrap().unwrap().state, RunState::Closing);
    office.restore("backup", "forgotten", Some(OpenRuns::Forget)).unwrap();
    let run = office.ledger_in("forgotten").run(RunId::named("one")).unwrap().unwrap();
    assert!(run.state == RunState::Failed && run.reason.is_some_and(|reason| reason.contains("backup")));
}

/// A state directory in which a service has been, with all parts of its parts.
struct Lived {
    office: Office,
    parts: StateParts,
}

impl Lived {
    fn new() -> Self {
        let office = Office::new();
        let state = office.at("state");
        fs::write(state.join(FIRST_SEEN), "version = 1\n").unwrap();
        fs::write(state.join(KEY_STATES), "version = 1\n").unwrap();
        let parts = StateParts::new(&state, &state.join("audit"), Some("a"));
        let lived = Self { office, parts };
        // The first start: the ledger is made before anything else.
        lived.wait(lived.office.ledger.keep_fact("beginning", "yes"));
        lived.records(&[Entry::of(Event::ServiceStarted)], true);
        lived.wait(lived.parts.record_in(&lived.office.ledger));
        lived
    }

    /// Writes to the service's log, and has the ledger know of it or not.
    fn records(&self, entries: &[Entry], is_remembered: bool) {
        let ledger = self.office.ledger.clone();
        let remember = Remember::new(move |place| {
            let kept = ledger.remember_audit_blocking(LogOf::Service, &place.log, place.size, &place.head);
            kept.map_err(|error| error.to_string())
        });
        let settings = Settings {
            directory: self.path("audit"),
            log: "service",
            segment_bytes: 2048,
            reserve_bytes: 0,
            archive: None,
            second: None,
            remembered: None,
            remember: is_remembered.then_some(remember),
        };
        let (audit, _) = Audit::open(settings).unwrap();
        for entry in entries {
            audit.record(entry.clone()).unwrap();
        }
        audit.close();
    }

    fn wait<T, E: std::fmt::Debug>(&self, future: impl Future<Output = Result<T, E>>) -> T {
        self.office.runtime.block_on(future).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.office.at("state").join(name)
    }

    /// What a start says.
    fn start(&self, parts: &StateParts) -> Result<(), StateError> {
        parts.check_files()?;
        self.office.runtime.block_on(async {
            let ledger = Ledger::open(&self.path(LEDGER)).await?;
            let checked = async {
                parts.check(&ledger).await?;
                let place = parts.remembered(&ledger).await?;
                match place.map(|place| crate::audit::since(&parts.audit, &place)).transpose()?.flatten() {
                    Some(since) => parts.check_ledger(&ledger, &since).await,
                    None => Ok(()),
                }
            }
            .await;
            ledger.close().await;
            checked
        })
    }

    /// Takes the ledger's files away.
    fn loses_its_ledger(&self) {
        self.office.runtime.block_on(self.office.ledger.clone().close());
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(self.path(&format!("{LEDGER}{end}")));
        }
    }
}

#[test]
fn a_first_start_and_every_later_one_find_all_parts_in_place() {
    let lived = Lived::new();
    for _ in 0..2 {
        lived.start(&lived.parts).unwrap();
    }
    let room = tempfile::tempdir().unwrap();
    StateParts::new(room.path(), &room.path().join("audit"), Some("a")).check_files().unwrap();
}

#[test]
fn a_part_that_is_missing_or_empty_while_its_neighbours_show_it_is_refused_with_the_way_to_restore_it() {
    type Loss = (Part, &'static str, fn(&Lived));
    let losses: [Loss; 10] = [
        (Part::Instance, "missing", |lived| fs::remove_file(lived.path(INSTANCE)).unwrap()),
        (Part::Instance, "empty", |lived| fs::write(lived.path(INSTANCE), "").unwrap()),
        (Part::FirstSeen, "missing", |lived| fs::remove_file(lived.path(FIRST_SEEN)).unwrap()),
        (Part::FirstSeen, "empty", |lived| fs::write(lived.path(FIRST_SEEN), "").unwrap()),
        (Part::KeyStates, "missing", |lived| fs::remove_file(lived.path(KEY_STATES)).unwrap()),
        (Part::KeyStates, "empty", |lived| fs::write(lived.path(KEY_STATES), "").unwrap()),
        (Part::Audit, "missing", |lived| fs::remove_dir_all(lived.path("audit")).unwrap()),
        (Part::Audit, "empty", |lived| fs::write(lived.path("audit/service/00000001.jsonl"), "").unwrap()),
        (Part::Ledger, "missing", Lived::loses_its_ledger),
        (Part::Ledger, "empty", |lived| {
            lived.loses_its_ledger();
            fs::write(lived.path(LEDGER), "").unwrap();
        }),
    ];
    for (part, how, lose) in losses {
        let lived = Lived::new();
        lose(&lived);
        let error = lived.start(&lived.parts).expect_err(how);
        let StateError::Missing { part: found, .. } = &error else { panic!("{part} {how}: {error}") };
        assert_eq!(*found, part, "{how}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("restore") && hint.contains(&format!("accept-loss {part}")), "{part} {how}: {hint}");
        assert!(part != Part::Ledger || fs::metadata(lived.path(LEDGER)).map_or(0, |file| file.len()) == 0, "a ledger was made");
        // The station continues without it only when it is accepted as lost for good.
        lived.wait(accept_loss(&lived.parts, part));
        lived.start(&lived.parts).unwrap_or_else(|error| panic!("{part} {how}, given up: {error}"));
        if part == Part::Instance {
            assert_eq!(fs::read_to_string(lived.path(INSTANCE)).unwrap(), "an id", "the ledger knew it");
        }
    }
}

#[test]
fn a_part_of_another_life_is_refused() {
    let lived = Lived::new();
    fs::write(lived.path(INSTANCE), "another id").unwrap();
    assert!(matches!(lived.start(&lived.parts), Err(StateError::Mismatch { part: Part::Instance, .. })));
    // A link is not followed, and what it leads to is in no message.
    fs::write(lived.path("secret"), "only root reads this").unwrap();
    fs::remove_file(lived.path(INSTANCE)).unwrap();
    std::os::unix::fs::symlink(lived.path("secret"), lived.path(INSTANCE)).unwrap();
    let error = lived.start(&lived.parts).unwrap_err();
    assert!(!error.to_string().contains("only root"), "{error}");
    fs::remove_file(lived.path(INSTANCE)).unwrap();
    fs::write(lived.path(INSTANCE), "an id").unwrap();
    let other = StateParts::new(&lived.office.at("state"), &lived.path("audit"), Some("b"));
    let error = lived.start(&other).unwrap_err();
    assert!(matches!(error, StateError::Mismatch { part: Part::Station, .. }) && error.to_string().contains("\"a\""), "{error}");
    // A ledger that knows nothing, beside what shows that there was one.
    lived.loses_its_ledger();
    let fresh = lived.wait(Ledger::open(&lived.path(LEDGER)));
    lived.office.runtime.block_on(fresh.close());
    assert!(matches!(lived.start(&lived.parts), Err(StateError::Missing { part: Part::Ledger, .. })));
    lived.wait(accept_loss(&lived.parts, Part::Ledger));
}

#[test]
fn what_is_not_lost_is_not_given_up() {
    let lived = Lived::new();
    for part in [Part::Ledger, Part::Instance, Part::Audit, Part::FirstSeen, Part::KeyStates] {
        let refused = lived.office.runtime.block_on(accept_loss(&lived.parts, part));
        assert!(matches!(refused, Err(StateError::NotLost(found)) if found == part), "{part}");
    }
    lived.start(&lived.parts).unwrap();
}

#[test]
fn a_backup_put_back_where_nothing_is_starts_without_the_audit() {
    let lived = Lived::new();
    lived.office.backup("backup").unwrap();
    lived.office.restore("backup", "other", None).unwrap();
    let other = StateParts::new(&lived.office.at("other"), &lived.office.at("other").join("audit"), Some("a"));
    other.check_files().unwrap();
    let ledger = lived.wait(Ledger::open(&lived.office.at("other").join(LEDGER)));
    lived.wait(other.check(&ledger));
}

/// A record of a step that ended well.
fn step(rpc: &str, run: &str) -> Entry {
    Entry {
        rpc: Some(rpc.to_owned()),
        run: Some(RunId::named(run).to_string()),
        outcome: Some("ok".to_owned()),
        ..Entry::of(Event::Step)
    }
}

#[test]
fn a_ledger_is_older_than_the_audit_when_it_lacks_a_run_and_not_when_it_only_knows_less_of_the_log() {
    use RunState::{Closing, Completed, Prepared};
    let uses: Vec<_> = (0..50).map(|_| Entry::of(Event::KeyUse)).collect();
    let cases: [(&str, &[RunState], Vec<Entry>, bool); 7] = [
        ("records that name no run, as after a loss of power", &[], uses, false),
        ("a checkpoint and a start", &[], vec![Entry::of(Event::Checkpoint), Entry::of(Event::ServiceStarted)], false),
        ("a run that is there", &[Prepared], vec![step("PreRun", "one")], false),
        ("a run that is completed", &[Prepared, Closing, Completed], vec![step("PreRun", "one"), step("PostRun", "one")], false),
        ("a post-run that did not end well", &[Prepared], vec![Entry { outcome: None, ..step("PostRun", "one") }], false),
        (
            "a run that is not there",
            &[],
            vec![Entry { run: Some(RunId::named("one").to_string()), ..Entry::of(Event::KeyUse) }],
            true,
        ),
        ("a run that is not completed", &[Prepared], vec![step("PostRun", "one")], true),
    ];
    for (what, states, entries, is_old) in cases {
        let lived = Lived::new();
        if !states.is_empty() {
            lived.office.run("one", 1, states);
        }
        lived.records(&entries, false);
        match lived.start(&lived.parts) {
            Ok(()) => assert!(!is_old, "{what}: it starts"),
            Err(StateError::LedgerOutdated { .. }) => assert!(is_old, "{what}: it does not start"),
            Err(error) => panic!("{what}: {error}"),
        }
        let accepted = lived.office.runtime.block_on(accept_loss(&lived.parts, Part::Ledger));
        assert_eq!(accepted.is_ok(), is_old, "{what}: {accepted:?}");
        lived.start(&lived.parts).unwrap_or_else(|error| panic!("{what}: {error}"));
        // What was accepted is what was there then, and no more.
        lived.records(&[step("PreRun", "two")], false);
        assert!(matches!(lived.start(&lived.parts), Err(StateError::LedgerOutdated { .. })), "{what}");
    }
}

#[test]
fn a_ledger_whose_place_in_the_log_was_moved_away_is_old() {
    let lived = Lived::new();
    let uses: Vec<_> = (0..50).map(|_| Entry::of(Event::KeyUse)).collect();
    lived.records(&uses, false);
    lived.start(&lived.parts).unwrap();
    fs::remove_file(lived.path("audit/service/00000001.jsonl")).unwrap();
    let error = lived.start(&lived.parts).unwrap_err();
    assert!(
        matches!(error, StateError::LedgerOutdated { .. }) && error.to_string().contains("segments that are missing"),
        "{error}"
    );
}

#[test]
fn another_log_in_place_of_the_services_is_refused_until_it_is_accepted() {
    let lived = Lived::new();
    fs::rename(lived.path("audit"), lived.office.at("moved")).unwrap();
    lived.records(&[Entry::of(Event::ServiceStarted)], false);
    let error = lived.start(&lived.parts).unwrap_err();
    assert!(matches!(error, StateError::Mismatch { part: Part::Audit, .. }), "{error}");
    lived.wait(accept_loss(&lived.parts, Part::Audit));
    lived.start(&lived.parts).unwrap();
}

#[test]
fn ledger_instance_and_audit_that_are_gone_together_are_missed_where_something_shows_that_they_were_there() {
    let loses_all = |lived: &Lived| {
        lived.loses_its_ledger();
        for name in [INSTANCE, FIRST_SEEN, "audit/service/00000001.jsonl"] {
            fs::remove_file(lived.path(name)).unwrap();
        }
    };
    let lived = Lived::new();
    loses_all(&lived);
    let error = lived.start(&lived.parts).unwrap_err();
    assert!(matches!(error, StateError::Missing { part: Part::Ledger, .. }), "the log's directory is there: {error}");
    // The whole directory is gone; the archive is elsewhere.
    let archive = lived.office.at("archive");
    fs::create_dir_all(archive.join("service")).unwrap();
    fs::remove_dir_all(lived.path("audit")).unwrap();
    let parts = lived.parts.clone().with_archive(Some(&archive));
    parts.check_files().unwrap();
    fs::write(archive.join("service/00000001.jsonl"), "{}\n").unwrap();
    let error = parts.check_files().unwrap_err();
    assert!(error.to_string().contains("archive"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_lies_elsewhere_is_not_given_away_through_a_link_in_the_state_directory() {
    use std::os::unix::fs::MetadataExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let office = Office::new();
    office.backup("backup").unwrap();
    let (other, victim) = (office.at("other"), office.at("victim"));
    fs::create_dir(&other).unwrap();
    fs::write(&victim, "root's").unwrap();
    std::os::unix::fs::symlink(&victim, other.join(LOCK)).unwrap();
    std::os::unix::fs::chown(&other, Some(65534), Some(65534)).unwrap();
    let _ = office.restore("backup", "other", None);
    assert_eq!(fs::metadata(&victim).unwrap().uid(), 0, "it was given away");
    assert_eq!(fs::metadata(other.join(LEDGER)).map(|file| file.uid()).ok(), Some(65534));
}
