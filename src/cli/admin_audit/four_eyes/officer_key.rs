//! Signatures of officers: RSA-PSS with SHA-256, ECDSA with SHA-256 on P-256 or P-384, Ed25519.

use std::path::Path;

use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{HasPublic, Id, PKey, PKeyRef, Private, Public},
    rsa::Padding,
    sign::{RsaPssSaltlen, Signer, Verifier},
};
use stationmaster_system::{
    files::guarded::{self, Reader, Secrecy},
    memory,
};
use stationmaster_train::keys::spki_fingerprint;
use zeroize::Zeroizing;

use crate::cli::error::{CliError, Exit};

/// Maximum size of a private key's file, in bytes.
const LIMIT: u64 = 64 << 10;
/// Minimum size of an RSA key, in bits.
const RSA_BITS: u32 = 2048;

/// An officer's private key.
pub(in crate::cli) struct OfficerKey {
    key: PKey<Private>,
    fingerprint: String,
}

impl OfficerKey {
    /// Reads a PEM file that no other user can read or change. The passphrase of an encrypted one is asked for on the terminal.
    ///
    /// # Errors
    /// When it is not such a file, or not a key that can sign requests.
    pub(in crate::cli) fn read(file: Option<&Path>) -> Result<Self, CliError> {
        let file = file.ok_or_else(|| {
            CliError::usage("this act needs the approval of a second officer, and no key is named that signs the request")
                .with_hint("name your private key with --officer-key PEM, or STATIONMASTER_OFFICER_KEY")
        })?;
        memory::protect_process().map_err(|error| CliError::other(format!("the process cannot be protected: {error}")))?;
        let pem = guarded::read(file, Reader::Command, Secrecy::Secret, LIMIT)
            .map(Zeroizing::new)
            .map_err(|error| CliError::new(Exit::of_io(error.kind()), format!("cannot read {}: {error}", file.display())))?;
        let is_encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
            .iter()
            .any(|mark| pem.windows(mark.len()).any(|window| window == *mark));
        let passphrase = Zeroizing::new(if is_encrypted { passphrase(file)? } else { String::new() });
        let unusable = |exit, why: &str| {
            CliError::new(exit, format!("{}: {why}", file.display()))
                .with_hint("`openssl genpkey -algorithm ed25519 -aes256 -out officer.pem` makes one")
        };
        let key = PKey::private_key_from_pem_passphrase(&pem, passphrase.as_bytes()).map_err(|_| match is_encrypted {
            true => unusable(Exit::Permission, "the passphrase is wrong, or it is no private key"),
            false => unusable(Exit::Usage, "it is no private key in PEM"),
        })?;
        let spki = key.public_key_to_der().map_err(|_| unusable(Exit::Usage, "it has no public half"))?;
        check(&key).map_err(|why| unusable(Exit::Usage, why))?;
        Ok(Self { key, fingerprint: spki_fingerprint(&spki) })
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, CliError> {
        let sign = || {
            let mut signer = match self.key.id() {
                Id::ED25519 => Signer::new_without_digest(&self.key)?,
                _ => Signer::new(MessageDigest::sha256(), &self.key)?,
            };
            if self.key.id() == Id::RSA {
                signer.set_rsa_padding(Padding::PKCS1_PSS)?;
                signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            }
            signer.sign_oneshot_to_vec(bytes)
        };
        sign().map_err(|error: ErrorStack| CliError::other(format!("the request cannot be signed: {error}")))
    }
}

fn passphrase(file: &Path) -> Result<String, CliError> {
    rpassword::prompt_password(format!("Passphrase of {}: ", file.display())).map_err(|_| {
        CliError::usage("the key is encrypted, and there is no terminal to read the passphrase from")
            .with_hint("run the command on a terminal, without a pipe as its standard input")
    })
}

/// Checks that a key is of a kind that signs requests.
fn check<T: HasPublic>(key: &PKeyRef<T>) -> Result<(), &'static str> {
    match key.id() {
        Id::ED25519 => Ok(()),
        Id::RSA if key.bits() >= RSA_BITS => Ok(()),
        Id::RSA => Err("an RSA key needs at least 2048 bits"),
        Id::EC => match key.ec_key().ok().and_then(|key| key.group().curve_name()) {
            Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1) => Ok(()),
            _ => Err("it is on another curve than P-256 or P-384"),
        },
        _ => Err("it is no RSA, EC or Ed25519 key"),
    }
}

/// Parses an officer's public key, and returns it with its fingerprint.
pub(super) fn public_key(pem: &str) -> Result<(PKey<Public>, String), &'static str> {
    let key = PKey::public_key_from_pem(pem.as_bytes()).map_err(|_| "it is no public key in PEM")?;
    check(&key)?;
    let spki = key.public_key_to_der().map_err(|_| "it is no public key in PEM")?;
    Ok((key, spki_fingerprint(&spki)))
}

/// Returns whether a signature is valid.
pub(super) fn is_valid(key: &PKey<Public>, bytes: &[u8], signature: &[u8]) -> bool {
    let verify = || -> Result<bool, ErrorStack> {
        let mut verifier = match key.id() {
            Id::ED25519 => Verifier::new_without_digest(key)?,
            _ => Verifier::new(MessageDigest::sha256(), key)?,
        };
        if key.id() == Id::RSA {
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        verifier.verify_oneshot(signature, bytes)
    };
    verify().unwrap_or(false)
}
