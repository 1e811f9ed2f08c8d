//! Keys, sealed files, and blocks that a token might hand out.

use openssl::{bn::BigNum, rsa::Rsa};
use serde_json::Value;

/// Public keys in every spelling, each behind its form's number.
pub fn public_keys() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let vectors: Value = serde_json::from_str(include_str!("../../../../tests/vectors/public-keys.json")).expect("vectors");
    let texts = |case: &Value, field: &str| const_hex::decode(case[field].as_str().expect("hex")).expect("hex");
    for case in vectors.as_array().expect("keys") {
        let (spki, pkcs1, der) = (texts(case, "spki"), texts(case, "pkcs1"), texts(case, "der"));
        for spelling in
            [[&[2][..], const_hex::encode(&spki).as_bytes()].concat(), [&[1][..], &spki].concat(), [&[1][..], &pkcs1].concat()]
        {
            found.push(spelling);
        }
        found.push([&[1][..], &spki, &spki].concat());
        found.push([&[1][..], &String::from_utf8_lossy(&spki).replace("PUBLIC KEY", "CERTIFICATE").into_bytes()].concat());
        found.push([&[0][..], &der, b"\0"].concat());
        found.push([&[0][..], &der[..der.len() - 1]].concat());
        found.push([&[0][..], &der].concat());
        let key = Rsa::public_key_from_der(&der).expect("a key");
        found.push(numbers(&key.n().to_vec(), &key.e().to_vec()));
    }
    let modulus = |bits: i32| {
        let mut number = BigNum::new().expect("OpenSSL");
        number.set_bit(bits - 1).expect("OpenSSL");
        number.set_bit(0).expect("OpenSSL");
        number
    };
    for (bits, exponent) in
        [(512, 65537), (1024, 3), (2048, 1), (2048, 2), (2048, 3), (2047, 65537), (4096, 65536), (8192, 3), (8193, 3)]
    {
        let exponent = BigNum::from_u32(exponent).expect("OpenSSL");
        let modulus = modulus(bits);
        found.push(numbers(&modulus.to_vec(), &exponent.to_vec()));
        if let Ok(key) = Rsa::from_public_components(modulus, exponent) {
            found.push([&[0][..], &key.public_key_to_der().expect("OpenSSL")].concat());
        }
    }
    // An elliptic key (P-256, the generator), and PSS's own OID.
    found.push([&[0][..], &const_hex::decode(P256).expect("hex")].concat());
    found.push(vec![2]);
    found.push(b"\x02 2d2d".to_vec());
    found
}

const P256: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

fn numbers(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    [&[3][..], &(modulus.len() as u16).to_be_bytes(), modulus, exponent].concat()
}

/// Sealed files of train_lib, and plaintexts around the block's edges.
pub fn envelopes() -> Vec<Vec<u8>> {
    let vectors: Value = serde_json::from_str(include_str!("../../../../tests/vectors/envelopes.json")).expect("vectors");
    let cases = vectors.as_array().expect("envelopes").iter();
    let sealed = cases.filter_map(|case| const_hex::decode(case["sealed"].as_str()?).ok());
    let mut found: Vec<Vec<u8>> =
        sealed.filter(|sealed| sealed.len() < 4000).map(|sealed| [&[2, 0, 6][..], &sealed].concat()).collect();
    for len in [0, 1, 15, 16, 17, 31, 32, 33, 255, 1000] {
        for key in 0..4 {
            found.push([&[key, 1, 15][..], &vec![key; len]].concat());
            found.push([&[key, 0, 0][..], &vec![key; len]].concat());
        }
    }
    found
}

/// Blocks that are good once masked, and wrong in each way they can be.
#[cfg(feature = "fuzzing")]
pub fn oaep_blocks() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (scheme, hash) in [(0u8, 32usize), (1, 64)] {
        for modulus in [2 * hash + 2, 256, 384, 512] {
            let room = modulus - 2 * hash - 1;
            for message in [0, 1, 32, room - 1] {
                let Some(zeros) = (room - 1).checked_sub(message) else { continue };
                let seed = vec![0x5a; hash];
                let good =
                    [&[scheme | 14][..], &[0], &seed, &vec![0; hash], &vec![0; zeros], &[1], &vec![0xab; message]].concat();
                let start = 1 + 1 + 2 * hash;
                for (place, value) in [(1, 0), (1, 1), (start, 2), (start + zeros, 0), (start + zeros, 2)] {
                    let mut block = good.clone();
                    block[place] = value;
                    // Without the bit that clears the first byte.
                    block[0] = if place == 1 { scheme | 6 } else { scheme | 14 };
                    found.push(block);
                }
                let mut wrong_label = good.clone();
                wrong_label[0] = scheme | 10;
                found.push(wrong_label);
                found.push(good);
            }
            found.push([&[scheme][..], &vec![0; modulus]].concat());
            found.push([&[scheme][..], &vec![0xff; modulus - 1]].concat());
        }
    }
    found.extend([vec![0], vec![1], vec![1; 131], vec![0; 67]]);
    found
}
