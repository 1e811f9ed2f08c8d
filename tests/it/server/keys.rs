//! `Sign` and `UnwrapKey`, checked with OpenSSL.

use openssl::{
    md::{Md, MdRef},
    pkey::{PKey, Public},
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    sign::RsaPssSaltlen,
};
use stationmaster_proto::{SignatureScheme as Scheme, WrappingScheme as Wrapping};

use crate::support::{Station, tamper::refused};

const GENERAL: &str = "a-general";

fn public_key(station: &Station, label: &str) -> PKey<Public> {
    PKey::public_key_from_pem(station.key(label).unwrap().public_key_pem.as_bytes()).unwrap()
}

/// Whether OpenSSL takes a signature; `salt` of PSS, `None` for PKCS#1 v1.5.
fn verifies(key: &PKey<Public>, hash: &MdRef, salt: Option<i32>, digest: &[u8], signature: &[u8]) -> bool {
    let mut context = PkeyCtx::new(key).unwrap();
    context.verify_init().unwrap();
    context.set_rsa_padding(if salt.is_some() { Padding::PKCS1_PSS } else { Padding::PKCS1 }).unwrap();
    context.set_signature_md(hash).unwrap();
    if let Some(salt) = salt {
        context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt)).unwrap();
        context.set_rsa_mgf1_md(hash).unwrap();
    }
    context.verify(digest, signature).unwrap_or(false)
}

#[test]
fn every_signature_scheme_verifies_elsewhere() {
    let station = Station::start("a");
    let key = public_key(&station, GENERAL);
    let schemes = [
        (Scheme::RsaPssSha256, Md::sha256(), Some(32)),
        (Scheme::RsaPssSha384, Md::sha384(), Some(48)),
        (Scheme::RsaPssSha512, Md::sha512(), Some(64)),
        (Scheme::RsaPssSha512MaxSalt, Md::sha512(), Some(190)),
        (Scheme::RsaPkcs1Sha256, Md::sha256(), None),
        (Scheme::RsaPkcs1Sha384, Md::sha384(), None),
        (Scheme::RsaPkcs1Sha512, Md::sha512(), None),
    ];
    for (scheme, hash, salt) in schemes {
        let digest = vec![0x5a; hash.size()];
        let signature = station.sign(GENERAL, scheme, &digest).unwrap();
        assert!(verifies(&key, hash, salt, &digest, &signature), "{scheme:?}");
        let other = vec![0x5b; hash.size()];
        assert!(!verifies(&key, hash, salt, &other, &signature), "{scheme:?} verifies for another digest");
        refused("a short digest", station.sign(GENERAL, scheme, &digest[1..]), "MALFORMED_REQUEST");
    }
    refused("no scheme", station.sign(GENERAL, Scheme::Unspecified, &[0; 32]), "MALFORMED_REQUEST");
    refused("no key", station.sign("absent", Scheme::RsaPssSha256, &[0; 32]), "KEY_NOT_FOUND");
    refused("an empty label", station.sign("", Scheme::RsaPssSha256, &[0; 32]), "MALFORMED_REQUEST");
}

fn wrap(key: &PKey<Public>, hash: &MdRef, secret: &[u8]) -> Vec<u8> {
    let mut context = PkeyCtx::new(key).unwrap();
    context.encrypt_init().unwrap();
    context.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
    context.set_rsa_oaep_md(hash).unwrap();
    context.set_rsa_mgf1_md(hash).unwrap();
    let mut wrapped = Vec::new();
    context.encrypt_to_vec(secret, &mut wrapped).unwrap();
    wrapped
}

#[test]
fn a_key_wrapped_elsewhere_is_unwrapped_and_a_forged_one_reveals_nothing() {
    let station = Station::start("a");
    let key = public_key(&station, GENERAL);
    for (scheme, hash, other) in
        [(Wrapping::RsaOaepSha256, Md::sha256(), Md::sha512()), (Wrapping::RsaOaepSha512, Md::sha512(), Md::sha256())]
    {
        for secret in [&[9; 32][..], b"", &[1; 62]] {
            let wrapped = wrap(&key, hash, secret);
            assert_eq!(station.unwrap_key(GENERAL, scheme, &wrapped).unwrap(), secret, "{scheme:?}");
        }
        let mut flipped = wrap(&key, hash, &[9; 32]);
        flipped[100] ^= 1;
        let (below, above) = (vec![0; 256], vec![0xff; 256]);
        let attacks = [flipped, wrap(&key, other, &[9; 32]), below, above];
        let mut seen = Vec::new();
        for attack in &attacks {
            let refusal = refused("forged", station.unwrap_key(GENERAL, scheme, attack), "UNWRAP_FAILED");
            seen.push((refusal.code, refusal.message, refusal.metadata.into_keys().collect::<Vec<_>>()));
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "{scheme:?}: the refusals can be told apart: {seen:?}");
        refused("too short", station.unwrap_key(GENERAL, scheme, &[0; 255]), "MALFORMED_REQUEST");
    }
}

#[test]
fn a_train_key_is_not_served_unless_the_configuration_names_it() {
    let station = Station::start("a");
    let wrapped = wrap(&public_key(&station, "a"), Md::sha512(), &[9; 32]);
    let denied = refused("sign", station.sign("a", Scheme::RsaPssSha512MaxSalt, &[0; 64]), "KEY_NOT_ALLOWED");
    assert_eq!(denied.code, tonic::Code::PermissionDenied);
    refused("unwrap", station.unwrap_key("a", Wrapping::RsaOaepSha512, &wrapped), "KEY_NOT_ALLOWED");
    drop(station);

    let named = Station::with("a").start_configured(|config| {
        config["keys"].as_table_mut().unwrap().insert("raw_use".into(), vec![toml::Value::from("a")].into());
    });
    let wrapped = wrap(&public_key(&named, "a"), Md::sha512(), &[9; 32]);
    assert_eq!(named.unwrap_key("a", Wrapping::RsaOaepSha512, &wrapped).unwrap(), [9; 32]);
    named.sign("a", Scheme::RsaPssSha512MaxSalt, &[0; 64]).unwrap();
}

#[test]
fn no_more_keys_are_shown_than_the_configuration_names() {
    let station = Station::start("a");
    let labels: Vec<String> = station.keys().unwrap().into_iter().map(|key| key.label).collect();
    assert_eq!(labels, ["a", GENERAL, "audit"]);
    refused("no key", station.key("absent"), "KEY_NOT_FOUND");
}
