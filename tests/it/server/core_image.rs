//! No core image of the service holds a PIN or a train's key, whatever was asked of it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use openssl::rsa::{Padding, Rsa};
use stationmaster_proto::{OpenInto, SignatureScheme, WrappingScheme, key_service_client::KeyServiceClient};

use super::limits::honest::Honest;
use crate::support::{
    Mode, PROGRAM, Peer, Station, Train, block_on,
    core_image::{Searched, search},
    listen_on_tcp,
    mounts::run_opened,
    set,
    tamper::{Scene, fetched, refused},
    wait_for,
};

/// A station that has the secrets that are looked for, and what a search of it must find.
struct Searching<'a> {
    station: &'a Station,
    secrets: BTreeMap<String, Vec<u8>>,
    /// The first bytes of the TLS certificate: public, and in memory as long as the service is.
    public: Vec<u8>,
    hits: usize,
    searches: usize,
}

impl<'a> Searching<'a> {
    fn of(station: &'a Station) -> Self {
        let pin = station.pin();
        let secrets = BTreeMap::from([
            ("PIN".to_owned(), pin.clone().into_bytes()),
            ("PIN's bytes".to_owned(), const_hex::decode(pin).expect("hex digits")),
        ]);
        let pem = fs::read_to_string(station.state().join("pki/server.pem")).expect("the certificate");
        let der = openssl::x509::X509::from_pem(pem.as_bytes()).unwrap().to_der().unwrap();
        Self { station, secrets, public: der[..64].to_vec(), hits: 0, searches: 0 }
    }

    fn know(&mut self, name: &str, secret: impl Into<Vec<u8>>) {
        self.secrets.insert(name.to_owned(), secret.into());
    }

    /// Searches, and says what was found; the end of the test counts.
    #[track_caller]
    fn after(&mut self, call: &str) {
        let secrets = self.secrets.iter().map(|(name, secret)| (name.as_str(), secret.as_slice()));
        let found = search(self.station.pid(), secrets.chain([("public", self.public.as_slice())]));
        assert!(found.forms_of("public").contains_key("raw"), "after {call}: a search that does not find what is there");
        let hits: Vec<_> = found.hits.iter().filter(|hit| hit.secret != "public").collect();
        let (mib, secrets, guarded) = (found.bytes >> 20, self.secrets.len(), guarded(&found));
        eprintln!("after {call}: {mib} MiB, {guarded} places left out, {secrets} secrets, hits {}", hits.len());
        assert!(guarded > 0, "after {call}: the salt of the PINs' marks is not guarded");
        hits.iter().for_each(|hit| eprintln!("    {hit:?}"));
        only_what_cores_lack(&found);
        self.hits += hits.len();
        self.searches += 1;
    }

    #[track_caller]
    fn end(self) {
        eprintln!("core image: {} searches, hits {}", self.searches, self.hits);
        assert_eq!(self.hits, 0);
    }
}

#[track_caller]
fn only_what_cores_lack(found: &Searched) {
    for left in &found.left_out {
        let known = left.why == "not dumped" || ["secretmem", "vvar", "vsyscall"].iter().any(|name| left.name.contains(name));
        assert!(known, "unread: {left:?}");
    }
}

/// Pages that the service keeps out of its core images.
fn guarded(found: &Searched) -> usize {
    found.left_out.iter().filter(|left| left.why == "not dumped" || left.name.contains("secretmem")).count()
}

/// OAEP (RFC 8017 §7.1.1) with SHA-512 and a seed of ours: what the token's raw RSA answers.
fn oaep_block(message: &[u8], length: usize) -> Vec<u8> {
    use sha2::{Digest, Sha512};
    let mask = |target: &mut [u8], seed: &[u8]| {
        for (counter, chunk) in (0u32..).zip(target.chunks_mut(64)) {
            let mask = Sha512::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
            chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
    };
    let mut seed = Sha512::digest(uuid::Uuid::new_v4().as_bytes()).to_vec();
    let mut data = Sha512::digest(b"").to_vec();
    data.resize(length - 65 - message.len() - 1, 0);
    data.push(1);
    data.extend_from_slice(message);
    mask(&mut data, &seed);
    mask(&mut seed, &data);
    [&[0][..], &seed, &data].concat()
}

#[test]
fn a_search_finds_a_secret_in_each_of_its_forms() {
    let secret = b"a canary that has thirty-two byt";
    let hex = const_hex::encode(secret);
    let forms =
        [("A", hex.clone()), ("B", hex.to_uppercase()), ("C", BASE64_STANDARD.encode([b"x", &secret[..], b"yz"].concat()))];
    let mut keeper = Command::new("sleep").arg("600").env("RAW", "a canary that has thirty-two byt").envs(forms).spawn().unwrap();
    wait_for("it to run", || fs::read(format!("/proc/{}/comm", keeper.id())).ok().filter(|name| name == b"sleep\n"));
    let found = search(keeper.id(), [("secret", &secret[..]), ("absent", b"no process has this text")]);
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    let forms = found.forms_of("secret");
    for form in ["raw", "first half", "second half", "hex", "HEX", "base64"] {
        assert!(forms.contains_key(form), "{form} was not found: {found:?}");
    }
    assert!(found.forms_of("absent").is_empty() && !found.forms_of("secret").contains_key("reversed"));
}

#[test]
fn no_call_leaves_a_pin_or_a_key_in_memory() {
    let scene = Scene::set();
    let (station, train) = (&scene.station, &scene.train);
    let mut searching = Searching::of(station);
    searching.after("the start that made token and keys");

    // Connections that are still open while memory is searched.
    let mut keys = station.keys_client();
    let general = format!("{}-general", station.id());
    let request = |scheme: SignatureScheme, digest: &[u8]| stationmaster_proto::SignRequest {
        key_label: general.clone(),
        scheme: scheme.into(),
        digest: digest.into(),
        ..stationmaster_proto::SignRequest::default()
    };
    block_on(keys.sign(request(SignatureScheme::RsaPssSha256, &[7; 32]))).expect("a signature");
    searching.after("Sign");

    let public = Rsa::public_key_from_pem(station.key(&general).unwrap().public_key_pem.as_bytes()).unwrap();
    let mut secret = [0; 32];
    openssl::rand::rand_bytes(&mut secret).unwrap();
    let block = oaep_block(&secret, 256);
    let mut wrapped = vec![0; 256];
    public.public_encrypt(&block, &mut wrapped, Padding::NONE).unwrap();
    searching.know("unwrapped key", secret);
    searching.know("its OAEP block", &block[1..]);
    let mut over_tcp = KeyServiceClient::new(Honest::client(station, true).connection());
    for (client, how) in [(&mut keys, "UnwrapKey"), (&mut over_tcp, "UnwrapKey over TCP")].iter_mut() {
        for _ in 0..2 {
            let request = stationmaster_proto::UnwrapKeyRequest {
                key_label: general.clone(),
                scheme: WrappingScheme::RsaOaepSha512.into(),
                wrapped_key: wrapped.clone(),
            };
            assert_eq!(block_on(client.unwrap_key(request)).expect("a key").into_inner().key, secret);
            searching.after(how);
        }
    }

    searching.know("envelope key", train.envelope_key());
    station.verify(&train.image).unwrap();
    searching.after("VerifyTrain");
    station.hash(&train.image, true).unwrap();
    searching.after("HashImage of a sealed train");
    // At the first stop there are none; the key is used nevertheless.
    assert!(station.open_results(&train.image, &[]).unwrap().0.is_empty());
    station.open_results_in(&fetched(&scene.engine, &train.image, "/opt"), &[]).unwrap();
    searching.after("OpenResults of an image and of an archive");

    let mut tampered = scene.rootfs();
    tampered.content("opt/pht_train/data.bin")[20] ^= 1;
    tampered.put(&scene.engine, &train.repository, "tampered");
    let image = format!("{}:tampered", train.repository);
    refused("a tampered train", station.pre_run(&image), "TRAIN_AUTHENTICATION_FAILED");
    searching.after("PreRun, refused");

    let opened = scene.pre_run().unwrap();
    searching.after("PreRun into an image");
    station.abort(&opened.run_id).unwrap();
    searching.after("AbortRun");

    for into in [OpenInto::Volume, OpenInto::Directory] {
        let opened = station.open_into(&train.image, into).unwrap();
        searching.after(&format!("PreRun, {}", into.as_str_name()));
        if into == OpenInto::Volume {
            station.abort(&opened.run_id).unwrap();
        } else {
            run_opened(&scene.engine, &opened, None, &[]);
            station.post_run(&opened.run_id).unwrap();
        }
    }
    let returned = train.open(&[]);
    let creator = Rsa::private_key_from_pem(&fs::read(train.creator_key()).unwrap()).unwrap();
    let mut block = vec![0; creator.size() as usize];
    creator.private_decrypt(&returned.wrapped_for_creator, &mut block, Padding::NONE).unwrap();
    searching.know("new envelope key", returned.envelope_key);
    searching.know("its OAEP block for the creator", &block[1..]);
    searching.after("PostRun");
    drop((keys, over_tcp));
    searching.after("the end of the connection");
    searching.end();
}

#[test]
fn a_pin_from_a_file_or_the_environment_is_not_in_a_service_that_logged_in_with_it() {
    for variable in [None, Some("TEST_PIN")] {
        let mut station = Station::start("a");
        station.stop();
        station.set_env("TEST_PIN", variable.map(|_| station.pin()).as_deref());
        station.configure(|config| {
            if let Some(name) = variable {
                config["token"].as_table_mut().unwrap().remove("pin_file");
                set(config, "token", "pin_env", name);
            }
            listen_on_tcp(config);
        });
        station.start_again();
        station.sign("a-general", SignatureScheme::RsaPssSha256, &[7; 32]).unwrap();
        let mut searching = Searching::of(&station);
        searching.after(variable.unwrap_or("a file"));
        searching.end();
    }
}

/// Another user of this machine, where the test is root: root may look into everything.
const SOMEBODY: u32 = 65534;

#[test]
fn other_processes_of_its_user_cannot_look_into_it() {
    let state = tempfile::tempdir().unwrap();
    let root = rustix::process::geteuid().is_root();
    let as_somebody = |program: &str| {
        let mut command = Command::new(program);
        if root {
            command.uid(SOMEBODY).gid(SOMEBODY);
        }
        command
    };
    if root {
        std::os::unix::fs::chown(state.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    let reads = |pid: u32| {
        let output = as_somebody("cat").arg(format!("/proc/{pid}/environ")).output().unwrap();
        output.status.success()
    };
    let mut open = as_somebody("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
    wait_for("a process that lets itself be read", || reads(open.id()).then_some(()));
    open.kill().unwrap();
    open.wait().unwrap();

    let mut service = as_somebody(PROGRAM)
        .args(["serve", "--dev", "--bits", "2048", "--station", "a", "--state"])
        .arg(state.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("its socket", || Path::new(&state.path().join("api.sock")).exists().then_some(()));
    let (readable, status) = (reads(service.id()), fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap());
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.id())).unwrap();
    service.kill().unwrap();
    service.wait().unwrap();
    assert!(!readable, "another process of its user reads it");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
}

#[test]
fn a_run_that_was_committed_leaves_no_key_behind() {
    let scene = Scene::set();
    let mut searching = Searching::of(&scene.station);
    searching.know("envelope key", scene.train.envelope_key());
    let opened = scene.pre_run().unwrap();
    Peer::newest().run_train(&scene.train.image, Mode::Commit, &[]);
    scene.station.post_run(&opened.run_id).unwrap();
    searching.know("new envelope key", Train::open(&scene.train, &[]).envelope_key);
    searching.after("PreRun and PostRun of an image");
    searching.end();
}
