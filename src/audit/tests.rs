mod archive;
mod found;
mod hostile;
pub(super) mod mirror;
mod written;

use std::{fs, sync::Arc, time::Duration};

use openssl::{
    md::Md,
    pkey::PKey,
    pkey_ctx::PkeyCtx,
    rsa::{Padding, Rsa},
    sign::RsaPssSaltlen,
};

use super::{
    verify::{Expected, Head, LogVerification},
    *,
};

fn verify(files: &[PathBuf], key: Option<&[u8]>, head: Option<Head>) -> Result<LogVerification, AuditError> {
    super::verify::verify(files, Expected { keys: key.as_slice(), head, allow_unsigned: false })
}

fn settings(directory: &Path, segment_bytes: u64) -> Settings {
    Settings {
        directory: directory.to_owned(),
        log: "service",
        segment_bytes,
        reserve_bytes: 0,
        archive: None,
        second: None,
        remembered: None,
        remember: None,
    }
}

fn open(directory: &Path, segment_bytes: u64) -> Audit {
    Audit::open(settings(directory, segment_bytes)).unwrap().0
}

fn entry(number: u32) -> Entry {
    Entry { principal: Some("unix:uid=0".into()), ..Entry::of(Event::Refusal) }.with("number", number)
}

/// A key that signs checkpoints, as the token's does.
struct Signer(PKey<openssl::pkey::Private>);

impl Signer {
    fn new() -> Self {
        Self(PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap())
    }

    fn spki(&self) -> Vec<u8> {
        self.0.public_key_to_der().unwrap()
    }

    fn sign(&self, audit: &Audit) {
        let use_ = Entry { operation: Some("checkpoint".into()), ..Entry::of(Event::KeyUse) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let covered = runtime.block_on(audit.begin_checkpoint(use_)).unwrap();
        let origin = format!("stationmaster/{}", audit.origin());
        let text = checkpoint::text(&origin, &covered);
        let mut context = PkeyCtx::new(&self.0).unwrap();
        context.sign_init().unwrap();
        context.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        context.set_signature_md(Md::sha256()).unwrap();
        context.set_rsa_mgf1_md(Md::sha256()).unwrap();
        context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        let mut signature = Vec::new();
        context.sign_to_vec(&checkpoint::digest(&text), &mut signature).unwrap();
        let note = checkpoint::signed(&text, &origin, &self.spki(), &signature);
        let entry = Entry { of: Some(covered.size), outcome: Some("ok".into()), ..Entry::of(Event::Checkpoint) };
        audit.record(entry.with("size", covered.size).with("note", note)).unwrap();
    }
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    verify::files(&directory.join("service")).unwrap()
}

#[test]
fn a_rotated_log_has_no_gap_and_an_older_segment_among_later_ones_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let signer = Signer::new();
    for _ in 0..2 {
        let audit = open(directory.path(), 4096);
        for number in 0..60 {
            audit.record(entry(number)).unwrap();
            if number % 7 == 0 {
                signer.sign(&audit);
            }
        }
        signer.sign(&audit);
        audit.close();
    }
    let all = segments(directory.path());
    assert!(all.len() > 4, "{all:?}");
    let found = verify(&all, Some(&signer.spki()), None).unwrap();
    assert!(found.holds(), "{:?}", found.flaws);
    assert_eq!(found.checkpoints, 20);
    // Later segments alone: their first record says what was before, and a checkpoint proves it.
    let later = verify(&all[2..], Some(&signer.spki()), None).unwrap();
    assert!(later.holds() && later.first > 0 && later.checkpoints > 0, "{:?}", later.flaws);
    assert_eq!(later.head, found.head);

    let whole = fs::read(&all[1]).unwrap();
    let half = whole[..whole.len() / 2].iter().rposition(|byte| *byte == b'\n').unwrap();
    fs::write(&all[1], &whole[..=half]).unwrap();
    assert!(!verify(&all, Some(&signer.spki()), None).unwrap().holds(), "an older segment among later ones");
    fs::write(&all[1], &whole).unwrap();
    let without: Vec<_> = all.iter().filter(|path| **path != all[1]).cloned().collect();
    assert!(!verify(&without, Some(&signer.spki()), None).unwrap().holds(), "a missing segment");
    let mut swapped = all.clone();
    swapped.swap(1, 2);
    assert!(!verify(&swapped, Some(&signer.spki()), None).unwrap().holds(), "segments in another order");
}

#[test]
fn a_half_written_end_is_cut_off_and_reported_and_nothing_else_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let audit = open(directory.path(), 1 << 20);
    let before: Vec<_> = (0..5).map(|number| audit.record(entry(number)).unwrap()).collect();
    audit.close();
    let file = segments(directory.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend_from_slice(b"{\"seq\":6,\"time\":\"20");
    fs::write(&file, &bytes).unwrap();
    assert_eq!(verify(std::slice::from_ref(&file), None, None).unwrap().torn_bytes, 19);

    let (audit, opened) = Audit::open(settings(directory.path(), 1 << 20)).unwrap();
    assert_eq!((opened.torn_bytes, opened.size, opened.head), (19, 6, before[4].hash));
    audit.record(entry(7)).unwrap();
    audit.close();
    let found = verify(&[file], None, Some(Head { size: 6, hash: before[4].hash })).unwrap();
    assert!(found.holds() && found.head.unwrap().size == 8, "{found:?}");
}

#[test]
fn a_changed_record_keeps_the_log_from_being_continued() {
    let directory = tempfile::tempdir().unwrap();
    let audit = open(directory.path(), 1 << 20);
    for number in 0..5 {
        audit.record(entry(number)).unwrap();
    }
    audit.close();
    let file = segments(directory.path()).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"number\":2", "\"number\":9", 1)).unwrap();
    assert!(matches!(Audit::open(settings(directory.path(), 1 << 20)), Err(AuditError::Broken { .. })));
}

#[test]
fn a_log_that_is_behind_what_is_remembered_is_not_continued() {
    let directory = tempfile::tempdir().unwrap();
    let audit = open(directory.path(), 1 << 20);
    let positions: Vec<_> = (0..5).map(|number| audit.record(entry(number)).unwrap()).collect();
    let last = positions[4];
    let log = audit.origin().to_owned();
    audit.close();
    let remembered = |size, head| Settings {
        remembered: Some(Remembered { log: log.clone(), size, head }),
        ..settings(directory.path(), 1 << 20)
    };
    for (size, head) in [(7, last.hash), (6, [0; 32]), (3, last.hash)] {
        assert!(matches!(Audit::open(remembered(size, head)), Err(AuditError::Broken { .. })), "{size}");
    }
    Audit::open(remembered(6, last.hash)).unwrap();
}

#[test]
fn a_file_that_was_changed_under_the_service_is_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let audit = open(directory.path(), 1 << 20);
    audit.record(entry(0)).unwrap();
    let file = segments(directory.path()).remove(0);
    let good = fs::read(&file).unwrap();
    let appended = [&good[..], b"{}\n"].concat();
    fs::write(&file, &appended).unwrap();
    assert!(audit.record(entry(1)).is_err() && !audit.is_writable(), "somebody else has written");
    fs::write(&file, &good).unwrap();
    audit.record(entry(2)).unwrap();
    assert!(audit.is_writable());
    fs::rename(&file, file.with_extension("away")).unwrap();
    assert!(audit.record(entry(3)).is_err(), "the file is gone");
    fs::write(&file, fs::read(file.with_extension("away")).unwrap()).unwrap();
    assert!(audit.record(entry(4)).is_err(), "another file is in its place");
    fs::rename(file.with_extension("away"), &file).unwrap();
    audit.record(entry(5)).unwrap();
    audit.close();
    let found = verify(&[file], None, None).unwrap();
    assert!(found.holds() && found.head.unwrap().size == 4, "{found:?}");
}

#[test]
fn a_clock_that_jumps_back_is_reported_and_changes_no_order() {
    let directory = tempfile::tempdir().unwrap();
    let audit = open(directory.path(), 1 << 20);
    audit.record(entry(0)).unwrap();
    audit.close();
    // The last record is of a clock that was far ahead.
    let file = segments(directory.path()).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let (before, last) = text.trim_end().rsplit_once('\n').unwrap();
    let mut record: Record = serde_json::from_str(last).unwrap();
    record.time = "2199-01-01T00:00:00.000000Z".into();
    fs::write(&file, format!("{before}\n{}\n", serde_json::to_string(&record).unwrap())).unwrap();
    let audit = open(directory.path(), 1 << 20);
    let position = audit.record(entry(1)).unwrap();
    audit.close();
    assert_eq!(position.seq, 3, "the jump has a record of its own");
    assert!(fs::read_to_string(&file).unwrap().contains("\"event\":\"clock-went-back\""));
    assert!(verify(&[file], None, None).unwrap().holds());
}

#[test]
fn a_log_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let audit = open(directory.path(), 1 << 20);
    assert!(matches!(Audit::open(settings(directory.path(), 1 << 20)), Err(AuditError::Held(_))));
    // The administrators' log is another one.
    record_command(directory.path(), entry(1)).unwrap();
    record_command(directory.path(), entry(2)).unwrap();
    audit.close();
    assert!(verify(&verify::files(&directory.path().join("officer")).unwrap(), None, None).unwrap().holds());
}

#[test]
fn what_root_writes_for_a_station_is_the_stations_to_read() {
    use std::os::unix::fs::{MetadataExt, chown};
    let directory = tempfile::tempdir().unwrap();
    // Another user's cannot be made without root; one's own are one's own.
    let uid = if rustix::process::geteuid().is_root() { 65_534 } else { rustix::process::geteuid().as_raw() };
    chown(directory.path(), Some(uid), None).unwrap();
    let logs = directory.path().join("audit");
    record_command(&logs, entry(1)).unwrap();
    for path in ["", "officer", "officer/lock", "officer/00000001.jsonl"] {
        assert_eq!(fs::metadata(logs.join(path)).unwrap().uid(), uid, "{path}");
    }
}

#[test]
fn many_writers_make_one_chain_and_each_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let audit = Arc::new(open(directory.path(), 64 * 1024));
    let mut positions: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let audit = Arc::clone(&audit);
                // Every other one lets its records wait for those of others.
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let record = |entry| match writer % 2 {
                        0 => audit.record(entry),
                        _ => runtime.block_on(audit.record_among_others(entry)),
                    };
                    (0..200).map(|number| record(entry(writer * 1000 + number)).unwrap().seq).collect::<Vec<_>>()
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    audit.close();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 1600);
    let found = verify(&segments(directory.path()), None, None).unwrap();
    assert!(found.holds() && found.head.unwrap().size >= 1600, "{:?}", found.flaws);
}
