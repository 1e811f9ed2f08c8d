//! Tests of the sources of a PIN, and of the refusals of each.

#![expect(unsafe_code, reason = "changes the environment of the test")]

use std::{os::unix::fs::PermissionsExt, path::Path};

use secrecy::ExposeSecret;

use super::{PinError, resolve};

fn read_from(file: &Path) -> Result<String, PinError> {
    Ok(resolve(Some(file), None, None, false)?.read()?.expose_secret().to_owned())
}

fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    file
}

#[test]
fn the_first_line_is_the_pin() {
    for text in ["12 34", "12 34\n", "12 34\r\n", "12 34\n\n", "12 34\nkept by: it-security, ticket 4711\n", "12 34\r\nsecond"] {
        assert_eq!(read_from(file(text, 0o600).path()).unwrap(), "12 34", "{text:?}");
    }
    for text in ["", "\n", "\r\n", "\n1234\n"] {
        let file = file(text, 0o600);
        let refused = resolve(Some(file.path()), None, None, false).unwrap_err();
        assert!(matches!(refused, PinError::Malformed { .. }), "{text:?}: {refused:?}");
        assert!(refused.to_string().contains(file.path().to_str().unwrap()), "{text:?}: {refused}");
    }
}

#[test]
fn a_file_open_to_others_is_refused_with_the_cure() {
    for mode in [0o640, 0o604, 0o660] {
        let error = resolve(Some(file("1234", mode).path()), None, None, false).unwrap_err();
        assert!(error.to_string().contains("chmod 600") && !error.to_string().contains("1234"), "{error}");
    }
}

#[test]
fn a_named_file_that_is_missing_is_not_passed_over() {
    let missing = Path::new("/nonexistent/pin");
    assert!(matches!(resolve(Some(missing), Some("PATH"), None, false), Err(PinError::Unreadable { .. })));
    assert!(matches!(resolve(None, None, None, false), Err(PinError::NoSource)));
}

#[test]
fn a_source_that_is_named_and_not_there_is_what_the_message_is_about() {
    let credential = resolve(None, None, Some("pin"), false).unwrap_err();
    assert!(
        credential.to_string().contains("\"pin\"") && credential.to_string().contains("CREDENTIALS_DIRECTORY"),
        "{credential}"
    );
    let hint = credential.hint().unwrap();
    assert!(hint.contains("systemd-run") && hint.contains("--pin-file"), "{hint}");
    let variable = resolve(None, Some("STATIONMASTER_NO_SUCH_PIN"), None, false).unwrap_err();
    assert!(variable.to_string().contains("STATIONMASTER_NO_SUCH_PIN"), "{variable}");
}

#[test]
fn a_file_is_read_anew_and_a_variable_is_kept() {
    let file = file("1234", 0o600);
    let source = resolve(Some(file.path()), None, None, false).unwrap();
    std::fs::write(file.path(), "5678").unwrap();
    assert_eq!(source.read().unwrap().expose_secret(), "5678");
    source.check().unwrap();
    for text in ["", "\n", "\r\n5678"] {
        std::fs::write(file.path(), text).unwrap();
        assert!(matches!(source.check(), Err(PinError::Malformed { .. })), "{text:?}");
    }
    std::fs::remove_file(file.path()).unwrap();
    assert!(matches!(source.read(), Err(PinError::Unreadable { .. })));
    assert!(source.check().unwrap_err().to_string().contains(file.path().to_str().unwrap()));

    let name = "STATIONMASTER_TEST_PIN";
    // SAFETY: no other test names this variable, and none lists them all.
    unsafe { std::env::set_var(name, "90\n") };
    let source = resolve(None, Some(name), Some("no-credential"), false).unwrap();
    assert_eq!(std::env::var(name).as_deref(), Ok(""));
    assert_eq!((source.read().unwrap().expose_secret(), source.read().unwrap().expose_secret()), ("90", "90"));
    assert!(!format!("{source:?}").contains("90"));
}
