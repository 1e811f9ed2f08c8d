//! Classifies an engine's errors: unavailable, failed, or refused permanently.

use bollard::errors::Error as BollardError;

use crate::{EngineSays, ImageError};

/// Maximum length of an engine's message that is passed on, in characters.
const LONGEST: usize = 400;

/// Converts a client error, and distinguishes an engine that refuses from one that failed and one that is unavailable.
pub(super) fn fault(call: &'static str, error: BollardError) -> ImageError {
    match error {
        BollardError::DockerResponseServerError { status_code: 404, .. } => ImageError::NotFound,
        BollardError::DockerResponseServerError { status_code, message } => said(call, Some(status_code), &message),
        BollardError::DockerStreamError { error } => said(call, None, &error),
        BollardError::JsonDataError { message, .. } => ImageError::Engine { call, detail: plain(&message) },
        other => ImageError::EngineUnavailable(format!("{call}: {other}")),
    }
}

/// Classifies an engine's message by its HTTP status; `status` is `None` if the message came within a response.
pub(super) fn said(call: &'static str, status: Option<u16>, words: &str) -> ImageError {
    let (detail, lower) = (plain(words), words.to_ascii_lowercase());
    let says = |any: &[&str]| any.iter().any(|one| lower.contains(one));
    let why = if says(&["no space left on device", "disk quota exceeded", "not enough space"]) {
        EngineSays::DiskFull
    } else if says(&["read-only file system"]) {
        EngineSays::ReadOnly
    } else if says(&["authorization denied", "operation not permitted", "permission denied"]) || matches!(status, Some(401 | 403))
    {
        EngineSays::Denied
    } else if says(&["max depth exceeded"]) {
        EngineSays::TooManyLayers
    } else if matches!(status, Some(408 | 409 | 429 | 502..=504)) || says(&PASSING) {
        return ImageError::Engine { call, detail };
    } else {
        EngineSays::Other
    };
    ImageError::EngineRefused { call, detail, why }
}

/// Texts of temporary failures, from engines and the software that they are built on.
const PASSING: [&str; 17] = [
    "context canceled",
    "context deadline exceeded",
    "timeout",
    "timed out",
    "connection refused",
    "connection reset",
    "broken pipe",
    "eof",
    "resource busy",
    "temporarily unavailable",
    "try again",
    "too many open files",
    "cannot allocate memory",
    "out of memory",
    "shutting down",
    "in progress",
    "is locked",
];

/// Converts a message to one line of plain text.
fn plain(words: &str) -> String {
    let shown = |character: char| if character == ' ' || character.is_ascii_graphic() { character } else { '?' };
    let mut plain: String = words.trim().replace(['\r', '\n', '\t'], " ").chars().take(LONGEST).map(shown).collect();
    if words.trim().chars().count() > LONGEST {
        plain.push_str("...");
    }
    plain
}

#[cfg(test)]
mod tests {
    use crate::store::docker::engine_error::*;

    #[test]
    fn permanent_errors_are_distinguished_from_transient_ones() {
        use EngineSays::{Denied, DiskFull, Other, ReadOnly, TooManyLayers};
        for (status, words, expected) in [
            (Some(500), "write /var/lib/docker/tmp/x: no space left on device", Some(DiskFull)),
            (None, "ApplyLayer exit status 1: write /a: no space left on device", Some(DiskFull)),
            (Some(500), "mkdir /var/lib/docker/x: read-only file system", Some(ReadOnly)),
            (Some(403), "authorization denied by plugin opa: no", Some(Denied)),
            (None, "max depth exceeded", Some(TooManyLayers)),
            (Some(400), "invalid reference format", Some(Other)),
            (Some(500), "docker-archive: Some layer tarfiles are missing in the tarball", Some(Other)),
            (Some(500), "context canceled", None),
            (Some(409), "removal of container x is already in progress", None),
            (Some(503), "the daemon is shutting down", None),
            (None, "unexpected EOF", None),
        ] {
            let why = match said("load image", status, words) {
                ImageError::EngineRefused { why, detail, .. } => {
                    assert_eq!(detail, words);
                    Some(why)
                }
                _ => None,
            };
            assert_eq!(why, expected, "{status:?} {words}");
        }
    }

    #[test]
    fn words_are_passed_on_as_one_line_of_plain_text() {
        assert_eq!(plain("no\n space\u{1b}[31m\u{202e}left\n"), "no  space?[31m?left");
        assert_eq!(plain(&"x".repeat(2 * LONGEST)).len(), LONGEST + 3);
    }
}
