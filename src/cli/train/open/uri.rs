//! Parses PKCS#11 URIs (RFC 7512) of keys in a token.

use std::path::PathBuf;

/// The attributes of a URI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TokenUri {
    /// The token's label.
    pub token: String,
    /// Its serial number.
    pub serial: Option<String>,
    /// The key's label.
    pub object: String,
    /// The module.
    pub module: Option<PathBuf>,
    /// The file that holds the PIN.
    pub pin_file: Option<PathBuf>,
}

impl TokenUri {
    /// Parses the part after `pkcs11:`. Unsupported attributes are refused.
    pub(super) fn parse(uri: &str) -> Result<Self, String> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let mut found = Self::default();
        let attributes = path.split(';').chain(query.split('&')).filter(|attribute| !attribute.is_empty());
        for attribute in attributes {
            let (name, value) = attribute.split_once('=').ok_or_else(|| format!("pkcs11 URI: {attribute:?} has no value"))?;
            let value = decoded(value).ok_or_else(|| format!("pkcs11 URI: the value of {name:?} is invalid"))?;
            match name {
                "token" => found.token = value,
                "serial" => found.serial = Some(value),
                "object" => found.object = value,
                "type" if value == "private" => {}
                "module-path" => found.module = Some(value.into()),
                "pin-source" => {
                    let file = value.strip_prefix("file:").ok_or("pkcs11 URI: a pin-source is file:/path")?;
                    found.pin_file = Some(file.strip_prefix("//").unwrap_or(file).into());
                }
                "pin-value" => {
                    return Err(
                        "pkcs11 URI: pin-value is not accepted, because other users can see it: use pin-source or --pin-file"
                            .into(),
                    );
                }
                other => {
                    return Err(format!(
                        "pkcs11 URI: {other:?} is not supported; supported: token, serial, object, module-path, pin-source"
                    ));
                }
            }
        }
        if found.token.is_empty() || found.object.is_empty() {
            return Err("pkcs11 URI: name the token and the key: pkcs11:token=LABEL;object=LABEL".into());
        }
        Ok(found)
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.extend(const_hex::decode(hex).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_module_and_pin() {
        let uri = "token=my%20token;serial=12;object=creator;type=private?module-path=/usr/lib/p11.so&pin-source=file:/run/pin";
        let found = TokenUri::parse(uri).unwrap();
        assert_eq!((found.token.as_str(), found.object.as_str(), found.serial.as_deref()), ("my token", "creator", Some("12")));
        assert_eq!((found.module, found.pin_file), (Some("/usr/lib/p11.so".into()), Some("/run/pin".into())));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for uri in [
            "",
            "token=a",
            "object=a",
            "token=a;object=b;id=%01",
            "token=a;object=b;type=public",
            "token=a;object=b?pin-value=1234",
            "token=a;object=b?pin-source=|program",
            "token=%zz;object=b",
            "token=%f;object=b",
            "token;object=b",
        ] {
            let error = TokenUri::parse(uri).unwrap_err();
            assert!(!error.contains("1234"), "{error}");
        }
    }
}
