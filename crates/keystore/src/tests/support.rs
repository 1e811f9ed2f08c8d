//! A test station with its own token, of any kind. A module's configuration is process-wide, so stations in one process take turns.

#![expect(unsafe_code, reason = "changes the environment while no other thread runs, or speaks to a module without a wrapper")]

mod unpacked;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use openssl::pkey::{PKey, Public};
use secrecy::SecretString;
use zeroize::Zeroizing;

use self::unpacked::{Daemon, Unpacked};
use crate::{
    admin::{GeneratedKey, generate_key, init_token},
    verify::{signature_holds, wrap},
    *,
};

static TURN: Mutex<()> = Mutex::new(());

// At most 8 bytes, as openCryptoki has it.
pub(crate) const PIN: &str = "pin-4242";
pub(crate) const SO_PIN: &str = "so-pin-4";
pub(crate) const TOKEN: &str = "station";

pub(crate) const TRAIN: KeyUsage = KeyUsage { sign: &[SignScheme::PssSha512MaxSalt], unwrap: &[OaepScheme::Sha512] };
pub(crate) const CHECKPOINTS: KeyUsage =
    KeyUsage { sign: &[SignScheme::Pss(Hash::Sha256), SignScheme::EcdsaP256, SignScheme::Ed25519], unwrap: &[] };
pub(crate) const RSA_2048: NewKey = NewKey::Rsa { bits: 2048 };

/// The schemes that keys of a type sign with.
pub(crate) fn schemes_of(key_type: KeyType) -> impl Iterator<Item = SignScheme> {
    SignScheme::ALL.into_iter().filter(move |scheme| scheme.key_type() == key_type)
}

/// The tokens that tests run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// SoftHSM 2: OAEP with SHA-512 through raw RSA only.
    SoftHsm,
    /// NSS softokn, Mozilla's: OAEP with SHA-512 natively.
    Nss,
    /// Kryoptic, a token of PKCS#11 3.2.
    Kryoptic,
    /// A TPM 2.0 in software, through tpm2-pkcs11.
    Tpm,
    /// openCryptoki's token in software.
    OpenCryptoki,
}

impl std::fmt::Display for TokenKind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            TokenKind::SoftHsm => "SoftHSM",
            TokenKind::Nss => "NSS softokn",
            TokenKind::Kryoptic => "Kryoptic",
            TokenKind::Tpm => "TPM 2.0",
            TokenKind::OpenCryptoki => "openCryptoki",
        })
    }
}

/// Places of NSS softokn on Debian, Fedora and Arch.
const SOFTOKN: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/libsoftokn3.so",
    "/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
    "/usr/lib64/libsoftokn3.so",
    "/usr/lib/libsoftokn3.so",
];

pub(crate) struct TestToken {
    pub(crate) kind: TokenKind,
    pub(crate) module: PathBuf,
    init_args: Option<String>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) serial: String,
    _daemons: Vec<Daemon>,
    // Last: the turn ends after everything else was dropped.
    _turn: MutexGuard<'static, ()>,
}

impl TestToken {
    /// A SoftHSM token without keys.
    pub(crate) fn new() -> TestToken {
        TestToken::of(TokenKind::SoftHsm)
    }

    /// A token without keys.
    pub(crate) fn of(kind: TokenKind) -> TestToken {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        match kind {
            TokenKind::SoftHsm => TestToken::softhsm(dir, turn),
            TokenKind::Nss => TestToken::nss(dir, turn),
            TokenKind::Kryoptic => TestToken::initialised(kind, unpacked::kryoptic(dir.path()), dir, turn),
            TokenKind::Tpm => TestToken::initialised(kind, unpacked::tpm(dir.path()), dir, turn),
            TokenKind::OpenCryptoki => TestToken::existing(kind, unpacked::opencryptoki(TOKEN), "123", dir, turn),
        }
    }

    fn softhsm(dir: tempfile::TempDir, turn: MutexGuard<'static, ()>) -> TestToken {
        let conf = softhsm::write_conf(dir.path()).unwrap();
        // SAFETY: nextest gives each test a process; under `cargo test` no other test of ours reads the environment from C
        // while it has not got its turn.
        unsafe { std::env::set_var(softhsm::CONF_VARIABLE, conf) };
        let module = softhsm::find_module().expect("apt install softhsm2");
        let serial = init_token(&module.clone().into(), TOKEN, &secret(SO_PIN), &secret(PIN)).unwrap();
        TestToken { kind: TokenKind::SoftHsm, module, init_args: None, dir, serial, _daemons: Vec::new(), _turn: turn }
    }

    /// A token as an administrator makes it: with NSS's own tool.
    fn nss(dir: tempfile::TempDir, turn: MutexGuard<'static, ()>) -> TestToken {
        let module = SOFTOKN.iter().map(PathBuf::from).find(|place| place.is_file()).expect("apt install libnss3");
        let (database, pin_file) = (dir.path().join("nss"), dir.path().join("pin"));
        std::fs::create_dir(&database).unwrap();
        std::fs::write(&pin_file, PIN).unwrap();
        let made = Command::new("certutil")
            .args(["-N", "-d", &format!("sql:{}", database.display()), "-f", pin_file.to_str().unwrap()])
            .output()
            .expect("apt install libnss3-tools");
        assert!(made.status.success(), "{made:?}");
        let init_args = Some(nss_init_args(&database));
        // The same for every database.
        let serial = "0000000000000000".to_owned();
        TestToken { kind: TokenKind::Nss, module, init_args, dir, serial, _daemons: Vec::new(), _turn: turn }
    }

    /// A token that the product initialises.
    fn initialised(kind: TokenKind, made: Unpacked, dir: tempfile::TempDir, turn: MutexGuard<'static, ()>) -> TestToken {
        let config = ModuleConfig { path: made.module.clone(), init_args: made.init_args.clone() };
        let serial = init_token(&config, TOKEN, &secret(SO_PIN), &secret(PIN)).unwrap();
        TestToken::existing(kind, made, &serial, dir, turn)
    }

    fn existing(
        kind: TokenKind,
        made: Unpacked,
        serial: &str,
        dir: tempfile::TempDir,
        turn: MutexGuard<'static, ()>,
    ) -> TestToken {
        let Unpacked { module, init_args, daemons } = made;
        TestToken { kind, module, init_args, dir, serial: serial.to_owned(), _daemons: daemons, _turn: turn }
    }

    /// A SoftHSM station with the train key `train` and the general key `general`, of 2048 bits.
    pub(crate) fn with_keys() -> TestToken {
        TestToken::new().and_keys()
    }

    /// Generates the train key `train` and the general key `general`, of 2048 bits.
    pub(crate) fn and_keys(self) -> TestToken {
        let station = self;
        station.generate("train", TRAIN);
        station.generate("general", KeyUsage::ALL);
        station
    }

    pub(crate) fn generate(&self, label: &str, usage: KeyUsage) -> GeneratedKey {
        generate_key(&self.access(), label, usage, RSA_2048).unwrap()
    }

    /// Generates a general key; `None` if the token generates none of this type, which it says.
    pub(crate) fn generate_of(&self, label: &str, new: NewKey) -> Option<GeneratedKey> {
        match generate_key(&self.access(), label, KeyUsage::ALL, new) {
            Err(error @ KeystoreError::KeyTypeUnsupported { key_type, .. }) if key_type == new.key_type() => {
                assert!(error.hint().is_some());
                None
            }
            made => Some(made.unwrap()),
        }
    }

    /// The token, reached through another module.
    pub(crate) fn through(self, module: PathBuf) -> TestToken {
        TestToken { module, ..self }
    }

    pub(crate) fn access(&self) -> TokenAccess {
        TokenAccess::new(self.module_config(), TokenSelector::label(self.label()), kept(PIN))
    }

    pub(crate) fn module_config(&self) -> ModuleConfig {
        ModuleConfig { path: self.module.clone(), init_args: self.init_args.clone() }
    }

    /// The directory of the token's files.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.path().join(match self.kind {
            TokenKind::SoftHsm => "tokens",
            TokenKind::Nss => "nss",
            TokenKind::Kryoptic => "kryoptic",
            TokenKind::Tpm => "store",
            TokenKind::OpenCryptoki => "/var/lib/opencryptoki/swtok",
        })
    }

    /// How the token unwraps with OAEP.
    pub(crate) fn unwraps(&self) -> Capability {
        match self.kind {
            TokenKind::SoftHsm => Capability::Raw,
            TokenKind::Nss | TokenKind::Kryoptic | TokenKind::Tpm | TokenKind::OpenCryptoki => Capability::Native,
        }
    }

    /// How the token signs.
    pub(crate) fn signs(&self, scheme: SignScheme) -> Capability {
        match (self.kind, scheme) {
            // A TPM chooses the salt's length itself.
            (TokenKind::Tpm, SignScheme::PssSha512MaxSalt) => Capability::Raw,
            _ => Capability::Native,
        }
    }

    /// The token's label.
    pub(crate) fn label(&self) -> &'static str {
        match self.kind {
            TokenKind::Nss => "NSS Certificate DB",
            _ => TOKEN,
        }
    }

    pub(crate) fn config(&self, labels: &[&str]) -> KeystoreConfig {
        self.config_with(self.access(), labels)
    }

    pub(crate) fn config_with(&self, access: TokenAccess, labels: &[&str]) -> KeystoreConfig {
        let usage = |label: &str| if label.starts_with("train") { TRAIN } else { KeyUsage::ALL };
        KeystoreConfig {
            keys: labels.iter().map(|label| KeyConfig::new(*label, usage(label))).collect(),
            allow_raw_unwrap: true,
            allow_raw_sign: self.kind == TokenKind::Tpm,
            // In Kryoptic 1.5.4 a login beside a signature waits for the signature's session, which waits for the login's token.
            sessions: if self.kind == TokenKind::Kryoptic { 1 } else { 2 },
            ..KeystoreConfig::new(access)
        }
    }

    pub(crate) fn open(&self) -> Keystore {
        Keystore::open(self.config(&["train", "general"])).unwrap()
    }

    /// Deletes a key pair from another process, as an administrator with a tool would.
    pub(crate) fn delete(&self, label: &str) {
        for kind in ["privkey", "pubkey"] {
            self.tool(&["--delete-object", "--type", kind, "--label", label]);
        }
    }

    /// Runs OpenSC's tool on the token, logged in, and returns its output.
    pub(crate) fn tool(&self, arguments: &[&str]) -> String {
        let done = Command::new("pkcs11-tool")
            .args(["--module", self.module.to_str().unwrap(), "--token-label", TOKEN, "--login", "--pin", PIN])
            .args(arguments)
            .output()
            .expect("apt install opensc");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

/// Returns the text for the initialisation of NSS, which names its database.
pub(crate) fn nss_init_args(database: &Path) -> String {
    format!("configdir='sql:{}' certPrefix='' keyPrefix='' secmod='' flags=", database.display())
}

pub(crate) fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

pub(crate) fn kept(pin: &str) -> pin::PinSource {
    pin::PinSource::keep(&secret(pin)).unwrap()
}

pub(crate) fn public(keystore: &Keystore, label: &str) -> PKey<Public> {
    PKey::public_key_from_der(&keystore.key(label).unwrap().spki_der).unwrap()
}

/// Signs with the key that has the label now.
pub(crate) async fn sign(
    keystore: &Keystore,
    label: &str,
    scheme: SignScheme,
    digest: &[u8],
    deadline: Option<Instant>,
) -> Result<Vec<u8>, KeystoreError> {
    let key = keystore.find(label, deadline).await?;
    keystore.sign(key.id, scheme, digest, deadline).await
}

/// Unwraps with the key that has the label now.
pub(crate) async fn unwrap(
    keystore: &Keystore,
    label: &str,
    scheme: OaepScheme,
    wrapped: &[u8],
    deadline: Option<Instant>,
) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let key = keystore.find(label, deadline).await?;
    keystore.unwrap(key.id, scheme, wrapped, deadline).await
}

/// Signs and checks; the digest is any.
pub(crate) async fn sign_and_verify(keystore: &Keystore, label: &str, scheme: SignScheme) {
    let digest = vec![0x5a; scheme.hash().map_or(300, Hash::digest_len)];
    let signature = sign(keystore, label, scheme, &digest, None).await.unwrap();
    assert!(signature_holds(&public(keystore, label), scheme, &digest, &signature), "{}", scheme.name());
    assert!(!signature_holds(&public(keystore, label), scheme, &vec![0; digest.len()], &signature));
}

/// Wraps with OpenSSL and unwraps in the token.
pub(crate) async fn wrap_and_unwrap(keystore: &Keystore, label: &str, scheme: OaepScheme) {
    let secret: [u8; 32] = std::array::from_fn(|i| i as u8);
    let wrapped = wrap(&public(keystore, label), scheme, &secret).unwrap();
    assert_eq!(unwrap(keystore, label, scheme, &wrapped, None).await.unwrap()[..], secret);
}
