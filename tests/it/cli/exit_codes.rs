//! One exit code for one kind of fault, whichever command meets it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use openssl::{ec::EcKey, nid::Nid, pkey::PKey};

use super::said;
use crate::support::{PROGRAM, Station, listen_on_tcp};

/// Runs it without a terminal that could be asked, also where the tests have one.
fn run(at: &Path, arguments: &str) -> Output {
    let mut command = Command::new("setsid");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STATIONMASTER_")) {
        command.env_remove(name);
    }
    command.args(["--wait", PROGRAM]).args(arguments.split(' ')).current_dir(at).stdin(Stdio::null()).output().unwrap()
}

/// What each command names with `FILE`, and what a wrong content of it is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// A file of ours, a key, a certificate or a PIN.
    File,
    /// A file that is signed or opened as it is: no content of it is wrong.
    AnyContent,
    /// An archive or a layout directory: what is wrong in it is a reason's.
    Place,
    /// A directory.
    Directory,
}

const COMMANDS: &[(&str, Takes)] = &[
    ("config check --config FILE", Takes::File),
    ("serve --config FILE", Takes::File),
    ("key list --config FILE", Takes::File),
    ("token init --config FILE --so-pin-file pin", Takes::File),
    ("run list --config FILE", Takes::File),
    ("audit show --config FILE", Takes::File),
    ("trust list --file FILE", Takes::File),
    ("trust import FILE --file trust.toml --yes", Takes::File),
    ("trust verify FILE --file trust.toml", Takes::File),
    ("trust add creator x --key FILE --file trust.toml", Takes::File),
    ("access list --file FILE", Takes::File),
    ("access check unix:uid=1 Sign --file FILE", Takes::File),
    ("token init --label x --module text --so-pin-file FILE --pin-file pin", Takes::File),
    ("token init --label x --module text --so-pin-file pin --pin-file FILE", Takes::File),
    ("pin set --label x --module text --so-pin-file FILE --new-pin-file pin", Takes::File),
    ("pin unblock --label x --module text --so-pin-file pin --new-pin-file FILE", Takes::File),
    ("pin change --label x --module text --pin-file FILE --new-pin-file pin", Takes::File),
    ("doctor --config FILE", Takes::File),
    ("token status --config FILE", Takes::File),
    ("audit verify text --key FILE", Takes::File),
    ("train verify --archive text --trust FILE", Takes::File),
    ("train open text --key rsa.pem -o out --trust FILE", Takes::File),
    ("health --address https://localhost:1 --tls-ca FILE --tls-cert text --tls-key text", Takes::File),
    ("sign --key a --scheme rsa-pss-sha256 FILE", Takes::AnyContent),
    ("unwrap --key a --scheme rsa-oaep-sha256 FILE -o opened", Takes::AnyContent),
    ("train verify --archive FILE", Takes::Place),
    ("train inspect --place FILE", Takes::Place),
    ("hash --place FILE", Takes::Place),
    ("image validate --place FILE --master-place FILE", Takes::Place),
    ("run list --state FILE", Takes::Directory),
    ("run prune --older-than 1 --reason x --state FILE", Takes::Directory),
    ("state backup copy --state FILE", Takes::Directory),
    ("audit show --state FILE", Takes::Directory),
];

#[test]
fn a_fault_has_one_exit_code_in_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("directory")).unwrap();
    fs::set_permissions(at("directory"), Permissions::from_mode(0o755)).unwrap();
    for (name, content, mode) in [
        ("text", &b"what this is\xff\n"[..], 0o600),
        ("pin", b"12345678\n", 0o600),
        ("trust.toml", b"version = 1\n", 0o644),
        ("open", b"\xff\n", 0o666),
    ] {
        fs::write(at(name), content).unwrap();
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    let key = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    fs::write(at("rsa.pem"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for &(command, takes) in COMMANDS {
        for (file, exit) in [
            ("absent", Some(3)),
            // It cannot be there: something on the way is a file.
            ("text/below", Some(2)),
            ("directory", matches!(takes, Takes::File | Takes::AnyContent | Takes::Place).then_some(2)),
            ("text", matches!(takes, Takes::File | Takes::Directory).then_some(2)),
        ] {
            let Some(exit) = exit else { continue };
            tried += 1;
            let done = run(directory.path(), &command.replace("FILE", file));
            let is_named = file == "text" || said(&done).contains(file.trim_end_matches("/below"));
            if done.status.code() != Some(exit) || !is_named {
                wrong.push(format!("{command} ({file}): not {exit}: {}", said(&done)));
            }
        }
    }
    // Files that decide something, and that others may write or read.
    for command in [
        "trust list --file open",
        "access list --file open",
        "token init --label x --module text --so-pin-file open --pin-file pin",
        "token init --label x --module text --so-pin-file pin --pin-file open",
    ] {
        tried += 1;
        let done = run(directory.path(), command);
        if done.status.code() != Some(7) || !said(&done).contains("chmod") {
            wrong.push(format!("{command}: not 7: {}", said(&done)));
        }
    }
    assert!(!at("opened").exists(), "a command that could not read its input has made its output");
    assert!(wrong.is_empty() && tried > 100, "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn without_a_terminal_a_prompt_is_a_wrong_argument_and_a_full_disk_is_not_available() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("pin"), "12345678\n").unwrap();
    fs::set_permissions(at("pin"), Permissions::from_mode(0o600)).unwrap();
    for command in [
        "token init --label x --module pin",
        "token init --label x --module pin --so-pin-file pin",
        "pin set --label x --module pin",
        "pin unblock --label x --module pin",
        "pin change --label x --module pin",
    ] {
        let done = run(directory.path(), command);
        assert_eq!(done.status.code(), Some(2), "{command}: {}", said(&done));
        assert!(said(&done).contains("no terminal") && said(&done).contains("-pin-file"), "{command}: {}", said(&done));
    }
    fs::write(at("trust.toml"), "version = 1\n").unwrap();
    let done = run(directory.path(), "trust export --file trust.toml -o /dev/full");
    assert_eq!(done.status.code(), Some(6), "{}", said(&done));
}

#[test]
fn one_pin_for_the_so_and_the_user_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["pin", "so-pin"] {
        fs::write(at(name), "12345678\n").unwrap();
        fs::set_permissions(at(name), Permissions::from_mode(0o600)).unwrap();
    }
    std::os::unix::fs::symlink("pin", at("link")).unwrap();
    for (so, words) in [("pin", "is used for both"), ("link", "is used for both"), ("so-pin", "another SO PIN")] {
        let done = run(directory.path(), &format!("token init --label x --module pin --so-pin-file {so} --pin-file pin"));
        assert_eq!(done.status.code(), Some(2), "{so}: {}", said(&done));
        assert!(said(&done).contains(words), "{so}: {}", said(&done));
    }
}

#[test]
fn a_key_of_another_kind_or_two_keys_in_one_file_are_wrong_content() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let ec = EcKey::generate(&openssl::ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
    fs::write(at("ec.pem"), PKey::from_ec_key(ec).unwrap().private_key_to_pem_pkcs8().unwrap()).unwrap();
    let keys = [(), ()].map(|()| PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap());
    fs::write(at("two.pem"), keys.iter().flat_map(|key| key.public_key_to_pem().unwrap()).collect::<Vec<u8>>()).unwrap();
    fs::write(at("two.key"), keys.iter().flat_map(|key| key.private_key_to_pem_pkcs8().unwrap()).collect::<Vec<u8>>()).unwrap();
    let done = run(directory.path(), "trust add creator x --key two.pem --file trust.toml");
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    assert!(said(&done).contains("contains 2 public keys") && said(&done).contains("none of them is used"), "{}", said(&done));
    let hint = said(&done).split('`').nth(1).expect("a command").to_owned();
    assert!(Command::new("sh").args(["-c", &hint]).current_dir(directory.path()).status().unwrap().success(), "{hint}");
    // The command writes the first key, by itself.
    let first = PKey::private_key_from_pem(&keys[0].private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(at("key.pem"), first.public_key_to_pem().unwrap()).unwrap();

    let first = run(directory.path(), "trust add creator x --key key.pem --file trust.toml");
    assert!(first.status.success() && !said(&first).contains("warning"), "{}", said(&first));
    let second = run(directory.path(), "trust add station y --key key.pem --file trust.toml");
    assert!(second.status.success(), "{}", said(&second));
    for shown in
        [second, run(directory.path(), "trust list --file trust.toml"), run(directory.path(), "trust verify --file trust.toml")]
    {
        assert!(said(&shown).contains("has 2 names: creator x, station y"), "{}", said(&shown));
    }
}

#[test]
fn an_unknown_event_is_refused_with_those_that_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let done = run(directory.path(), "audit show --state . --event trust-change");
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    assert!(said(&done).contains("trust-changed") && said(&done).contains("key-use"), "{}", said(&done));
}

#[test]
fn help_has_as_many_braces_as_the_failure_has() {
    let directory = tempfile::tempdir().unwrap();
    let help = said(&run(directory.path(), "--help"));
    assert!(help.contains(r#"failure is {"error":{"code","reason","message","metadata","hint"}}."#), "{help}");
}

#[test]
fn a_file_system_or_an_unpacked_archive_is_named_with_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["system/etc", "system/usr/bin", "system/proc", "system/opt/pht_train", "system/opt/pht_results"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("system/etc/hosts"), "").unwrap();
    std::os::unix::fs::symlink("usr/bin", at("system/bin")).unwrap();
    fs::create_dir_all(at("saved/blobs")).unwrap();
    fs::write(at("saved/manifest.json"), "[]").unwrap();
    fs::create_dir_all(at("layouts/train")).unwrap();
    fs::write(at("layouts/train/oci-layout"), "{}").unwrap();
    for script in ["tar -C system -cf export.tar bin etc opt proc usr", "tar -C system -cf dotted.tar ."] {
        assert!(Command::new("sh").args(["-c", script]).current_dir(directory.path()).status().unwrap().success());
    }
    for command in [
        "train verify --archive FILE",
        "train open FILE --key rsa.pem -o out",
        "train inspect --place FILE",
        "hash --place FILE",
        "image validate --place FILE --master-place FILE",
    ] {
        for (file, exit, words) in [
            ("export.tar", 4, "`docker commit CONTAINER IMAGE && docker save IMAGE -o FILE`"),
            ("dotted.tar", 4, "`docker commit CONTAINER IMAGE && docker save IMAGE -o FILE`"),
            ("system", 2, "a container's or an image's file system"),
            ("saved", 2, "an archive of `docker save`, unpacked"),
            ("layouts", 2, "name one of them, such as layouts/train"),
        ] {
            let done = run(directory.path(), &command.replace("FILE", file));
            assert_eq!(done.status.code(), Some(exit), "{command} {file}: {}", said(&done));
            assert!(said(&done).contains(words), "{command} {file}: {}", said(&done));
        }
    }
}

#[test]
fn a_service_that_cannot_listen_ends_with_the_code_of_the_cause() {
    let mut station = Station::with("a").start_configured(listen_on_tcp);
    station.stop();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let pki = station.state().join("pki");
    fs::set_permissions(pki.join("server.pem"), Permissions::from_mode(0o644)).unwrap();
    fs::copy(pki.join("server.pem"), pki.join("closed.pem")).unwrap();
    fs::set_permissions(pki.join("closed.pem"), Permissions::from_mode(0o600)).unwrap();
    fs::copy(pki.join("server.key"), pki.join("open.key")).unwrap();
    fs::set_permissions(pki.join("open.key"), Permissions::from_mode(0o644)).unwrap();
    let at = |name: &str| pki.join(name).to_str().unwrap().to_owned();
    for (setting, value, exit, words) in [
        ("address", port, 5, "ss -ltnp"),
        // An address for documentation (RFC 5737), which no machine has.
        ("address", "192.0.2.1:1".to_owned(), 2, "ip address"),
        ("cert", at("absent.pem"), 3, "absent.pem"),
        ("client_ca", at("absent.pem"), 3, "absent.pem"),
        ("client_crl", at("absent.pem"), 3, "absent.pem"),
        ("key", at("open.key"), 7, "chmod 600"),
        ("key", at(""), 2, "is a directory"),
        ("key", at("closed.pem"), 2, "is a certificate"),
        ("cert", at("server.key"), 2, "is a PRIVATE key"),
        ("client_ca", at("server.key"), 2, "is a PRIVATE key"),
    ] {
        let before = station.log().len();
        station.configure(|config| {
            listen_on_tcp(config);
            let tcp = config["listen"]["tcp"].as_table_mut().unwrap();
            tcp.insert(setting.to_owned(), value.clone().into());
        });
        station.spawn();
        let ended = station.wait();
        let told = station.log().split_off(before);
        assert_eq!(ended.code(), Some(exit), "{setting} = {value}: {told}");
        assert!(told.contains(words) && !told.contains("TLS: TLS:"), "{setting} = {value}: {told}");
    }
}
