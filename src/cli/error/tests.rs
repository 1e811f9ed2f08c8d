use stationmaster_keystore::TokenSelector;

use super::*;

/// The reasons of each row of the table of exit codes.
fn documented() -> BTreeMap<String, u8> {
    let page = include_str!("../../../docs/cli.md");
    let (_, table) = page.split_once("| Code | Meaning | Reasons |").expect("the table of exit codes");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut codes = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let code = cells[1].parse().expect("a code");
        for reason in cells[3].split([',', ' ']).filter(|word| Reason::from_name(word).is_some()) {
            assert_eq!(codes.insert(reason.to_owned(), code), None, "{reason} has two exit codes");
        }
    }
    codes
}

#[test]
fn every_reason_has_the_exit_code_that_the_page_gives_it() {
    let documented = documented();
    for &reason in Reason::ALL {
        let error = CliError::from(RpcError::from(Refusal::from(reason)));
        assert_eq!(documented.get(reason.name()), Some(&(error.exit as u8)), "{}", reason.name());
        assert_eq!(error.reason.as_deref(), Some(reason.name()));
    }
}

#[test]
fn what_the_system_refuses_has_one_exit_code_whatever_it_was_for() {
    for (kind, exit) in [
        (io::ErrorKind::NotFound, Exit::NotFound),
        (io::ErrorKind::PermissionDenied, Exit::Permission),
        (io::ErrorKind::ReadOnlyFilesystem, Exit::Permission),
        (io::ErrorKind::IsADirectory, Exit::Usage),
        (io::ErrorKind::NotADirectory, Exit::Usage),
        (io::ErrorKind::AddrInUse, Exit::State),
        (io::ErrorKind::StorageFull, Exit::Unavailable),
    ] {
        let (path, source) = (std::path::PathBuf::from("/no/such/file"), || io::Error::from(kind));
        let tls = TlsFault { what: "server.pem".into(), kind, hint: None };
        let unreadable = PinError::Unreadable { path: path.clone(), kind, reason: "it cannot be read".into() };
        let errors: [CliError; 13] = [
            ServerError::Tls(tls).into(),
            unreadable.into(),
            LedgerError::Closed { file: path.clone(), source: source() }.into(),
            CliError::file("read", &path, &source()),
            ConfigError::Read { file: path.clone(), source: source() }.into(),
            ServerError::io("cannot lock it", source()).into(),
            ServerError::Audit(crate::audit::AuditError::Io { what: "read it".into(), source: source() }).into(),
            DevError::Io { what: "cannot read it".into(), source: source() }.into(),
            crate::audit::AuditError::Io { what: "read it".into(), source: source() }.into(),
            crate::trust::TrustError::File(crate::watched_file::FileError::Read { file: path.clone(), source: source() }).into(),
            crate::trust::TrustError::File(crate::watched_file::FileError::Write { file: path.clone(), source: source() }).into(),
            crate::authz::AccessError::File(crate::watched_file::FileError::Read { file: path.clone(), source: source() }).into(),
            crate::state::StateError::Io { what: "read", path: path.clone(), source: source() }.into(),
        ];
        for error in errors {
            assert_eq!(error.exit, exit, "{}", error.message);
        }
    }
    let absent =
        PinError::Unreadable { path: "/no/such/file".into(), kind: io::ErrorKind::NotFound, reason: "it is not there".into() };
    assert_eq!(CliError::from(absent).exit, Exit::NotFound);
    let absent = KeystoreError::ModuleUnusable { module: "/no/such/module.so".into(), reason: "it is not there".into() };
    assert_eq!(CliError::from(absent).exit, Exit::NotFound);
    assert_eq!(CliError::from(LedgerError::Absent("/no/such/ledger".into())).exit, Exit::NotFound);
    assert_eq!(
        CliError::from(crate::trust::TrustError::File(crate::watched_file::FileError::Missing("/no/such/file".into()))).exit,
        Exit::NotFound
    );
}

#[test]
fn a_reason_decides_also_where_the_token_itself_was_asked() {
    let absent = CliError::from(KeystoreError::TokenNotFound { wanted: Box::new(TokenSelector::label("a")), seen: Vec::new() });
    assert_eq!((absent.exit, absent.reason.as_deref()), (Exit::Unavailable, Some("HSM_UNAVAILABLE")));
    let there = CliError::from(KeystoreError::TokenExists { label: "a".into() });
    assert_eq!((there.exit, there.reason), (Exit::State, None));
}

#[test]
fn a_code_without_a_reason_still_has_an_exit_code() {
    assert_eq!(CliError::from(RpcError::unavailable("gone")).exit, Exit::Unavailable);
    assert_eq!(CliError::from(RpcError::permission_denied("no")).exit, Exit::Permission);
    assert_eq!(CliError::from(RpcError::unknown("?")).exit, Exit::Other);
}

#[test]
fn the_unit_restarts_the_service_after_the_exit_codes_that_the_page_says() {
    let page = include_str!("../../../docs/cli.md");
    let (_, table) = page.split_once("| Code | Meaning | Reasons | The unit after `serve` |").expect("the table of exit codes");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let documented: Vec<&str> = cells.filter(|cells| cells[4] == "stays ended").map(|cells| cells[1]).collect();
    let unit = include_str!("../../../deploy/stationmaster.service");
    let setting = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).expect("a setting of the unit");
    assert_eq!(setting.split(' ').collect::<Vec<_>>(), documented);

    let is_restarted = |error: ServerError| !documented.contains(&(CliError::from(error).exit as u8).to_string().as_str());
    let io = |kind: io::ErrorKind| ServerError::io("it", kind.into());
    let state = || crate::state::StateError::NotLost(crate::state::Part::Ledger);
    let newer = || LedgerError::Newer { schema: 2, known: 1 };
    for permanent in [
        ServerError::State(state()),
        ServerError::Ledger(newer()),
        ServerError::Held { what: "it".into(), holder: None },
        ServerError::Unfit("a key".into()),
        ServerError::Pin(PinError::NoSource),
        ServerError::Keystore(KeystoreError::PinRejected { pin: "a file".into(), latch: None }),
        io(io::ErrorKind::AddrInUse),
        io(io::ErrorKind::NotFound),
        io(io::ErrorKind::PermissionDenied),
    ] {
        let shown = permanent.to_string();
        assert!(!is_restarted(permanent), "{shown}");
    }
    for passing in [
        ServerError::Keystore(KeystoreError::TokenNotFound { wanted: Box::new(TokenSelector::label("a")), seen: Vec::new() }),
        ServerError::Keystore(KeystoreError::SessionsExhausted),
        ServerError::Ledger(LedgerError::DiskFull),
        io(io::ErrorKind::StorageFull),
        io(io::ErrorKind::TimedOut),
    ] {
        let shown = passing.to_string();
        assert!(is_restarted(passing), "{shown}");
    }
}
