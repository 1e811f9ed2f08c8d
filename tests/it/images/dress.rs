//! Honest input in another dress: packed anew by hand, several images in one archive, compressed, or another kind of file altogether.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use super::{inputs::hash, offline};
use crate::support::{PROGRAM, tamper::Scene};

fn said(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

/// Runs a program that must do well.
fn run(program: &str, arguments: &[&str], at: &Path) -> Vec<u8> {
    let done = Command::new(program).args(arguments).current_dir(at).output().expect(program);
    assert!(done.status.success(), "{program} {arguments:?}: {}", said(&done));
    done.stdout
}

/// Every command that reads an image or a train from a file, and needs neither service nor engine.
fn commands(file: &str, out: &str) -> Vec<Vec<String>> {
    let all = [
        vec!["hash", "--place", file],
        vec!["image", "validate", "--place", file, "--master-place", file],
        vec!["train", "inspect", "--place", file],
        vec!["train", "verify", "--archive", file],
        vec!["train", "open", file, "-o", out, "--key", "/nowhere.pem"],
    ];
    all.into_iter().map(|command| command.into_iter().map(str::to_owned).collect()).collect()
}

#[test]
fn a_file_of_another_kind_is_named_with_the_command_that_converts_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("x"), [7; 5000]).unwrap();
    run("tar", &["-cf", "x.tar", "x"], directory.path());
    for program in ["gzip", "xz", "zstd", "bzip2"] {
        let compressed = run(program, &["-c", "x.tar"], directory.path());
        fs::write(at(program), compressed).unwrap();
    }
    fs::write(at("JSON"), b"{\"schemaVersion\":2}").unwrap();
    fs::write(at("zip"), [&b"PK\x03\x04"[..], &[7; 3000]].concat()).unwrap();
    fs::write(at("7z"), [&b"7z\xbc\xaf\x27\x1c"[..], &[7; 3000]].concat()).unwrap();
    fs::write(at("empty"), b"").unwrap();
    let kinds = [
        ("gzip", "gunzip -c"),
        ("xz", "xz -dc"),
        ("zstd", "zstd -dc"),
        ("bzip2", "bunzip2 -c"),
        ("JSON", "docker save"),
        ("zip", "bsdtar -cf -"),
        ("7z", "bsdtar -cf -"),
        ("empty", "docker save"),
    ];
    for (kind, command) in kinds {
        // Each command once is enough: they all read through one reader.
        let some = if kind == "gzip" { 0..5 } else { 3..4 };
        for arguments in &commands(&at(kind), &at("out"))[some] {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let done = offline(&arguments);
            let said = said(&done);
            assert!(!done.status.success() && said.contains("ARCHIVE_MALFORMED"), "{arguments:?}: {said}");
            assert!(said.contains("no tar archive") && said.contains(kind) && said.contains(command), "{arguments:?}: {said}");
        }
    }
    // The command does what it says: what is then read is a tar archive, if of nothing that is known.
    let plain = run("gunzip", &["-c", &at("gzip")], directory.path());
    let mut verify = Command::new(PROGRAM);
    verify.args(["train", "verify", "--archive", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut verify = verify.spawn().unwrap();
    verify.stdin.take().unwrap().write_all(&plain).unwrap();
    let said = said(&verify.wait_with_output().unwrap());
    assert!(said.contains("neither /opt, nor what the extractor delivers"), "{said}");
}

#[test]
fn what_was_packed_anew_or_with_other_images_is_read_by_every_command() {
    let scene = Scene::set();
    let run_of = scene.pre_run().unwrap();
    crate::support::tamper::run_script(&scene.engine, &scene.train.image, crate::support::tamper::RESULTS);
    scene.station.post_run(&run_of.run_id).unwrap();
    let (train, base) = (scene.train.image.clone(), format!("{}:base", scene.train.repository));
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    run("docker", &["save", "-o", "one.tar", &train], directory.path());
    run("docker", &["save", "-o", "both.tar", &base, &train], directory.path());
    run("docker", &["create", "--name", &run_of.run_id, &train, "x"], directory.path());
    let opt = run("docker", &["cp", &format!("{}:/opt", run_of.run_id), "-"], directory.path());
    run("docker", &["rm", &run_of.run_id], directory.path());
    fs::write(at("opt.tar"), opt).unwrap();
    // As a person does it: unpacked, and packed again from within.
    for name in ["one", "both", "opt"] {
        fs::create_dir(at(name)).unwrap();
        run("tar", &["-xf", &at(&format!("{name}.tar")), "-C", name], directory.path());
        run("tar", &["-C", name, "-cf", &format!("{name}-anew.tar"), "."], directory.path());
    }
    let key = scene.train.creator_key();
    let key = key.to_str().unwrap();
    let out = |what: &str| at(&format!("out-{what}"));
    let digest = hash(&at("one.tar")).unwrap()["tree_digest"].clone();
    for (file, image) in [("one.tar", None), ("one-anew.tar", None), ("both.tar", Some(&train)), ("both-anew.tar", Some(&train))]
    {
        let which = image.map_or(vec![], |image| vec!["--image", image.as_str()]);
        let place = at(file);
        let told = |arguments: &[&str]| -> Value {
            let done = offline(&[arguments, &which, &["--output", "json"]].concat());
            assert!(done.status.success(), "{file} {arguments:?}: {}", said(&done));
            serde_json::from_slice(&done.stdout).unwrap()
        };
        assert_eq!(told(&["hash", "--place", &place])["tree_digest"], digest, "{file}");
        assert_eq!(told(&["train", "verify", "--archive", &place])["holds"], true, "{file}");
        assert_eq!(told(&["train", "inspect", "--place", &place])["missing"], Value::Array(vec![]), "{file}");
        let opened = told(&["train", "open", &place, "--key", key, "-o", &out(&format!("open-{file}"))]);
        assert_eq!(opened["code_verified"], true, "{file}: {opened}");
        if image.is_none() {
            continue;
        }
        // Without its name each of them is listed; of another name none is taken.
        for which in [&[][..], &["--image", "harbor.example/other:x"]] {
            let done = offline(&[&["train", "verify", "--archive", &place], which].concat());
            let said = said(&done);
            assert!(!done.status.success() && said.contains(&train) && said.contains(&base), "{file}: {said}");
        }
        let ours = ["image", "validate", "--place", &place, "--image", &train, "--master-place", &place, "--master-image", &base];
        let done = offline(&ours);
        assert!(said(&done).contains("layers-of-master"), "{file}: {}", said(&done));
    }
    for file in ["opt.tar", "opt-anew.tar", "one-anew.tar"] {
        let done = scene.station.client_command(&["train", "results", &at(file), "-o", &out(file)]).output().unwrap();
        assert!(done.status.success(), "{file}: {}", said(&done));
        assert!(fs::read_dir(out(file)).unwrap().next().is_some(), "{file}: results were written");
    }
    let done = offline(&["train", "verify", "--archive", &at("opt-anew.tar")]);
    assert!(said(&done).contains("no rule is broken"), "{}", said(&done));
}
