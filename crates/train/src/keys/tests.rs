use openssl::{
    ec::{EcGroup, EcKey},
    encrypt::Decrypter,
    hash::MessageDigest,
    nid::Nid,
    pkey::Private,
    sign::{RsaPssSaltlen, Signer},
};

use super::*;
use crate::{
    digest::Digest,
    vectors::{bytes, items, number, text, vector},
};

fn private_key(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

fn public_half(key: &PKey<Private>) -> PublicKey {
    PublicKey::from_spki_der(&key.public_key_to_der().unwrap()).unwrap()
}

fn pss(key: &PKey<Private>, message: &[u8], salt: i32) -> Vec<u8> {
    let mut signer = Signer::new(MessageDigest::sha512(), key).unwrap();
    signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
    signer.set_rsa_mgf1_md(MessageDigest::sha512()).unwrap();
    signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt)).unwrap();
    signer.sign_oneshot_to_vec(message).unwrap()
}

#[test]
fn both_spellings_are_the_same_key_and_we_write_the_registrys() {
    for case in items(&vector!("public-keys")) {
        let (spki, pkcs1) = (HexText::new(text(&case["spki"])), HexText::new(text(&case["pkcs1"])));
        let key = PublicKey::from_hex_pem(&spki).unwrap();
        assert_eq!(key, PublicKey::from_hex_pem(&pkcs1).unwrap());
        assert_eq!(key, PublicKey::from_components(&key.modulus(), &key.exponent()).unwrap());
        assert_eq!(key.bits() as usize, number(&case["bits"]));
        assert_eq!(key.size() * 8, number(&case["bits"]));
        assert_eq!(HexText::from_bytes(key.to_pem().as_bytes()), spki);
        assert_eq!(key.to_pem().as_bytes(), spki.decode().unwrap());
        assert_eq!(key.to_der(), bytes(&case["der"]));
        assert_eq!(key.fingerprint(), text(&case["fingerprint"]));
        let jwk: serde_json::Value = serde_json::from_str(&key.to_jwk_json()).unwrap();
        assert_eq!((&jwk["kid"], &jwk["n"]), (&case["kid"], &case["n"]));
        assert_eq!((text(&jwk["kty"]), text(&jwk["e"])), ("RSA", "AQAB"));
    }
}

#[test]
fn a_wrapped_key_unwraps_with_oaep_sha512() {
    for bits in [2048, 3072] {
        let private = private_key(bits);
        let key = EnvelopeKey::random().unwrap();
        let wrapped = public_half(&private).wrap(&key).unwrap();
        assert_eq!(wrapped.len() * 8, bits as usize);
        let mut decrypter = Decrypter::new(&private).unwrap();
        decrypter.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
        decrypter.set_rsa_oaep_md(MessageDigest::sha512()).unwrap();
        decrypter.set_rsa_mgf1_md(MessageDigest::sha512()).unwrap();
        let mut unwrapped = vec![0; decrypter.decrypt_len(&wrapped).unwrap()];
        let len = decrypter.decrypt(&wrapped, &mut unwrapped).unwrap();
        assert_eq!(&unwrapped[..len], key.as_bytes());
    }
}

#[test]
fn the_maximum_salt_is_what_train_lib_signs_with() {
    for (case, salt) in items(&vector!("public-keys")).iter().zip([190, 318, 446]) {
        let key = PublicKey::from_hex_pem(&HexText::new(text(&case["spki"]))).unwrap();
        assert_eq!(key.max_pss_salt(HashAlgorithm::Sha512), salt);
    }
}

#[test]
fn any_salt_length_is_accepted_of_others_but_only_the_exact_one_of_own_signatures() {
    let private = private_key(2048);
    let key = public_half(&private);
    let digest = Digest::of(b"message");
    let exact = |salt, signature: &[u8]| key.verify_pss_exact(HashAlgorithm::Sha512, digest.as_bytes(), salt, signature);
    for salt in [0, 32, 64, 190] {
        let signature = pss(&private, b"message", salt);
        assert_eq!(key.verify_pss_any_salt(&digest, &signature), Ok(()));
        assert_eq!(exact(salt as usize, &signature), Ok(()));
        assert_eq!(exact(salt as usize + 1, &signature), Err(BadSignature));
        assert_eq!(key.verify_pss_any_salt(&Digest::of(b"another"), &signature), Err(BadSignature));
    }
}

#[test]
fn signatures_of_every_hash_verify_and_no_other_way() {
    let private = private_key(2048);
    let key = public_half(&private);
    for (hash, md) in [
        (HashAlgorithm::Sha256, MessageDigest::sha256()),
        (HashAlgorithm::Sha384, MessageDigest::sha384()),
        (HashAlgorithm::Sha512, MessageDigest::sha512()),
    ] {
        let signature = Signer::new(md, &private).unwrap().sign_oneshot_to_vec(b"message").unwrap();
        let digest = openssl::hash::hash(md, b"message").unwrap();
        assert_eq!(key.verify_pkcs1_prehashed(hash, &digest, &signature), Ok(()));
        assert!(key.verify_pss_exact(hash, &digest, 32, &signature).is_err());
        assert!(key.verify_pkcs1_prehashed(hash, &digest[1..], &signature).is_err());
        assert_eq!(key.verify_pkcs1_sha512_of(b"message", &signature).is_ok(), hash == HashAlgorithm::Sha512);
    }
}

#[test]
fn a_signature_of_another_key_length_or_bit_does_not_verify() {
    let (private, other) = (private_key(2048), private_key(2048));
    let key = public_half(&private);
    let digest = Digest::of(b"message");
    let good = pss(&private, b"message", 190);
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    for bad in [&[][..], &good[1..], &[&[0], &good[..]].concat(), &flipped, &[0xff; 256], &[0; 256]] {
        assert_eq!(key.verify_pss_any_salt(&digest, bad), Err(BadSignature));
        assert_eq!(key.verify_pkcs1_sha512_of(b"message", bad), Err(BadSignature));
    }
    assert_eq!(public_half(&other).verify_pss_any_salt(&digest, &good), Err(BadSignature));
}

#[test]
fn keys_of_unsafe_size_or_numbers_are_refused() {
    for bits in [1024, 2047] {
        let der = private_key(bits).public_key_to_der().unwrap();
        assert_eq!(PublicKey::from_spki_der(&der), Err(KeyError::Size { bits }));
    }
    let modulus = public_half(&private_key(2048)).modulus();
    let mut even = modulus.clone();
    even[255] &= 0xfe;
    assert_eq!(PublicKey::from_components(&even, &[3]), Err(KeyError::BadNumbers));
    for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 1]] {
        assert_eq!(PublicKey::from_components(&modulus, exponent), Err(KeyError::BadNumbers), "{exponent:?}");
    }
    let large = [vec![0x80], vec![1; 1024]].concat();
    assert_eq!(PublicKey::from_components(&large, &[3]), Err(KeyError::Size { bits: 8200 }));
}

#[test]
fn only_one_public_key_in_pem_is_read() {
    let private = private_key(2048);
    let key = public_half(&private);
    let pem = key.to_pem();
    let labelled = |label: &str| pem.replace("PUBLIC KEY", label);
    let ec = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
    let ec = String::from_utf8(ec.public_key_to_pem().unwrap()).unwrap();
    let private = String::from_utf8(private.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let header = pem.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,0000000000000000\n\n", 1);
    for (text, error) in [
        (String::new(), KeyError::NotPem),
        ("text".to_owned(), KeyError::NotPem),
        (format!("{pem}{pem}"), KeyError::NotPem),
        (format!("{private}{pem}"), KeyError::NotPem),
        (format!("{pem}{private}"), KeyError::NotPem),
        // train_lib reads the block, OpenSSL does not.
        (format!("text {pem}"), KeyError::NotPem),
        (format!("-----BEGIN X-----\n{pem}"), KeyError::NotPem),
        (pem.replace("-----END PUBLIC KEY-----", ""), KeyError::NotPem),
        (labelled("CERTIFICATE"), KeyError::NotPem),
        (labelled("RSA PUBLIC KEY"), KeyError::NotRsa),
        (private.clone(), KeyError::NotPem),
        (header, KeyError::NotPem),
        (ec, KeyError::NotRsa),
        (format!("{pem}{}", "\n".repeat(MAX_PEM_BYTES)), KeyError::TooLong),
    ] {
        assert_eq!(PublicKey::from_pem(text.as_bytes()), Err(error), "{text}");
    }
    for around in [
        format!("\r\n {}\n\n", pem.replace('\n', "\r\n")).into_bytes(),
        format!("\u{feff}{pem}").into_bytes(),
        format!("Bag Attributes\n    friendlyName: station\nKey Attributes: <No Attributes>\n{pem}text\n").into_bytes(),
        [b"f\xfcr die Station\n", pem.as_bytes()].concat(),
    ] {
        assert_eq!(PublicKey::from_pem(&around).as_ref(), Ok(&key), "{}", String::from_utf8_lossy(&around));
    }
}

#[test]
fn bytes_behind_the_key_are_refused() {
    let private = private_key(2048);
    let trailing = |mut der: Vec<u8>| {
        der.push(0);
        der
    };
    let spki = trailing(private.public_key_to_der().unwrap());
    assert_eq!(PublicKey::from_spki_der(&spki), Err(KeyError::NotRsa));
    let pkcs1 = trailing(private.rsa().unwrap().public_key_to_der_pkcs1().unwrap());
    let pem = pem::write_spki(&pkcs1).replace("PUBLIC KEY", "RSA PUBLIC KEY");
    assert_eq!(PublicKey::from_pem(pem.as_bytes()), Err(KeyError::NotRsa));
    assert_eq!(PublicKey::from_spki_der(&[]), Err(KeyError::NotRsa));
}

#[test]
fn hex_of_pem_is_read_with_pythons_freedoms_only() {
    let key = public_half(&private_key(2048));
    let hex = HexText::from_bytes(key.to_pem().as_bytes()).as_str().to_uppercase();
    assert_eq!(PublicKey::from_hex_pem(&HexText::new(format!(" {hex}\n"))), Ok(key));
    assert_eq!(PublicKey::from_hex_pem(&HexText::new("zz")), Err(KeyError::NotHex));
    let long = "0".repeat(4 * MAX_PEM_BYTES + 1);
    assert_eq!(PublicKey::from_hex_pem(&HexText::new(long)), Err(KeyError::TooLong));
}
