use openssl::ec::PointConversionForm;

use super::*;

fn curve_key(curve: Nid) -> (PKey<Public>, Vec<u8>) {
    let group = EcGroup::from_curve_name(curve).unwrap();
    let key = EcKey::generate(&group).unwrap();
    let form = PointConversionForm::UNCOMPRESSED;
    let point = key.public_key().to_bytes(&group, form, &mut BigNumContext::new().unwrap()).unwrap();
    (PKey::from_ec_key(EcKey::from_public_key(&group, key.public_key()).unwrap()).unwrap(), point)
}

fn wrapped(point: &[u8]) -> [Vec<u8>; 3] {
    let length = u8::try_from(point.len()).unwrap();
    [point.to_vec(), [&[0x04, length][..], point].concat(), [&[0x03, length + 1, 0][..], point].concat()]
}

fn read_as(family: Family, parameters: &[u8], point: &[u8]) -> PublicHalf {
    read(family, &[Attribute::EcParams(parameters.to_vec()), Attribute::EcPoint(point.to_vec())])
}

#[track_caller]
fn is_key(found: PublicHalf, wanted: &PKey<Public>, wanted_type: KeyType, bits: u32) {
    let PublicHalf::Key { public, key_type, spki_der } = found else { panic!("{found:?}") };
    assert!(public.public_eq(wanted));
    assert_eq!((key_type, spki_der), (wanted_type, wanted.public_key_to_der().unwrap()));
    assert_eq!(key_type.bits(&public), bits);
}

#[test]
fn a_point_is_read_in_every_form_that_tokens_give_it() {
    for (curve, parameters, key_type, bits) in
        [(Nid::X9_62_PRIME256V1, P256, KeyType::EcP256, 256), (Nid::SECP384R1, P384, KeyType::EcP384, 384)]
    {
        let (key, point) = curve_key(curve);
        for point in wrapped(&point) {
            is_key(read_as(Family::Curve, parameters, &point), &key, key_type, bits);
        }
    }
    let key = PKey::generate_ed25519().unwrap();
    let point = key.raw_public_key().unwrap();
    let key = PKey::public_key_from_raw_bytes(&point, Id::ED25519).unwrap();
    for parameters in [ED25519, ED25519_NAME, ED25519_OLD] {
        for point in wrapped(&point) {
            is_key(read_as(Family::Edwards, parameters, &point), &key, KeyType::Ed25519, 255);
        }
    }
}

#[test]
fn what_is_no_point_of_the_curve_is_no_key() {
    let (_, good) = curve_key(Nid::X9_62_PRIME256V1);
    let mut off = good.clone();
    off[64] ^= 1;
    let (_, other) = curve_key(Nid::SECP384R1);
    for point in [&off[..], &other, &good[1..], &[&good[..], &[0]].concat(), &[0], &[]] {
        assert!(matches!(read_as(Family::Curve, P256, point), PublicHalf::Unknown), "{point:?}");
    }
    for point in [&[1; 31][..], &[1; 33], &[]] {
        assert!(matches!(read_as(Family::Edwards, ED25519, point), PublicHalf::Unknown), "{point:?}");
    }
    assert!(matches!(read(Family::Curve, &[]), PublicHalf::Unknown));
}

#[test]
fn a_curve_that_is_not_used_is_named() {
    let (_, point) = curve_key(Nid::SECP256K1);
    for (family, parameters, wanted) in [
        (Family::Curve, &b"\x06\x05\x2b\x81\x04\x00\x0a"[..], "EC secp256k1"),
        (Family::Curve, b"\x06\x03\x2a\x03\x04", "EC 1.2.3.4"),
        (Family::Curve, b"\x30\x00", "EC"),
        (Family::Edwards, b"\x06\x03\x2b\x65\x71", "EC_EDWARDS ED448"),
        // A curve of the other family.
        (Family::Edwards, P256, "EC_EDWARDS prime256v1"),
        (Family::Curve, b"\x06\xff\xff", "EC"),
        (Family::Curve, b"", ""),
    ] {
        match read_as(family, parameters, &point) {
            PublicHalf::OtherCurve(name) => assert_eq!(name, wanted),
            other => assert!(wanted.is_empty() && matches!(other, PublicHalf::Unknown), "{parameters:?}: {other:?}"),
        }
    }
}
