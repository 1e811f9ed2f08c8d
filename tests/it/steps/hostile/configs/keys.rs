//! Keys that must not be used, and signatures that must not be accepted.

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, BigNumRef},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    md::Md,
    nid::Nid,
    pkey::{HasPublic, PKey, PKeyRef, Private},
    pkey_ctx::PkeyCtx,
    rsa::{Padding, Rsa},
    sign::RsaPssSaltlen,
    x509::{X509Builder, X509NameBuilder},
};
use serde_json::Value;
use stationmaster_train::{digest::Digest, keys::PublicKey};

use super::{ROUTE, Row, UNBELIEVED, changed, next_stop};
use crate::{
    steps::hostile::case::{
        Expected::{Either, Rule, Taken},
        Tally,
    },
    support::{Seat, tamper::stop},
};

fn number(value: u32) -> BigNum {
    BigNum::from_u32(value).expect("a number")
}

fn pem(key: &PKeyRef<impl HasPublic>) -> Vec<u8> {
    key.public_key_to_pem().expect("PEM")
}

/// PEM of these two numbers, whatever they are.
fn numbers(modulus: &BigNumRef, exponent: &BigNumRef) -> Vec<u8> {
    let rsa = Rsa::from_public_components(modulus.to_owned().expect("n"), exponent.to_owned().expect("e")).expect("two numbers");
    rsa.public_key_to_pem().expect("PEM")
}

fn of_bits(bits: u32) -> Vec<u8> {
    pem(&PKey::from_rsa(Rsa::generate(bits).expect("a key")).expect("a key"))
}

/// PEM around other DER.
fn armoured(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", openssl::base64::encode_block(der)).into_bytes()
}

fn certificate(key: &PKeyRef<Private>) -> Vec<u8> {
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_text("CN", "z").expect("a name");
    let name = name.build();
    let mut builder = X509Builder::new().expect("a certificate");
    builder.set_subject_name(&name).expect("a name");
    builder.set_issuer_name(&name).expect("a name");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("a day")).expect("a day");
    builder.set_not_after(&Asn1Time::days_from_now(1).expect("a day")).expect("a day");
    builder.set_pubkey(key).expect("a key");
    builder.sign(key, MessageDigest::sha256()).expect("a signature");
    builder.build().to_pem().expect("PEM")
}

/// The same key under the object identifier of PSS.
fn pss_spki(key: &PKeyRef<impl HasPublic>) -> Vec<u8> {
    let mut der = key.public_key_to_der().expect("DER");
    let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let at = der.windows(oid.len()).position(|window| window == oid).expect("rsaEncryption");
    der[at + 8] = 0x0a;
    armoured("PUBLIC KEY", &der)
}

/// Classes 28 to 38. A key that cannot be wrapped for is found before the run, wherever on the route it stands.
pub fn rows(honest: &Value, ours: &Seat, general: &str) -> Vec<Row> {
    let good = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let rsa = good.rsa().expect("RSA");
    let (n, e) = (rsa.n(), rsa.e());
    let mut even = n.to_owned().expect("n");
    even.sub_word(1).expect("an odd number");
    let mut huge = BigNum::new().expect("a number");
    huge.rand(16_384, openssl::bn::MsbOption::ONE, true).expect("a number");
    let mut prime = BigNum::new().expect("a number");
    prime.generate_prime(2048, false, None, None).expect("a prime");
    let mut wide = BigNum::new().expect("a number");
    wide.set_bit(65).and_then(|()| wide.set_bit(0)).expect("a number");
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    let elliptic = PKey::from_ec_key(EcKey::generate(&curve).expect("a key")).expect("a key");
    let edwards = PKey::generate_ed25519().expect("a key");
    let spki = good.public_key_to_der().expect("DER");
    let trailing = |mut der: Vec<u8>| {
        der.push(0);
        der
    };
    let twice = [pem(&good), pem(&good)].concat();
    let bad: Vec<(u32, &str, Vec<u8>)> = vec![
        (28, "RSA-512", of_bits(512)),
        (28, "RSA-1024", of_bits(1024)),
        (28, "RSA-2040", of_bits(2040)),
        (29, "e = 1", numbers(n, &number(1))),
        (29, "e = 65536", numbers(n, &number(65536))),
        (29, "e = 0", numbers(n, &number(0))),
        (29, "e of 66 bits", numbers(n, &wide)),
        (30, "an even modulus", numbers(&even, e)),
        (31, "16,384 bits", numbers(&huge, e)),
        (32, "an elliptic curve", pem(&elliptic)),
        (32, "Ed25519", pem(&edwards)),
        (34, "a certificate", certificate(&good)),
        (34, "a certificate's label", armoured("CERTIFICATE", &spki)),
        (34, "a private key", good.private_key_to_pem_pkcs8().expect("PEM")),
        (35, "two PEMs", twice),
        (35, "text before on its line", [b"text ".to_vec(), pem(&good)].concat()),
        (36, "a byte behind the DER", armoured("PUBLIC KEY", &trailing(spki))),
        (36, "a byte behind the DER, PKCS#1", armoured("RSA PUBLIC KEY", &trailing(rsa.public_key_to_der_pkcs1().expect("DER")))),
        (37, "PSS's object identifier", pss_spki(&good)),
    ];
    let mut rows = Vec::new();
    for (class, what, pem) in &bad {
        let hex = const_hex::encode(pem);
        let unusable = Rule("route-keys-usable");
        rows.push((*class, format!("{what}, of the next stop"), changed(honest, |config| next_stop(config, &hex)), unusable));
        let creator = changed(honest, |config| config["creator"]["rsa_public_key"] = hex.clone().into());
        rows.push((*class, format!("{what}, of the creator"), creator, unusable));
        let builder = changed(honest, |config| config["build"]["rsa_public_key"] = hex.clone().into());
        rows.push((*class, format!("{what}, of the builder"), builder, UNBELIEVED));
        let own = changed(honest, |config| stop(config, 0)["rsa_public_key"] = hex.clone().into());
        rows.push((*class, format!("{what}, of our own stop"), own, ROUTE));
    }
    let mut next = |class, what: &str, pem: Vec<u8>, why| {
        let config = changed(honest, |config| next_stop(config, &const_hex::encode(pem)));
        rows.push((class, what.to_owned(), config, Taken(why)));
    };
    next(29, "e = 3", numbers(n, &number(3)), "it is a valid key; OAEP and strict PKCS#1 are safe with it");
    next(30, "a prime modulus", numbers(&prime, e), "whose factors a sender knows cannot be seen: only the trust store helps");
    next(33, "PKCS#1", armoured("RSA PUBLIC KEY", &rsa.public_key_to_der_pkcs1().expect("DER")), "real creators use it");
    next(35, "text before", [b"Bag Attributes\n".to_vec(), pem(&good)].concat(), "train_lib and OpenSSL read it");
    let spelled = PKey::public_key_from_pem(&const_hex::decode(&ours.hex_pem).expect("hex")).expect("our key");
    let pkcs1 = armoured("RSA PUBLIC KEY", &spelled.rsa().expect("RSA").public_key_to_der_pkcs1().expect("DER"));
    let own = changed(honest, |config| stop(config, 0)["rsa_public_key"] = const_hex::encode(&pkcs1).into());
    rows.push((33, "PKCS#1, of our own stop".into(), own, Taken("it is our key, spelled otherwise")));
    let own = |hex: &str| changed(honest, |config| stop(config, 0)["rsa_public_key"] = hex.into());
    rows.push((38, "another key for our stop".into(), own(&const_hex::encode(pem(&good))), ROUTE));
    rows.push((38, "our general key for our stop".into(), own(general), ROUTE));
    let creator = changed(honest, |config| config["creator"]["rsa_public_key"] = const_hex::encode(pem(&good)).into());
    rows.push((38, "another key for the creator".into(), creator, Either("TRAIN_AUTHENTICATION_FAILED", "KEY_UNTRUSTED")));
    rows
}

/// PSS with this hash and salt.
fn pss(key: &PKey<Private>, md: &'static openssl::md::MdRef, digest: &[u8], salt: i32) -> Vec<u8> {
    let mut context = PkeyCtx::new(key).expect("a context");
    context.sign_init().expect("signing");
    context.set_rsa_padding(Padding::PKCS1_PSS).expect("PSS");
    context.set_signature_md(md).expect("a hash");
    context.set_rsa_mgf1_md(md).expect("a hash");
    context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt)).expect("a salt");
    let mut signature = Vec::new();
    context.sign_to_vec(digest, &mut signature).expect("a signature");
    signature
}

/// Classes 51 to 53, where the verifier is: salts, hashes, lengths.
pub fn signatures(tally: &mut Tally) {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let public = PublicKey::from_pem(&pem(&key)).expect("a key");
    let digest = Digest::of(b"results");
    let believed = |signature: &[u8]| public.verify_pss_any_salt(&digest, signature).is_ok();
    // As every version of the peers has signed.
    for salt in [0, 1, 64, 189, 190] {
        assert!(believed(&pss(&key, Md::sha512(), digest.as_bytes(), salt)), "a salt of {salt} bytes");
    }
    tally.elsewhere(
        51,
        "any salt is a valid PSS signature, and peers of all versions sign with some: 0, 1, 64, 189 and 190 bytes verify",
    );
    let good = pss(&key, Md::sha512(), digest.as_bytes(), 190);
    for md in [Md::sha1(), Md::sha256(), Md::sha384()] {
        let short = &digest.as_bytes()[..md.size()];
        assert!(!believed(&pss(&key, md, short, 20)), "another hash");
    }
    let mut pkcs1 = PkeyCtx::new(&key).expect("a context");
    pkcs1.sign_init().expect("signing");
    pkcs1.set_signature_md(Md::sha512()).expect("a hash");
    let mut signature = Vec::new();
    pkcs1.sign_to_vec(digest.as_bytes(), &mut signature).expect("a signature");
    assert!(!believed(&signature), "PKCS#1 in place of PSS");
    tally.elsewhere(52, "refused where signatures are verified: PSS with SHA-1, SHA-256 and SHA-384, and PKCS#1 in its place");
    let rsa = key.rsa().expect("RSA");
    let mut wrong =
        vec![good[..255].to_vec(), [&good[..], b"\0"].concat(), [b"\0", &good[..]].concat(), Vec::new(), rsa.n().to_vec()];
    wrong.push(vec![0xff; 256]);
    wrong.push(vec![0; 256]);
    assert!(believed(&good) && wrong.iter().all(|signature| !believed(signature)));
    tally.elsewhere(53, "refused where signatures are verified: a byte less or more, s = 0, s = n, s > n");
}
