//! Compares the configurations of an image and of its master (OCI config.md), field by field.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Difference, Differences, ImageRule};

/// Fields that may differ from the master's: the command is checked by its shape, labels are never run, and the rest describes
/// the container that the image was made from and has no effect on containers made from the image.
const FREE: [&str; 12] = [
    "Cmd",
    // Used on Windows only, and written by some builders.
    "ArgsEscaped",
    "Labels",
    "Hostname",
    "Domainname",
    "Image",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
];
/// Fields of the platform that an image runs on (OCI config.md); they are outside of `config`.
const PLATFORM: [&str; 5] = ["architecture", "os", "variant", "os.version", "os.features"];
/// Maximum number of arguments of a command.
const ARGUMENTS: usize = 64;
/// Shells, which run any text as a program.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "busybox", "env"];

/// Compares `config` objects, and checks the command's shape.
pub fn compare(master: &Map<String, Value>, image: &Map<String, Value>, found: &mut Differences) {
    let names: BTreeSet<&String> = master.keys().chain(image.keys()).filter(|name| !FREE.contains(&name.as_str())).collect();
    for name in names {
        let (expected, is) = (setting(master, name), setting(image, name));
        // A master's `OnBuild` applies to its child images, which do not inherit it.
        if !(name == "OnBuild" && is.is_none()) {
            compare_field(name, expected, is, found);
        }
    }
    if field_value(master.get("Cmd")) == field_value(image.get("Cmd")) {
        return;
    }
    if let Err(allowed) = shape(image.get("Cmd")) {
        found.add(Difference {
            rule: ImageRule::CommandShape,
            what: "config",
            place: b"Cmd".to_vec(),
            expected: allowed.to_owned(),
            found: display(image.get("Cmd")),
        });
    }
}

/// Compares the platforms of two images: a host that emulates others would run the train with another interpreter.
pub fn compare_platforms(master: &Map<String, Value>, image: &Map<String, Value>, found: &mut Differences) {
    let field = |platform: &Map<String, Value>, name: &str| {
        let architecture = platform.get("architecture").and_then(Value::as_str);
        // Writers omit the default variant.
        let goes_without_saying = |value: &Value| {
            let variant = (architecture, value.as_str());
            name == "variant"
                && matches!(variant, (Some("amd64"), Some("v1")) | (Some("arm"), Some("v7")) | (Some("arm64"), Some("v8")))
        };
        field_value(platform.get(name)).filter(|value| !goes_without_saying(value)).cloned()
    };
    for name in PLATFORM {
        compare_field(name, field(master, name).as_ref(), field(image, name).as_ref(), found);
    }
}

fn compare_field(name: &str, expected: Option<&Value>, is: Option<&Value>, found: &mut Differences) {
    if expected != is {
        found.add(Difference {
            rule: ImageRule::ImageConfig,
            what: "config",
            place: name.as_bytes().to_vec(),
            expected: display(expected),
            found: display(is),
        });
    }
}

fn setting<'a>(config: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    // Programs start in the root if no directory is set.
    field_value(config.get(name)).filter(|value| !(name == "WorkingDir" && *value == "/"))
}

/// Returns a field's value; there are many spellings of an unset one.
fn field_value(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    })
}

fn display(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// Checks the shape of a train's command: a list whose first word is a program of the master and not a shell, and whose paths
/// lead to the train's code.
fn shape(command: Option<&Value>) -> Result<(), &'static str> {
    const LIST: &str = "a list of 1 to 64 words";
    let words: Option<Vec<&str>> = command.and_then(Value::as_array).and_then(|list| list.iter().map(Value::as_str).collect());
    let words = words.filter(|words| (1..=ARGUMENTS).contains(&words.len())).ok_or(LIST)?;
    let (program, arguments) = (parts(words[0]), &words[1..]);
    match program[..] {
        [] => return Err("a program"),
        [.., name] if SHELLS.contains(&name) => return Err("a program that is no shell"),
        // By name or absolute path: a relative path depends on the working directory.
        [_, _, ..] if !words[0].starts_with('/') || is_of_train(&program) || program.contains(&"..") => {
            return Err("a program of the master's");
        }
        _ => {}
    }
    let leads_out = |word: &str| {
        let path = parts(word);
        word.starts_with('/') && (!is_of_train(&path) || path.contains(&".."))
    };
    if arguments.iter().any(|word| leads_out(word)) {
        return Err("paths below /opt/pht_train or /opt/pht_results only");
    }
    Ok(())
}

/// Returns a path's components, as the system reads them.
fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

fn is_of_train(path: &[&str]) -> bool {
    matches!(path, ["opt", "pht_train" | "pht_results", ..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::checks::master::config::*;

    fn differences(master: Value, image: Value) -> Vec<(ImageRule, String)> {
        let mut found = Differences::default();
        compare(master.as_object().unwrap(), image.as_object().unwrap(), &mut found);
        found.kept.into_iter().map(|one| (one.rule, String::from_utf8(one.place).unwrap())).collect()
    }

    #[test]
    fn every_field_but_command_and_labels_must_be_the_masters() {
        let master = json!({ "Env": ["PATH=/bin"], "User": "", "Cmd": ["python3"], "Labels": null });
        assert_eq!(differences(master.clone(), json!({ "Env": ["PATH=/bin"], "Labels": { "a": "b" }, "Cmd": ["python3"] })), []);
        let mut child = master.clone();
        (child["WorkingDir"], child["ArgsEscaped"]) = (json!("/"), json!(true));
        let mut asks = master.clone();
        asks["OnBuild"] = json!(["RUN x"]);
        assert_eq!(differences(asks, child), [], "what a builder writes otherwise and means the same");
        for (name, value) in [
            ("Env", json!(["PATH=/bin", "LD_PRELOAD=/opt/pht_train/x.so"])),
            ("Entrypoint", json!(["/opt/pht_train/x"])),
            ("User", json!("0")),
            ("Volumes", json!({ "/etc": {} })),
            ("OnBuild", json!(["RUN x"])),
            ("WorkingDir", json!("/opt/pht_train")),
            ("Shell", json!(["/opt/x"])),
            ("Healthcheck", json!({ "Test": ["CMD", "x"] })),
            ("Unheard", json!(1)),
        ] {
            let mut image = master.clone();
            image[name] = value;
            assert_eq!(differences(master.clone(), image), [(ImageRule::ImageConfig, name.to_owned())], "{name}");
        }
    }

    #[test]
    fn an_image_runs_on_its_masters_machine() {
        let count = |master: Value, image: Value| {
            let mut found = Differences::default();
            compare_platforms(master.as_object().unwrap(), image.as_object().unwrap(), &mut found);
            found.breaking(ImageRule::ImageConfig)
        };
        let arm = json!({ "architecture": "arm64", "os": "linux", "variant": "v8" });
        for (differences, image) in [
            (0, json!({ "architecture": "arm64", "os": "linux", "os.version": "", "author": "x" })),
            (1, json!({ "architecture": "arm64", "os": "linux", "variant": "v9" })),
            (1, json!({ "architecture": "arm64", "os": "linux", "os.version": "10" })),
            (2, json!({ "architecture": "arm", "variant": "v7" })),
        ] {
            assert_eq!(count(arm.clone(), image.clone()), differences, "{image}");
        }
    }

    #[test]
    fn a_command_is_a_program_with_plain_arguments() {
        let of = |command: Value| differences(json!({ "Cmd": ["python3"] }), json!({ "Cmd": command })).is_empty();
        assert!(of(json!(["python", "/opt/pht_train/entrypoint.py"])));
        assert!(of(json!(["Rscript", "--vanilla", "/opt/pht_train/run.R", "/opt/pht_results/out"])));
        for bad in [
            json!("python"),
            json!(["sh", "-c", "x"]),
            json!(["/bin/bash", "x"]),
            json!(["/opt/pht_train/x"]),
            json!(["python", "/etc/x.py"]),
            json!(["python", "/opt/pht_train_evil/x.py"]),
            json!(["python", "/opt/pht_results_evil/x.py"]),
            json!(["//opt/./pht_train/x"]),
            json!(["opt/pht_train/x"]),
            json!(["/"]),
            json!(["python", "/opt/pht_train/../../etc/x.py"]),
            json!(["python", 1]),
            json!([""]),
        ] {
            assert!(!of(bad.clone()), "{bad}");
        }
    }
}
