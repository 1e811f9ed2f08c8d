//! Selects one of several images by a name in its files, or by its digest.

use crate::ImageError;

/// Maximum number of names listed in an error.
const LISTED: usize = 20;
/// Maximum length of a listed name, in characters.
const LONGEST: usize = 200;

/// Whether one of an image's names, or its digest, is the requested one. Docker's short forms equal the long ones.
pub(crate) fn is(wanted: &str, name: &str) -> bool {
    name == wanted || whole(name) == whole(wanted)
}

/// Expands Docker's short forms: `docker.io/library/x` is `x`, and without a tag it is `latest`.
pub(crate) fn whole(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

/// Returns the error for several images, or none of the requested name. The names are untrusted text: only plain ones are
/// listed.
pub(crate) fn not_one<'a>(is_named: bool, names: impl Iterator<Item = &'a str>) -> ImageError {
    let is_plain = |name: &&str| name.len() <= LONGEST && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    let mut names: Vec<String> = names.filter(is_plain).map(str::to_owned).collect();
    names.dedup();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    ImageError::NotOne { is_named, names: names.join(", ") }
}
