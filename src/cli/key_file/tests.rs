//! Tests of key files. Every kind is created by the usual tool, and the advised command is run: its result must be the expected key.

use std::{fs, process::Command};

use super::*;

struct Desk(tempfile::TempDir);

impl Desk {
    /// A desk with an RSA key in `private.pem`, its public half in `right.pem`, and a certificate in `cert.pem`.
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.sh("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out private.pem");
        desk.sh("openssl pkey -in private.pem -pubout -out right.pem");
        desk.sh("openssl req -x509 -new -key private.pem -subj /CN=x -days 2 -out cert.pem");
        desk
    }

    #[track_caller]
    fn sh(&self, script: &str) {
        let done = Command::new("sh").args(["-euc", script]).current_dir(self.0.path()).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.at(name), bytes).unwrap();
    }
}

/// The command that a hint gives.
fn command(hint: &str) -> &str {
    hint.split('`').nth(1).unwrap_or_else(|| panic!("no command in {hint:?}"))
}

#[test]
fn a_public_key_is_read_in_every_dress() {
    let desk = Desk::new();
    let right = public_key(&desk.at("right.pem")).unwrap();
    let pem = fs::read_to_string(desk.at("right.pem")).unwrap();
    desk.write("bom", format!("\u{feff}{pem}"));
    desk.write("bag", format!("Bag Attributes\n    friendlyName: a\nKey Attributes: <No Attributes>\n{pem}a note\n"));
    desk.write("crlf", pem.replace('\n', "\r\n"));
    desk.write("hex", const_hex::encode(&pem) + "\n");
    desk.write("hex-der", const_hex::encode(right.to_der()));
    desk.write("jwk", right.to_jwk_json());
    desk.sh("openssl pkey -in private.pem -pubout -outform DER -out der");
    desk.sh("openssl rsa -in private.pem -RSAPublicKey_out -out pkcs1");
    desk.sh("openssl rsa -in private.pem -RSAPublicKey_out -outform DER -out pkcs1-der");
    for dress in ["bom", "bag", "crlf", "hex", "hex-der", "jwk", "der", "pkcs1", "pkcs1-der"] {
        assert_eq!(public_key(&desk.at(dress)).as_ref().ok(), Some(&right), "{dress}");
    }
    assert_eq!(public_key_in_hex(&const_hex::encode(&pem)).ok(), Some(right));
}

#[test]
fn what_holds_the_key_is_named_with_the_command_that_takes_it_out() {
    let desk = Desk::new();
    let right = public_key(&desk.at("right.pem")).unwrap();
    for (make, name, what) in [
        ("", "private.pem", "a PRIVATE key"),
        ("openssl rsa -in private.pem -traditional -out pkcs1.pem", "pkcs1.pem", "a PRIVATE key"),
        ("openssl pkey -in private.pem -outform DER -out private.der", "private.der", "a PRIVATE key in DER"),
        ("cat right.pem private.pem > both.pem", "both.pem", "a PRIVATE key"),
        ("", "cert.pem", "a certificate"),
        ("openssl x509 -in cert.pem -outform DER -out cert.der", "cert.der", "a certificate in DER"),
        ("openssl x509 -in cert.pem -text -out text.pem", "text.pem", "a certificate"),
        ("openssl req -new -key private.pem -subj /CN=x -out request.pem", "request.pem", "a certificate request"),
        ("openssl crl2pkcs7 -nocrl -certfile cert.pem -out chain.p7", "chain.p7", "a PKCS#7 file"),
        ("cp private.pem id && chmod 600 id && ssh-keygen -y -f id > id.pub", "id.pub", "an SSH public key"),
        ("ssh-keygen -e -f id.pub > id.ssh2", "id.ssh2", "an SSH public key"),
        ("cp id open && ssh-keygen -p -N '' -f open", "open", "an SSH PRIVATE key"),
        ("gzip -c right.pem > right.gz", "right.gz", "a compressed file"),
        ("xz -c right.pem > right.xz", "right.xz", "a compressed file"),
        ("zstd -q right.pem -o right.zst", "right.zst", "a compressed file"),
        ("bzip2 -c right.pem > right.bz2", "right.bz2", "a compressed file"),
        ("iconv -f UTF-8 -t UTF-16 right.pem > 'right in UTF-16'", "right in UTF-16", "text in UTF-16"),
    ] {
        desk.sh(make);
        let error = public_key(&desk.at(name)).expect_err(name);
        assert_eq!(error.exit, crate::cli::error::Exit::Usage, "{name}");
        assert!(error.message.contains(&format!("{name} is {what}; expected an RSA public key")), "{}", error.message);
        let hint = error.hint.expect("a hint");
        assert_eq!(hint.contains("private key must not be disclosed"), what.contains("PRIVATE"), "{name}: {hint}");
        desk.sh("rm -f public.pem key.pem");
        desk.sh(command(&hint));
        let made = ["public.pem", "key.pem"].into_iter().find(|made| desk.at(made).exists()).expect("what the command makes");
        assert_eq!(public_key(&desk.at(made)).ok().as_ref(), Some(&right), "{name}: {hint}");
    }
}

#[test]
fn what_cannot_become_the_key_is_named_all_the_same() {
    let desk = Desk::new();
    desk.sh("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl pkey -pubout -out ec.pem");
    desk.sh("openssl pkey -pubin -in ec.pem -outform DER -out ec.der");
    desk.sh("openssl genpkey -algorithm ed25519 | openssl pkey -pubout -out ed.pem");
    desk.sh("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 | openssl pkey -pubout -out short.pem");
    desk.sh("openssl pkcs12 -export -inkey private.pem -in cert.pem -passout pass:a -out bundle.p12");
    desk.sh("openssl pkey -in private.pem -aes256 -passout pass:a -out locked.pem");
    desk.write("empty", " \n");
    desk.write("text", "hello\n");
    desk.write("train_config.json", r#"{"@id": "x", "session_id": "00"}"#);
    desk.write("trust.toml", "version = 1\n[[creator]]\nid = \"a\"\n");
    desk.write("private.jwk", r#"{"kty":"RSA","n":"AA","e":"AQAB","d":"AA"}"#);
    for (name, what, hint) in [
        ("ec.pem", "is a public key of the kind EC", "RSA keys of 2048"),
        ("ec.der", "is a public key of the kind EC", "RSA keys of 2048"),
        ("ed.pem", "is a public key of the kind Ed25519", "RSA keys of 2048"),
        ("short.pem", "1024 bits, not 2048 to 8192", "an RSA public key of 2048"),
        ("bundle.p12", "is a PKCS#12 file", "openssl pkcs12"),
        ("locked.pem", "is an encrypted PRIVATE key", "openssl pkey"),
        ("empty", "is empty", "an RSA public key of 2048"),
        ("text", "is no key or certificate", "an RSA public key of 2048"),
        ("train_config.json", "is a train's configuration", "trust import"),
        ("trust.toml", "is a trust file", "trust import"),
        ("private.jwk", "is a PRIVATE JSON Web Key", "public half"),
    ] {
        let error = public_key(&desk.at(name)).expect_err(name);
        assert!(error.message.contains(what), "{name}: {}", error.message);
        assert!(error.hint.as_ref().is_some_and(|told| told.contains(hint)), "{name}: {:?}", error.hint);
    }
}

#[test]
fn certificates_and_private_keys_are_told_apart() {
    let desk = Desk::new();
    desk.sh("cat cert.pem private.pem > both.pem; openssl x509 -in cert.pem -outform DER -out cert.der");
    desk.sh("openssl pkey -in private.pem -aes256 -passout pass:a -out locked.pem");
    let refused = |name: &str, wanted| pem(&desk.at(name), wanted).expect_err(name);
    for (name, wanted) in [
        ("cert.pem", Wanted::Certificates),
        ("both.pem", Wanted::Certificates),
        ("both.pem", Wanted::PlainPrivateKey),
        ("private.pem", Wanted::PlainPrivateKey),
        ("locked.pem", Wanted::PrivateKey),
    ] {
        assert!(pem(&desk.at(name), wanted).is_ok(), "{name}");
    }
    assert!(refused("private.pem", Wanted::Certificates).hint.unwrap().contains("swapped"));
    assert!(refused("cert.pem", Wanted::PlainPrivateKey).hint.unwrap().contains("swapped"));
    assert!(refused("locked.pem", Wanted::PlainPrivateKey).hint.unwrap().contains("without a passphrase"));
    let hint = refused("cert.der", Wanted::Certificates).hint.unwrap();
    desk.sh("mv cert.pem before.pem");
    desk.sh(command(&hint));
    assert!(pem(&desk.at("cert.pem"), Wanted::Certificates).is_ok());
}
