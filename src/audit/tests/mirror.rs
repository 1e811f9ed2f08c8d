//! Tests of the mirror: it receives every record from the first on, whole or as its hash, whatever failed meanwhile.

use std::os::unix::net::UnixDatagram;

use super::written::long_line;
use crate::audit::tests::*;

fn copied(at: &Path, kind: SinkKind) -> Audit {
    let second = Some(Mirror { kind, timeout: Duration::from_secs(10) });
    Audit::open(Settings { second, ..settings(at, 4096) }).unwrap().0
}

#[test]
fn a_mirror_that_hangs_or_fails_delays_nothing_and_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    // Nothing reads what is sent to it.
    let full = directory.path().join("full");
    let _bound = UnixDatagram::bind(&full).unwrap();
    for (kind, name) in [(SinkKind::Syslog(full), "hangs"), (SinkKind::Syslog(directory.path().join("nothing")), "fails")] {
        let at = directory.path().join(name);
        let second = Some(Mirror { kind, timeout: Duration::from_millis(100) });
        let (audit, _) = Audit::open(Settings { second, ..settings(&at, 1 << 20) }).unwrap();
        let mut reported = false;
        for number in 0..200 {
            audit.record(entry(number)).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            let text = fs::read_to_string(&segments(&at)[0]).unwrap();
            reported = text.contains("\"event\":\"second-sink\"") && text.contains("\"keeps_up\":false");
            if reported {
                break;
            }
        }
        assert!(reported, "a second sink that {name} is not in the log");
        audit.close();
        assert!(verify(&segments(&at), None, None).unwrap().holds());
    }
}

#[test]
fn a_copy_goes_through_no_link_and_into_no_file_that_others_could_change() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("victim"), "precious\n").unwrap();
    fs::set_permissions(at("victim"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("victim", at("link")).unwrap();
    symlink("made", at("dangling")).unwrap();
    fs::write(at("open"), "").unwrap();
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o622)).unwrap();
    fs::write(at("foreign"), "").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let _reader = fs::OpenOptions::new().read(true).write(true).open(at("fifo")).unwrap();
    let mut names = vec!["link", "dangling", "open", "fifo"];
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(at("foreign"), Some(65534), None).unwrap();
        names.push("foreign");
    }
    for name in names {
        let log = at(&format!("log-{name}"));
        let second = Some(Mirror { kind: SinkKind::File(at(name)), timeout: Duration::from_millis(200) });
        let (audit, _) = Audit::open(Settings { second, ..settings(&log, 1 << 20) }).unwrap();
        let reported = (0..200).any(|number| {
            audit.record(entry(number)).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            fs::read_to_string(&segments(&log)[0]).unwrap().contains("\"keeps_up\":false")
        });
        audit.close();
        assert!(reported, "{name}: the log does not say that there is no copy");
    }
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "precious\n");
    assert!(!at("made").exists());
    assert_eq!(["open", "foreign"].map(|name| fs::metadata(at(name)).unwrap().len()), [0, 0]);
    // A file that the service makes is its own, whatever the umask; one that an administrator made keeps its mode, such as for a shipper.
    fs::write(at("shipped"), "").unwrap();
    fs::set_permissions(at("shipped"), fs::Permissions::from_mode(0o640)).unwrap();
    for (name, mode) in [("new", 0o600), ("shipped", 0o640)] {
        let audit = copied(&at(&format!("log-{name}")), SinkKind::File(at(name)));
        audit.record(entry(1)).unwrap();
        audit.close();
        let facts = fs::metadata(at(name)).unwrap();
        assert!(facts.len() > 0 && facts.permissions().mode() & 0o7777 == mode, "{name}: {facts:?}");
    }
}

#[test]
fn a_second_sink_gets_every_record() {
    let directory = tempfile::tempdir().unwrap();
    let (file, objects) = (directory.path().join("copy.jsonl"), directory.path().join("objects"));
    fs::create_dir(&objects).unwrap();
    for (kind, name) in [(SinkKind::File(file.clone()), "file"), (SinkKind::Directory(objects.clone()), "directory")] {
        let at = directory.path().join(name);
        let second = Some(Mirror { kind, timeout: Duration::from_secs(10) });
        let (audit, _) = Audit::open(Settings { second, ..settings(&at, 4096) }).unwrap();
        for number in 0..50 {
            audit.record(entry(number)).unwrap();
        }
        audit.close();
    }
    let numbers = |text: &str| (0..50).filter(|number| text.contains(&format!("\"number\":{number}}}"))).count();
    assert_eq!(numbers(&fs::read_to_string(&file).unwrap()), 50);
    let put: String = fs::read_dir(&objects).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    assert_eq!(numbers(&put), 50);
}

#[test]
fn a_copy_that_was_cut_off_again_and_again_is_whole_from_the_first_record_and_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let (log, away) = (directory.path().join("log"), directory.path().join("away"));
    let (file, objects) = (away.join("copy.jsonl"), away.join("objects"));
    let signer = Signer::new();
    for kind in [SinkKind::File(file.clone()), SinkKind::Directory(objects.clone())] {
        let log = log.join(format!("{}", matches!(kind, SinkKind::File(_))));
        for round in 0..4 {
            // Every other time there is nowhere to write to.
            match round % 2 {
                0 => drop(fs::remove_dir_all(away.join("nothing"))),
                _ => fs::create_dir_all(&objects).unwrap(),
            }
            if round == 2 {
                fs::rename(&away, directory.path().join("elsewhere")).unwrap();
            }
            if round == 3 {
                fs::remove_dir_all(&away).unwrap();
                fs::rename(directory.path().join("elsewhere"), &away).unwrap();
                // A write that a crash has cut short.
                if matches!(kind, SinkKind::File(_)) {
                    use std::io::Write;
                    fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"seq\":").unwrap();
                }
            }
            let audit = copied(&log, kind.clone());
            for number in 0..20 {
                audit.record(entry(number)).unwrap();
            }
            signer.sign(&audit);
            audit.close();
            if round == 2 {
                assert!(!file.exists() && !objects.exists());
                fs::create_dir_all(&away).unwrap();
            }
        }
        let copy = match kind {
            SinkKind::File(path) => fs::read(path).unwrap(),
            _ => {
                let mut parts: Vec<_> = fs::read_dir(&objects).unwrap().map(|entry| entry.unwrap().path()).collect();
                parts.sort();
                parts.iter().flat_map(|part| fs::read(part).unwrap()).collect()
            }
        };
        let whole: Vec<u8> = segments(&log).iter().flat_map(|segment| fs::read(segment).unwrap()).collect();
        assert!(whole.starts_with(&copy) || copy == whole, "the copy is not the log");
        let one = directory.path().join("one.jsonl");
        fs::write(&one, &copy).unwrap();
        let found = verify(&[one], Some(&signer.spki()), None).unwrap();
        assert!(found.holds() && found.first == 0 && found.checkpoints == 4, "{:?}", found.flaws);
        fs::remove_dir_all(&away).unwrap();
    }
}

#[test]
fn a_record_that_no_datagram_holds_is_sent_by_its_hash_and_all_others_whole() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), 1 << 20).close();
    let file = segments(directory.path()).remove(0);
    // Longer than any that is written; and than what is read whole.
    for bytes in [300_000, 2 << 20] {
        let line = long_line(&file, bytes);
        fs::write(&file, [fs::read(&file).unwrap(), line.into_bytes(), b"\n".to_vec()].concat()).unwrap();
    }
    let path = directory.path().join("socket");
    let server = UnixDatagram::bind(&path).unwrap();
    let receiving = std::thread::spawn(move || {
        let (mut got, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
        while got.len() < 53 {
            let length = server.recv(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap().split_once(" - stationmaster ").unwrap().1;
            got.push(serde_json::from_str::<serde_json::Value>(&text[text.find('{').unwrap()..]).unwrap());
        }
        got
    });
    let audit = copied(directory.path(), SinkKind::Syslog(path));
    for number in 0..50 {
        audit.record(entry(number)).unwrap();
    }
    audit.close();
    let got = receiving.join().unwrap();
    let numbers: Vec<_> = got.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..53).collect::<Vec<_>>());
    // Each hash is the one that the next record names.
    for stub in [1, 2] {
        assert_eq!(got[stub]["replaced"]["hash"], got[stub + 1]["prev"], "{}", got[stub]);
        assert_eq!(got[stub]["event"], "refusal");
    }
    assert!(got[3..].iter().filter(|record| record["event"] == "refusal").all(|record| record["about"]["number"].is_u64()));
}

#[test]
fn what_syslog_missed_while_it_was_gone_is_sent_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let audit = copied(directory.path(), SinkKind::Syslog(path.clone()));
    for number in 0..10 {
        audit.record(entry(number)).unwrap();
    }
    audit.close();
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let audit = copied(directory.path(), SinkKind::Syslog(path));
    let mut buffer = vec![0; 1 << 16];
    for seq in 0..11 {
        let length = server.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.contains(&format!("{{\"seq\":{seq},")), "{seq}: {text}");
    }
    audit.close();
}

#[test]
fn records_whose_segments_were_removed_before_they_were_sent_are_reported_as_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nowhere/copy.jsonl");
    let audit = copied(directory.path(), SinkKind::File(path.clone()));
    for number in 0..60 {
        audit.record(entry(number)).unwrap();
    }
    audit.close();
    fs::remove_file(segments(directory.path()).remove(0)).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let audit = copied(directory.path(), SinkKind::File(path));
    let said = || {
        let _ = audit.record(entry(1));
        let last = segments(directory.path());
        last.iter().any(|segment| {
            let text = fs::read_to_string(segment).unwrap();
            text.lines().any(|line| line.contains("\"event\":\"second-sink\"") && !line.contains("\"lost\":0"))
        })
    };
    for _ in 0..600 {
        if said() {
            return audit.close();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("records were lost and nothing says so");
}
