use super::*;

#[test]
fn every_scheme_of_the_wire_is_known_and_nothing_else() {
    for number in 1..=10 {
        assert!(convert::signature_scheme(number).is_ok(), "{number}");
    }
    for number in [0, 11, -1] {
        assert_eq!(convert::signature_scheme(number).unwrap_err().reason(), Reason::MalformedRequest);
    }
    assert!(convert::wrapping_scheme(1).is_ok() && convert::wrapping_scheme(2).is_ok());
    for number in [0, 3] {
        assert_eq!(convert::wrapping_scheme(number).unwrap_err().reason(), Reason::MalformedRequest);
    }
}

#[test]
fn a_scheme_signs_the_digest_or_the_message_and_never_takes_both() {
    use stationmaster_keystore::{Hash, SignScheme};
    let request = |digest: usize, message: usize| pb::SignRequest {
        digest: vec![1; digest],
        message: vec![2; message],
        ..pb::SignRequest::default()
    };
    let signed = |scheme, digest, message| convert::signed(scheme, &request(digest, message)).map(<[u8]>::to_vec);
    for (scheme, length) in [(SignScheme::Pss(Hash::Sha256), 32), (SignScheme::EcdsaP256, 32), (SignScheme::EcdsaP384, 48)] {
        assert_eq!(signed(scheme, length, 0).ok(), Some(vec![1; length]));
        for (digest, message) in [(0, 0), (length - 1, 0), (length + 1, 0), (length, 1), (0, length)] {
            let refusal = signed(scheme, digest, message).unwrap_err();
            assert_eq!(refusal.reason(), Reason::MalformedRequest, "{scheme:?} {digest} {message}");
        }
    }
    for length in [1, 32 << 10] {
        assert_eq!(signed(SignScheme::Ed25519, 0, length).ok(), Some(vec![2; length]));
    }
    for (digest, message) in [(0, 0), (32, 0), (32, 32), (0, (32 << 10) + 1)] {
        assert_eq!(signed(SignScheme::Ed25519, digest, message).unwrap_err().reason(), Reason::MalformedRequest);
    }
}
