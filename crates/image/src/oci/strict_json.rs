//! Strict JSON of image documents, which all readers interpret alike.
//!
//! Engines match a field's name in any case, and merge a duplicate field; other readers match the exact name and use the last
//! one. So neither may occur where a field has a meaning. Maps of free keys (labels, annotations) are not checked.

use serde::Deserialize;
use stationmaster_train::json::Json;

use crate::ImageError;

/// Fields of the documents themselves: index, manifest, configuration, and an image in `manifest.json`.
const DOCUMENT: [&str; 12] = [
    "config",
    "rootfs",
    "history",
    "layers",
    "manifests",
    "mediaType",
    "schemaVersion",
    "architecture",
    "os",
    "variant",
    "os.version",
    "os.features",
];
const DOCKER: [&str; 3] = ["Config", "Layers", "RepoTags"];
/// Fields of `rootfs` and of descriptors (OCI descriptor.md).
const INNER: [&str; 8] = ["diff_ids", "type", "digest", "mediaType", "size", "urls", "annotations", "platform"];
/// Fields of a configuration's `config` (OCI config.md), with Docker's additional ones. A null field counts as not set, so an
/// engine that accepts another spelling of the field would hide a value.
const SETTINGS: [&str; 26] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "StopTimeout",
    "Memory",
    "MemorySwap",
    "CpuShares",
    "Healthcheck",
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "ArgsEscaped",
    "Image",
    "OnBuild",
    "Shell",
];
/// Fields of a descriptor's platform.
const PLATFORM: [&str; 2] = ["architecture", "os"];

/// Parses a document; `what` names it in errors.
pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &'static str) -> Result<T, ImageError> {
    check(bytes)?;
    serde_json::from_slice(bytes).map_err(|_| ImageError::Malformed(what))
}

/// Rejects a document that two readers could interpret differently.
fn check(bytes: &[u8]) -> Result<(), ImageError> {
    match Json::parse(bytes).map_err(|_| ImageError::Malformed("a document that is no JSON, or names a field twice"))? {
        Json::Array(images) => images.iter().try_for_each(|image| check_field_names(image, &DOCKER)),
        document => {
            check_field_names(&document, &DOCUMENT)?;
            let Json::Object(fields) = &document else { return Ok(()) };
            let has = |wanted: &str| fields.iter().any(|(name, _)| name == wanted);
            if has("manifests") && ["config", "layers", "rootfs"].into_iter().any(has) {
                return Err(ImageError::Malformed("a document that is a list of manifests and an image, too"));
            }
            fields.iter().try_for_each(|(name, value)| match (name.as_str(), value) {
                ("config", inner) => check_field_names(inner, &INNER).and_then(|()| check_field_names(inner, &SETTINGS)),
                ("rootfs", inner) => check_field_names(inner, &INNER),
                ("layers" | "manifests", Json::Array(all)) => all.iter().try_for_each(descriptor),
                _ => Ok(()),
            })
        }
    }
}

fn descriptor(one: &Json) -> Result<(), ImageError> {
    check_field_names(one, &INNER)?;
    let Json::Object(fields) = one else { return Ok(()) };
    let mut platforms = fields.iter().filter(|(name, _)| *name == "platform");
    platforms.try_for_each(|(_, platform)| check_field_names(platform, &PLATFORM))
}

fn check_field_names(object: &Json, names: &[&str]) -> Result<(), ImageError> {
    let Json::Object(fields) = object else { return Ok(()) };
    let is_other = |name: &str| names.iter().any(|known| *known != name && case_folded(known) == case_folded(name));
    match fields.iter().any(|(name, _)| is_other(name)) {
        true => Err(ImageError::Malformed("a field in another spelling: engines take it, others do not")),
        false => Ok(()),
    }
}

/// Folds case as Go compares names: letters with the same capital letter are equal.
fn case_folded(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use crate::oci::strict_json::*;

    #[test]
    fn a_field_has_one_name_and_stands_once() {
        for (good, text) in [
            (true, r#"{"config":{"Labels":{"a":"1","A":"2","Config":""},"User":""},"rootfs":{"type":"layers","diff_ids":[]}}"#),
            (true, r#"[{"Config":"c","Layers":[],"RepoTags":null}]"#),
            (true, r#"{"manifests":[{"digest":"d","annotations":{"Digest":"x"}}]}"#),
            (false, r#"{"config":{"User":"0"},"config":{"Env":[]}}"#),
            (false, r#"{"config":{},"Config":{"User":"0"}}"#),
            (false, r#"{"config":{"User":"0","User":""}}"#),
            (false, r#"{"rootfs":{"diff_ids":[],"Diff_Ids":[]}}"#),
            (false, "{\"rootf\u{17f}\":{}}"),
            (false, r#"{"config":{"User":"app","user":""}}"#),
            (false, r#"{"config":{"entrypoint":null}}"#),
            (false, "{\"config\":{\"u\u{17f}er\":\"\"}}"),
            (false, r#"{"layers":[{"Digest":"d"}]}"#),
            (false, r#"{"manifests":[{"digest":"d","platform":{"os":"unknown","OS":"linux"}}]}"#),
            (false, r#"{"manifests":[],"layers":[]}"#),
            (false, r#"[{"Config":"c","config":"d","Layers":[]}]"#),
            (false, "{"),
        ] {
            assert_eq!(check(text.as_bytes()).is_ok(), good, "{text}");
        }
    }
}
