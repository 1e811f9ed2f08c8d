use openssl::{
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
};

use super::*;
use crate::{
    vectors::{Step, steps},
    verify::own_chain_digest,
};

#[test]
fn the_next_config_is_what_train_lib_writes_to_the_byte() {
    for Step { config, own, results, next, .. } in steps() {
        // Signatures and wrapped keys are random: take train_lib's, in the order of this config.
        let theirs = TrainConfig::parse(&next).unwrap();
        let their_stop = |index: i64| theirs.route.iter().find(|stop| stop.index == index).unwrap();
        let link = their_stop(own.stops_before() as i64).signature.clone().unwrap();
        let route = config.route.iter().map(|stop| their_stop(stop.index).encrypted_key.clone());
        let closing = Closing {
            results: &results,
            result_signature: &theirs.result_signature.as_ref().unwrap().decode().unwrap(),
            chain: &own_chain_digest(&config, &own, &results).unwrap(),
            chain_signature: &link.signature.decode().unwrap(),
            keys: WrappedKeys { route: route.collect(), creator: theirs.creator.encrypted_key.clone().unwrap() },
        };
        let ours = next_config(&config, &own, closing);
        assert_eq!(String::from_utf8(ours.to_bytes()), String::from_utf8(next));
        assert_eq!(ours, theirs);
    }
}

fn unwrap(private: &PKey<Private>, wrapped: &HexText) -> Vec<u8> {
    let mut decrypter = openssl::encrypt::Decrypter::new(private).unwrap();
    decrypter.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
    decrypter.set_rsa_oaep_md(openssl::hash::MessageDigest::sha512()).unwrap();
    decrypter.set_rsa_mgf1_md(openssl::hash::MessageDigest::sha512()).unwrap();
    let wrapped = wrapped.decode().unwrap();
    let mut key = vec![0; decrypter.decrypt_len(&wrapped).unwrap()];
    let len = decrypter.decrypt(&wrapped, &mut key).unwrap();
    key.truncate(len);
    key
}

#[test]
fn the_key_is_wrapped_for_every_stop_at_its_place_and_for_the_creator() {
    let mut config = steps().remove(0).config;
    let private: Vec<PKey<Private>> = (0..4).map(|_| PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()).collect();
    let hex_pem = |key: &PKey<Private>| HexText::from_bytes(&key.public_key_to_pem().unwrap());
    for (stop, key) in config.route.iter_mut().zip(&private) {
        stop.rsa_public_key = hex_pem(key);
    }
    config.creator.rsa_public_key = hex_pem(&private[3]);
    let key = EnvelopeKey::random().unwrap();
    let wrapped = wrap_for(&config, &key, |_| true).unwrap();
    assert_eq!(wrapped.route.len(), 3);
    for (private, wrapped) in private.iter().zip(&wrapped.route) {
        assert_eq!(unwrap(private, wrapped.as_ref().unwrap()), key.as_bytes());
    }
    assert_eq!(unwrap(&private[3], &wrapped.creator), key.as_bytes());
}

#[test]
fn a_stop_that_is_not_given_the_key_gets_none_whatever_its_own_key_is() {
    let mut config = steps().remove(0).config;
    config.route[0].rsa_public_key = HexText::new("zz");
    let refused = config.route[0].index;
    let wrapped = wrap_for(&config, &EnvelopeKey::random().unwrap(), |stop| stop.index != refused).unwrap();
    let given: Vec<bool> = wrapped.route.iter().map(Option::is_some).collect();
    assert_eq!(given, [false, true, true]);
}

#[test]
fn one_bad_key_on_the_route_stops_the_wrapping_and_is_named() {
    let mut config = steps().remove(0).config;
    let key = EnvelopeKey::random().unwrap();
    config.route[1].rsa_public_key = HexText::new("zz");
    let error = WrapError::Stop { position: 1, cause: KeyError::NotHex };
    assert_eq!(wrap_for(&config, &key, |_| true), Err(error));
    let mut config = steps().remove(0).config;
    config.creator.rsa_public_key = HexText::new("00");
    assert_eq!(wrap_for(&config, &key, |_| true), Err(WrapError::Creator(KeyError::NotPem)));
}

#[test]
fn the_user_key_file_is_the_raw_wrapped_key() {
    let steps = steps();
    assert_eq!(user_key_bytes(&steps[0].config), None);
    let next = TrainConfig::parse(&steps[0].next).unwrap();
    assert_eq!(user_key_bytes(&next).unwrap().unwrap().len(), 3072 / 8);
    let mut broken = next;
    broken.creator.encrypted_key = Some(HexText::new("0"));
    assert_eq!(user_key_bytes(&broken), Some(Err(HexError)));
}
