//! The demonstrated attacks of `docs/weaknesses.md`: both versions of train_lib take each of them, this station does not; and
//! what no station can detect on this wire, with the report that says so.

mod code;
mod document;
mod names;
mod results;
mod run;
mod trust;

use openssl::{
    md::Md,
    pkey::{PKey, Private},
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    symm::{Cipher, decrypt},
};
use serde_json::Value;

use crate::support::{
    Engine, LibStation, Peer, Refusal, Seat, Station, Train,
    tamper::{Before, RESULTS, Rootfs, commit_with, refused, run_script},
};

/// The train_libs that stations run.
const VERSIONS: [&str; 2] = ["2.0.5", "2.0.6a0"];
/// What a builder tells a train to run: without a command train_lib can make no container of it.
const COMMAND: &str = "CMD [\"/bin/sh\", \"/opt/pht_train/run.sh\"]";

/// What an attacker who can write to the registry does to a train on its way.
type Attack<'a> = &'a dyn Fn(&mut Rootfs);

/// A train_lib station, with its key.
struct Lib {
    station: LibStation,
    version: &'static str,
    _directory: tempfile::TempDir,
}

impl Lib {
    fn new(version: &'static str, id: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { station: Peer::new(version).station(id, 2048, directory.path()), version, _directory: directory }
    }

    fn seat(&self) -> Seat {
        Seat { id: self.station.id.clone(), hex_pem: self.station.hex_pem.clone() }
    }

    /// Its pre-run, which goes through.
    #[track_caller]
    fn opens(&self, train: &Train) {
        self.station.pre_run(&train.image).unwrap_or_else(|error| panic!("train_lib {} refuses it: {error:?}", self.version));
    }

    /// Its post-run, which goes through.
    #[track_caller]
    fn closes(&self, train: &Train) {
        self.station.post_run(&train.image).unwrap_or_else(|error| panic!("train_lib {} refuses it: {error:?}", self.version));
    }

    /// Its stop: pre-run, a run that leaves something, post-run.
    #[track_caller]
    fn passes(&self, train: &Train) {
        self.opens(train);
        run_script(&Engine::connect(), &train.image, RESULTS);
        self.closes(train);
    }
}

fn private_key(pem: &std::path::Path) -> PKey<Private> {
    PKey::private_key_from_pem(&std::fs::read(pem).expect("a key file")).expect("a private key")
}

/// What an attacker made of a train comes to a station under the train's name.
fn arrives(train: &Train, attack: Attack) {
    let engine = Engine::connect();
    let mut rootfs = Rootfs::of(&engine, &train.image);
    attack(&mut rootfs);
    rootfs.put(&engine, &train.repository, "attacked");
    commit_with(&engine, &format!("{}:attacked", train.repository), COMMAND, &train.repository, "latest");
}

/// Each train_lib opens, at the first stop, what the attack made of a train. What it opened is shown to `look`.
#[track_caller]
fn train_lib_opens(attack: Attack, mut look: impl FnMut(Rootfs)) {
    for version in VERSIONS {
        let lib = Lib::new(version, "a");
        let train = Train::of(&[lib.seat()]).make();
        arrives(&train, attack);
        lib.opens(&train);
        look(Rootfs::of(&Engine::connect(), &train.image));
    }
}

/// Trains that train_lib has run at the first stop, on their way to `second`.
fn under_way(first: &Lib, second: Seat) -> Train {
    let train = Train::of(&[first.seat(), second]).make();
    first.passes(&train);
    train
}

/// Our second stop refuses what the attack made of a train that train_lib closed, for this reason, and changes nothing.
#[track_caller]
fn second_stop_refuses(attack: Attack, reason: &str) -> Refusal {
    let (first, ours) = (Lib::new("2.0.6a0", "a"), Station::with("b").start_pinned());
    let train = under_way(&first, ours.seat());
    ours.trust_train(&train);
    arrives(&train, attack);
    let before = Before::of(&Engine::connect(), &train);
    let refusal = refused("the attack", ours.pre_run(&train.image), reason);
    before.assert(&ours, "the attack");
    refusal
}

/// Each train_lib takes, at the second stop, what the attack made of a train, and closes and signs it.
#[track_caller]
fn train_lib_takes_at_second_stop(attack: Attack) {
    for version in VERSIONS {
        let [first, second] = ["a", "b"].map(|id| Lib::new(version, id));
        let train = under_way(&first, second.seat());
        arrives(&train, attack);
        second.opens(&train);
        second.closes(&train);
        let signed = &Rootfs::of(&Engine::connect(), &train.image).config()["result_signature"];
        assert!(signed.is_string(), "train_lib {version} did not sign");
    }
}

/// Unwraps an envelope key as a holder of the private key does.
fn unwrapped(key: &PKey<Private>, wrapped: &Value) -> Option<Vec<u8>> {
    let wrapped = const_hex::decode(wrapped.as_str().expect("a wrapped key")).expect("hex");
    let mut context = PkeyCtx::new(key).expect("a context");
    context.decrypt_init().expect("decryption");
    context.set_rsa_padding(Padding::PKCS1_OAEP).expect("OAEP");
    context.set_rsa_oaep_md(Md::sha512()).expect("a hash");
    context.set_rsa_mgf1_md(Md::sha512()).expect("a hash");
    let mut plain = Vec::new();
    context.decrypt_to_vec(&wrapped, &mut plain).is_ok().then_some(plain)
}

/// Decrypts a sealed file, and accepts any plaintext: as train_lib does, and as a user's tool does.
fn opened(key: &[u8], sealed: &[u8]) -> Vec<u8> {
    decrypt(Cipher::aes_256_cbc(), key, Some(&sealed[..16]), &sealed[16..]).expect("it decrypts")
}

/// A sealed file of at most 15 bytes, made without the key from another's first block, whose plaintext is known: what the cipher
/// makes of that block, less its vector, is known then, and the new file has a vector of the attacker's own.
fn forged(known: &[u8], sealed: &[u8], content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 16 && known.len() >= 16);
    let padding = 16 - content.len();
    let block: Vec<u8> = content.iter().copied().chain(std::iter::repeat_n(padding as u8, padding)).collect();
    let vector = (0..16).map(|at| sealed[at] ^ known[at] ^ block[at]);
    vector.chain(sealed[16..32].iter().copied()).collect()
}
