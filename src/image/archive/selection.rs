//! Which image of several is meant: by a name that the files give it, or by a digest.

use crate::image::ImageError;

/// Names that an error lists.
const LISTED: usize = 20;
/// Longest of them, in characters.
const LONGEST: usize = 200;

/// Whether one of an image's names, or its digest, is what was asked for. Docker's short forms are the long ones.
pub(in crate::image) fn is(wanted: &str, name: &str) -> bool {
    name == wanted || whole(name) == whole(wanted)
}

/// `docker.io/library/x` is `x`, and without a tag it is `latest`.
pub(in crate::image) fn whole(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

/// That there are several, or none of the name that was asked for. The names are foreign text: only plain ones are told.
pub(in crate::image) fn not_one<'a>(is_named: bool, names: impl Iterator<Item = &'a str>) -> ImageError {
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
