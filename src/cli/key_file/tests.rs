//! Tests of key files. Every kind is created by the usual tool, and the advised command is run: its result must be the expected key.

use std::{fs, process::Command};

use super::*;

struct KeyFiles(tempfile::TempDir);

impl KeyFiles {
    /// A files with an RSA key in `private.pem`, its public half in `right.pem`, and a certificate in `cert.pem`.
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.sh("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out private.pem");
        files.sh("openssl pkey -in private.pem -pubout -out right.pem");
        files.sh("openssl req -x509 -new -key private.pem -subj /CN=x -days 2 -out cert.pem");
        files
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
    let files = KeyFiles::new();
    let right = public_key(&files.at("right.pem")).unwrap();
    let pem = fs::read_to_string(files.at("right.pem")).unwrap();
    files.write("bom", format!("\u{feff}{pem}"));
    files.write("bag", format!("Bag Attributes\n    friendlyName: a\nKey Attributes: <No Attributes>\n{pem}a note\n"));
    files.write("crlf", pem.replace('\n', "\r\n"));
    files.write("hex", const_hex::encode(&pem) + "\n");
    files.write("hex-der", const_hex::encode(right.to_der()));
    files.write("jwk", right.to_jwk_json());
    files.sh("openssl pkey -in private.pem -pubout -outform DER -out der");
    files.sh("openssl rsa -in private.pem -RSAPublicKey_out -out pkcs1");
    files.sh("openssl rsa -in private.pem -RSAPublicKey_out -outform DER -out pkcs1-der");
    for dress in ["bom", "bag", "crlf", "hex", "hex-der", "jwk", "der", "pkcs1", "pkcs1-der"] {
        assert_eq!(public_key(&files.at(dress)).as_ref().ok(), Some(&right), "{dress}");
    }
    assert_eq!(public_key_in_hex(&const_hex::encode(&pem)).ok(), Some(right));
}

#[test]
fn what_holds_the_key_is_named_with_the_command_that_takes_it_out() {
    let files = KeyFiles::new();
    let right = public_key(&files.at("right.pem")).unwrap();
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
        files.sh(make);
        let error = public_key(&files.at(name)).expect_err(name);
        assert_eq!(error.exit, crate::cli::error::Exit::Usage, "{name}");
        assert!(error.message.contains(&format!("{name} is {what}; expected an RSA public key")), "{}", error.message);
        let hint = error.hint.expect("a hint");
        assert_eq!(hint.contains("private key must not be disclosed"), what.contains("PRIVATE"), "{name}: {hint}");
        files.sh("rm -f public.pem key.pem");
        files.sh(command(&hint));
        let made = ["public.pem", "key.pem"].into_iter().find(|made| files.at(made).exists()).expect("what the command makes");
        assert_eq!(public_key(&files.at(made)).ok().as_ref(), Some(&right), "{name}: {hint}");
    }
}

#[test]
fn what_cannot_become_the_key_is_named_too() {
    let files = KeyFiles::new();
    files.sh("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl pkey -pubout -out ec.pem");
    files.sh("openssl pkey -pubin -in ec.pem -outform DER -out ec.der");
    files.sh("openssl genpkey -algorithm ed25519 | openssl pkey -pubout -out ed.pem");
    files.sh("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 | openssl pkey -pubout -out short.pem");
    files.sh("openssl pkcs12 -export -inkey private.pem -in cert.pem -passout pass:a -out bundle.p12");
    files.sh("openssl pkey -in private.pem -aes256 -passout pass:a -out locked.pem");
    files.write("empty", " \n");
    files.write("text", "hello\n");
    files.write("train_config.json", r#"{"@id": "x", "session_id": "00"}"#);
    files.write("trust.toml", "version = 1\n[[creator]]\nid = \"a\"\n");
    files.write("private.jwk", r#"{"kty":"RSA","n":"AA","e":"AQAB","d":"AA"}"#);
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
        let error = public_key(&files.at(name)).expect_err(name);
        assert!(error.message.contains(what), "{name}: {}", error.message);
        assert!(error.hint.as_ref().is_some_and(|told| told.contains(hint)), "{name}: {:?}", error.hint);
    }
}

#[test]
fn certificates_and_private_keys_are_distinguished() {
    let files = KeyFiles::new();
    files.sh("cat cert.pem private.pem > both.pem; openssl x509 -in cert.pem -outform DER -out cert.der");
    files.sh("openssl pkey -in private.pem -aes256 -passout pass:a -out locked.pem");
    let refused = |name: &str, wanted| pem(&files.at(name), wanted).expect_err(name);
    for (name, wanted) in [
        ("cert.pem", ExpectedKind::Certificates),
        ("both.pem", ExpectedKind::Certificates),
        ("both.pem", ExpectedKind::PlainPrivateKey),
        ("private.pem", ExpectedKind::PlainPrivateKey),
        ("locked.pem", ExpectedKind::PrivateKey),
    ] {
        assert!(pem(&files.at(name), wanted).is_ok(), "{name}");
    }
    assert!(refused("private.pem", ExpectedKind::Certificates).hint.unwrap().contains("swapped"));
    assert!(refused("cert.pem", ExpectedKind::PlainPrivateKey).hint.unwrap().contains("swapped"));
    assert!(refused("locked.pem", ExpectedKind::PlainPrivateKey).hint.unwrap().contains("without a passphrase"));
    let hint = refused("cert.der", ExpectedKind::Certificates).hint.unwrap();
    files.sh("mv cert.pem before.pem");
    files.sh(command(&hint));
    assert!(pem(&files.at("cert.pem"), ExpectedKind::Certificates).is_ok());
}
