//! Finds out by trial operations what a token can do with a key: mechanism lists name mechanisms that are then refused.
//!
//! Every signature of the trial is over one fixed text and is verified with OpenSSL; every decryption is of a ciphertext that
//! OpenSSL created. After a refused trial the session is closed, because some tokens leave it unusable.

use cryptoki::{
    error::{Error, RvError},
    object::ObjectHandle,
    session::Session,
};
use openssl::sha::{sha256, sha384, sha512};

use super::{
    counters::Counters,
    mechanisms, oaep,
    objects::{self, PrivateKey},
    pss,
    quirks::Quirk,
    rv::{RvClass, translate},
    token::Token,
};
use crate::{
    Capability, Hash, KeyType, KeyUsage, KeyUses, KeystoreError, OaepScheme, SignScheme,
    verify::{signature_holds, wrap},
};

/// Signed with every key at every start, and when a key is probed later: a text that no protocol of this project signs.
const TRIAL: &[u8] = b"stationmaster: a trial signature, which says nothing";
const TRIAL_SECRET: &[u8] = b"stationmaster: a trial secret...";

/// How a wrapped key is decrypted with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnwrapMethod {
    /// By the token. `refusal` is the value that this token returns for wrong padding, learnt by trial: tokens differ, and some
    /// use a value that elsewhere means a fault.
    Native {
        refusal: Option<RvError>,
    },
    /// Raw RSA in the token; the padding is removed here.
    Raw,
    No,
}

impl UnwrapMethod {
    pub(super) fn capability(self) -> Capability {
        match self {
            UnwrapMethod::Native { .. } => Capability::Native,
            UnwrapMethod::Raw => Capability::Raw,
            UnwrapMethod::No => Capability::No,
        }
    }
}

/// What the configuration allows raw RSA for, where the token lacks a scheme.
#[derive(Debug, Clone, Copy)]
pub(super) struct AllowedRaw {
    pub(super) unwrap: bool,
    pub(super) sign: bool,
}

/// Probe results of one key.
#[derive(Debug, Clone)]
pub(super) struct KeyCapabilities {
    /// Schemes that the token does as a whole.
    pub(super) signs: Vec<SignScheme>,
    /// Further schemes, which are encoded here and signed with raw RSA.
    pub(super) signs_raw: Vec<SignScheme>,
    oaep_sha256: UnwrapMethod,
    oaep_sha512: UnwrapMethod,
}

impl KeyCapabilities {
    pub(super) fn sign_capability(&self, scheme: SignScheme) -> Capability {
        if self.signs.contains(&scheme) {
            Capability::Native
        } else if self.signs_raw.contains(&scheme) {
            Capability::Raw
        } else {
            Capability::No
        }
    }

    pub(super) fn unwrap_method(&self, scheme: OaepScheme) -> UnwrapMethod {
        match scheme {
            OaepScheme::Sha256 => self.oaep_sha256,
            OaepScheme::Sha512 => self.oaep_sha512,
        }
    }
}

/// Returns the schemes that a key of this type is tried with.
fn schemes(key_type: KeyType) -> impl Iterator<Item = SignScheme> {
    SignScheme::ALL.into_iter().filter(move |scheme| scheme.key_type() == key_type)
}

/// Returns the maximum number of key uses of a trial.
pub(super) fn cost(usage: KeyUsage, key_type: KeyType, allowed: AllowedRaw, quirk: &Quirk) -> KeyUses {
    let attempts = if quirk.refusal_during_login.is_some() { 2 } else { 1 };
    let is_pss = |scheme: &SignScheme| matches!(scheme, SignScheme::Pss(_) | SignScheme::PssSha512MaxSalt);
    let raw_signatures = schemes(key_type).filter(|scheme| allowed.sign && is_pss(scheme)).count();
    // For each scheme at most two: native and raw RSA, or native and the response to wrong padding.
    let decryptions = if usage.decrypts(key_type) { 2 * OaepScheme::ALL.len() as u64 } else { 0 };
    KeyUses { signatures: attempts * (schemes(key_type).count() + raw_signatures) as u64, decryptions: attempts * decryptions }
}

/// Finds out what the token can do with a key. Only schemes of its type are tried, and decryption only with a key that is meant for it.
pub(super) fn probe(
    token: &Token,
    key: &PrivateKey,
    usage: KeyUsage,
    allowed: AllowedRaw,
    counters: &Counters,
) -> Result<KeyCapabilities, KeystoreError> {
    let trial = ProbeRun { token, key, counters };
    let key_type = key.description.key_type;
    let unwrap_method =
        |scheme| if usage.decrypts(key_type) { trial.unwrap_method(scheme, allowed.unwrap) } else { Ok(UnwrapMethod::No) };
    let (mut signs, mut signs_raw) = (Vec::new(), Vec::new());
    for scheme in schemes(key_type) {
        if trial.signs(scheme)? {
            signs.push(scheme);
        } else if allowed.sign && trial.signs_raw(scheme)? {
            signs_raw.push(scheme);
        }
    }
    Ok(KeyCapabilities {
        signs,
        signs_raw,
        oaep_sha256: unwrap_method(OaepScheme::Sha256)?,
        oaep_sha512: unwrap_method(OaepScheme::Sha512)?,
    })
}

struct ProbeRun<'a> {
    token: &'a Token,
    key: &'a PrivateKey,
    counters: &'a Counters,
}

impl ProbeRun<'_> {
    fn signs(&self, scheme: SignScheme) -> Result<bool, KeystoreError> {
        let (signed, bits) = (scheme.hash().map_or_else(|| TRIAL.to_vec(), digest), self.key.public.bits());
        let outcome =
            self.attempt(Counters::signature, |session, key| match mechanisms::sign(session, key, bits, scheme, &signed) {
                Some(signature) => signature.map(Some),
                None => Ok(None),
            });
        let signature = self.outcome(outcome?)?.ok().flatten();
        Ok(signature.is_some_and(|signature| signature_holds(&self.key.public, scheme, &signed, &signature)))
    }

    fn signs_raw(&self, scheme: SignScheme) -> Result<bool, KeystoreError> {
        let Some(digest) = scheme.hash().map(digest) else {
            return Ok(false);
        };
        let Some(block) = pss::encode(scheme, self.key.public.bits(), &digest)? else {
            return Ok(false);
        };
        let outcome = self.attempt(Counters::signature, |session, key| mechanisms::sign_raw(session, key, &block))?;
        Ok(self.outcome(outcome)?.is_ok_and(|signature| signature_holds(&self.key.public, scheme, &digest, &signature)))
    }

    fn unwrap_method(&self, scheme: OaepScheme, allow_raw: bool) -> Result<UnwrapMethod, KeystoreError> {
        // The key is too small for the scheme, so there is no ciphertext to decrypt.
        let Ok(wrapped) = wrap(&self.key.public, scheme, TRIAL_SECRET) else {
            return Ok(UnwrapMethod::No);
        };
        let decrypted =
            self.attempt(Counters::decryption, |session, key| mechanisms::decrypt_oaep(session, key, scheme, &wrapped))?;
        if self.outcome(decrypted)?.is_ok_and(|secret| secret[..] == *TRIAL_SECRET) {
            return self.refusal(scheme).map(|refusal| UnwrapMethod::Native { refusal });
        }
        if !allow_raw {
            return Ok(UnwrapMethod::No);
        }
        let raw = self.attempt(Counters::decryption, |session, key| mechanisms::decrypt_raw(session, key, &wrapped))?;
        let opened = self.outcome(raw)?.ok().and_then(|block| oaep::unpad(block, scheme).ok());
        Ok(if opened.is_some_and(|secret| secret[..] == *TRIAL_SECRET) { UnwrapMethod::Raw } else { UnwrapMethod::No })
    }

    /// Returns the token's return value for a wrapped key with wrong padding.
    fn refusal(&self, scheme: OaepScheme) -> Result<Option<RvError>, KeystoreError> {
        // 1 raised to any power is 1, which is no OAEP encoding: wrong for every key, without any randomness.
        let mut wrapped = vec![0; self.key.public.size()];
        if let Some(last) = wrapped.last_mut() {
            *last = 1;
        }
        match self.attempt(Counters::decryption, |session, key| mechanisms::decrypt_oaep(session, key, scheme, &wrapped))? {
            Err(Error::Pkcs11(value, _)) => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    /// Makes an operation in a session of its own. A refusal that may be passing is tried once more, so that it is not remembered.
    fn attempt<T>(
        &self,
        count: impl Fn(&Counters),
        operation: impl Fn(&Session, ObjectHandle) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, KeystoreError> {
        let once = || {
            let (session, handle) = self.start()?;
            count(self.counters);
            Ok(operation(&session, handle))
        };
        match once()? {
            Err(error) if self.token.quirk().may_be_passing(&error) => once(),
            outcome => Ok(outcome),
        }
    }

    fn start(&self) -> Result<(Session, ObjectHandle), KeystoreError> {
        let description = &self.key.description;
        let begin = || -> Result<_, Error> {
            let session = self.token.session()?;
            let handles =
                objects::private_keys_by_id(&session, description.key_type.into(), &self.key.object_label, &description.cka_id)?;
            Ok((session, handles))
        };
        let (session, handles) = begin().map_err(|error| translate(&error))?;
        match handles[..] {
            [handle] => Ok((session, handle)),
            [] => Err(KeystoreError::KeyNotFound { label: description.label.clone() }),
            _ => Err(KeystoreError::KeyAmbiguous { label: description.label.clone() }),
        }
    }

    /// Distinguishes "the token does not support this" from "the token has failed", which must not be taken for a result.
    fn outcome<T>(&self, outcome: Result<T, Error>) -> Result<Result<T, ()>, KeystoreError> {
        match outcome {
            Ok(value) => Ok(Ok(value)),
            Err(error) => match self.token.classify(&error) {
                RvClass::Refused | RvClass::Padding | RvClass::Other => Ok(Err(())),
                RvClass::Session | RvClass::Handle | RvClass::Login => {
                    Err(KeystoreError::Unavailable { reason: "the session was lost while a key was tried" })
                }
                RvClass::Device | RvClass::Exhausted | RvClass::Pin => Err(translate(&error)),
            },
        }
    }
}

fn digest(hash: Hash) -> Vec<u8> {
    match hash {
        Hash::Sha256 => sha256(TRIAL).to_vec(),
        Hash::Sha384 => sha384(TRIAL).to_vec(),
        Hash::Sha512 => sha512(TRIAL).to_vec(),
    }
}
