//! Commands that convert a file of one kind into the expected kind.

use super::{ExpectedKind, FileKind};

impl FileKind {
    /// Returns how to convert the file; `file` is quoted for a shell.
    pub(crate) fn advice(self, wanted: ExpectedKind, file: &str) -> Option<String> {
        use ExpectedKind as W;
        /// For a user who nearly disclosed a private key.
        const KEEP: &str = "A private key must not be disclosed; this extracts its public half:";
        let out = match wanted {
            W::PublicKey | W::CheckpointKey | W::PrivateKey | W::PlainPrivateKey => "key.pem",
            W::Certificates => "cert.pem",
            W::RevocationLists => "crl.pem",
        };
        if wanted == W::CheckpointKey && !matches!(self, Self::OtherKey(_) | Self::OpenPgp | Self::TrustFile | Self::TrainConfig)
        {
            return self.advice(W::PublicKey, file);
        }
        let text = match (self, wanted) {
            (Self::Packed(program), W::PrivateKey | W::PlainPrivateKey) => {
                format!("unpack it, for its owner only: `(umask 077; {program} {file} > {out})`")
            }
            (Self::Packed(program), _) => format!("unpack it: `{program} {file} > {out}`"),
            (Self::Utf16, W::PrivateKey | W::PlainPrivateKey) => {
                format!("`(umask 077; iconv -f UTF-16 -t UTF-8 {file} > {out})` writes it as UTF-8, for its owner only")
            }
            (Self::Utf16, _) => format!("`iconv -f UTF-16 -t UTF-8 {file} > {out}` writes it as UTF-8"),
            (Self::JavaKeyStore, _) => format!(
                "`keytool -importkeystore -srckeystore {file} -destkeystore store.p12 -deststoretype PKCS12` converts it to PKCS#12, from which \
                 openssl extracts keys and certificates"
            ),
            (Self::OtherKey(_), W::PublicKey) => {
                "trains use RSA keys of 2048 to 8192 bits; a key of another kind cannot be converted".to_owned()
            }
            (Self::OpenPgp, W::PublicKey) => "request the owner's RSA key for trains, as PEM".to_owned(),
            (Self::PrivateKey | Self::EncryptedPrivateKey, W::PublicKey) => {
                format!("{KEEP} `openssl pkey -in {file} -pubout -out public.pem`")
            }
            (Self::PrivateKeyDer | Self::EncryptedPrivateKeyDer, W::PublicKey) => {
                format!("{KEEP} `openssl pkey -inform DER -in {file} -pubout -out public.pem`")
            }
            (Self::SshPrivateKey, W::PublicKey) => format!("{KEEP} `ssh-keygen -e -m PKCS8 -f {file} > public.pem`"),
            (Self::Pkcs12, W::PublicKey) => {
                format!("{KEEP} `openssl pkcs12 -in {file} -nokeys -clcerts | openssl x509 -pubkey -noout > public.pem`")
            }
            (Self::PrivateJwk, W::PublicKey) => "give the public half: the same object without d, p, q, dp, dq and qi".to_owned(),
            (Self::Certificate | Self::OldCertificate, W::PublicKey) => {
                format!("`openssl x509 -in {file} -pubkey -noout > public.pem` extracts the key")
            }
            (Self::CertificateDer, W::PublicKey) => {
                format!("`openssl x509 -inform DER -in {file} -pubkey -noout > public.pem` extracts the key")
            }
            (Self::Request, W::PublicKey) => {
                format!("`openssl req -in {file} -pubkey -noout > public.pem` extracts the key")
            }
            (Self::Pkcs7, W::PublicKey) => {
                format!(
                    "`openssl pkcs7 -in {file} -print_certs | openssl x509 -pubkey -noout > public.pem` extracts the first key"
                )
            }
            (Self::Pkcs7Der, W::PublicKey) => format!(
                "`openssl pkcs7 -inform DER -in {file} -print_certs | openssl x509 -pubkey -noout > public.pem` extracts the first key"
            ),
            (Self::SshPublicKey, W::PublicKey) => {
                format!("`ssh-keygen -e -m PKCS8 -f {file} > public.pem` writes it as PEM, if it is RSA")
            }
            (Self::Ssh2PublicKey, W::PublicKey) => {
                format!("`ssh-keygen -i -f {file} > key.pub && ssh-keygen -e -m PKCS8 -f key.pub > public.pem` writes it as PEM")
            }
            (Self::TrustFile | Self::TrainConfig, W::PublicKey) => {
                format!("`stationmaster trust import {file}` imports its keys")
            }
            (Self::PrivateKeyDer, W::PrivateKey | W::PlainPrivateKey) => {
                format!("`(umask 077; openssl pkey -inform DER -in {file} -out key.pem)` writes it as PEM, for its owner only")
            }
            (Self::SshPrivateKey, W::PrivateKey) => {
                format!("`cp {file} key.pem && ssh-keygen -p -m PEM -f key.pem` writes a copy as PEM")
            }
            (Self::SshPrivateKey, W::PlainPrivateKey) => {
                format!("`cp {file} key.pem && ssh-keygen -p -N '' -m PEM -f key.pem` writes a copy as PEM, without a passphrase")
            }
            (Self::Pkcs12, W::PrivateKey) => {
                format!("`openssl pkcs12 -in {file} -nocerts -out key.pem` extracts the key")
            }
            (Self::Pkcs12, W::PlainPrivateKey) => {
                format!(
                    "`(umask 077; openssl pkcs12 -in {file} -nocerts -nodes -out key.pem)` extracts the key, for its owner only"
                )
            }
            (Self::EncryptedPrivateKey, W::PlainPrivateKey) => {
                format!("`(umask 077; openssl pkey -in {file} -out key.pem)` writes it without a passphrase, for its owner only")
            }
            (Self::EncryptedPrivateKeyDer, W::PrivateKey | W::PlainPrivateKey) => format!(
                "`(umask 077; openssl pkey -inform DER -in {file} -out key.pem)` writes it as PEM without a passphrase, for its owner only"
            ),
            (
                Self::Certificate | Self::OldCertificate | Self::CertificateDer | Self::PublicKey | Self::RevocationList,
                W::PrivateKey | W::PlainPrivateKey,
            ) => "the private key is in another file; check whether the options are swapped".to_owned(),
            (Self::OldCertificate, W::Certificates) => {
                format!("`openssl x509 -in {file} -out cert.pem` writes it with the current label")
            }
            (Self::CertificateDer, W::Certificates) => {
                format!("`openssl x509 -inform DER -in {file} -out cert.pem` writes it as PEM")
            }
            (Self::Pkcs12, W::Certificates) => {
                format!("`openssl pkcs12 -in {file} -nokeys -out cert.pem` extracts the certificates")
            }
            (Self::Pkcs7, W::Certificates) => {
                format!("`openssl pkcs7 -in {file} -print_certs -out cert.pem` extracts the certificates")
            }
            (Self::Pkcs7Der, W::Certificates) => {
                format!("`openssl pkcs7 -inform DER -in {file} -print_certs -out cert.pem` extracts the certificates")
            }
            (Self::Request, W::Certificates) => "this is a request; name the certificate that the CA issued for it".to_owned(),
            (
                Self::PrivateKey
                | Self::EncryptedPrivateKey
                | Self::EncryptedPrivateKeyDer
                | Self::PrivateKeyDer
                | Self::SshPrivateKey
                | Self::RevocationList
                | Self::RevocationListDer,
                W::Certificates,
            ) => "the certificate is in another file; check whether the options are swapped".to_owned(),
            (Self::Certificate | Self::OldCertificate | Self::CertificateDer, W::RevocationLists) => {
                "the CA creates the list: `openssl ca -gencrl` (docs/tls.md)".to_owned()
            }
            _ => return None,
        };
        Some(text)
    }
}
