//! The creator's key: in a file, in a token, the wrong one.

use std::{fs, process::Command};

use openssl::{pkey::PKey, rsa::Rsa, symm::Cipher};

use super::{alone, answer, written};
use crate::support::tamper::{RESULTS, Scene, run_script};

#[test]
fn a_key_in_a_file_or_in_a_token_opens_what_its_owner_made_and_no_other_does() {
    let scene = Scene::set();
    let image = scene.train.image.as_str();
    let file = |name: &str| scene.train.directory().join(name);
    let text = |name: &str| file(name).to_str().unwrap().to_owned();
    let archive = |name: &str| {
        fs::write(file(name), crate::support::tamper::fetched(&scene.engine, image, "/opt")).unwrap();
        text(name)
    };
    let key = scene.train.creator_key().to_str().unwrap().to_owned();
    let early = archive("early.tar");
    answer(alone(&["train", "open", "--key", &key, &early, "-o", &text("early")]), 4);
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, image, RESULTS);
    scene.station.post_run(&run.run_id).unwrap();
    let home = archive("home.tar");
    let expected = |to: &str| {
        let files = written(&file(to));
        assert_eq!(files["d/a"], b"PLAINTEXT-CANARY-RESULT\n");
        assert_eq!(files.len(), 2);
    };

    // As the desktop application keeps it.
    let pem = PKey::private_key_from_pem(&fs::read(&key).unwrap()).unwrap();
    fs::write(file("locked.pem"), pem.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap()).unwrap();
    let locked = |to: &str| alone(&["train", "open", "--key", &text("locked.pem"), &home, "-o", &text(to)]);
    let mut with = locked("locked");
    with.env("STATIONMASTER_PIN", "secret");
    answer(with, 0);
    expected("locked");
    let mut wrong = locked("wrong");
    wrong.env("STATIONMASTER_PIN", "guessed");
    answer(wrong, 7);

    fs::write(file("other.pem"), Rsa::generate(2048).unwrap().private_key_to_pem().unwrap()).unwrap();
    answer(alone(&["train", "open", "--key", &text("other.pem"), &home, "-o", &text("other")]), 4);
    assert!(!file("other").exists() && !file("wrong").exists() && !file("early").exists());

    // Wherever it lies: what came through a registry is compressed.
    crate::support::skopeo_layouts::skopeo(&format!("docker-daemon:{image}"), &format!("oci:{}:t", text("layout")), &[]);
    crate::support::skopeo_layouts::skopeo(
        &format!("oci:{}:t", text("layout")),
        &format!("oci-archive:{}", text("oci.tar")),
        &[],
    );
    for (train, to) in [("layout", "of-layout"), ("layout:t", "of-tag"), ("oci.tar", "of-oci")] {
        answer(alone(&["train", "open", "--key", &key, &text(train), "-o", &text(to)]), 0);
        expected(to);
    }

    // In a token.
    let conf = scene.station.softhsm_conf();
    fs::write(file("pkcs8.pem"), pem.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let imported = Command::new("softhsm2-util")
        .env("SOFTHSM2_CONF", &conf)
        .args(["--import", &text("pkcs8.pem"), "--token", "stationmaster-dev", "--label", "the creator", "--id", "c4ea"])
        .args(["--pin", &scene.station.pin()])
        .output()
        .unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let uri = "pkcs11:token=stationmaster-dev;object=the%20creator";
    let pin = scene.station.state().join("pin");
    let mut from_token =
        alone(&["train", "open", "--key", uri, "--pin-file", pin.to_str().unwrap(), &home, "-o", &text("token"), "--path", "d"]);
    from_token.env("SOFTHSM2_CONF", &conf);
    answer(from_token, 0);
    assert_eq!(written(&file("token")).into_keys().collect::<Vec<_>>(), ["d/a"]);
}
