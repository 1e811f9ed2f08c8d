//! PKCS#11 URIs (RFC 7512), which name tokens and keys.

use std::{fmt, path::PathBuf, str::FromStr};

/// A PKCS#11 URI: `pkcs11:token=pht;object=station-1`. An absent attribute matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pkcs11Uri {
    /// `token`: the token's label.
    pub token: Option<String>,
    /// `manufacturer`: the token's manufacturer.
    pub manufacturer: Option<String>,
    /// `model`: the token's model.
    pub model: Option<String>,
    /// `serial`: the token's serial number.
    pub serial: Option<String>,
    /// `object`: the key's label, `CKA_LABEL`.
    pub object: Option<String>,
    /// `id`: the key's `CKA_ID`.
    pub id: Option<Vec<u8>>,
    /// `module-path`: the module.
    pub module_path: Option<PathBuf>,
    /// `pin-source`, which must be a file.
    pub pin_file: Option<PathBuf>,
}

/// Why a text is not a PKCS#11 URI that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pkcs11 URI: {0}")]
pub struct UriError(String);

const SUPPORTED: &str = "token, manufacturer, model, serial, object, id, type=private, module-path, pin-source";

impl Pkcs11Uri {
    /// The scheme, with its colon.
    pub const SCHEME: &str = "pkcs11:";

    /// Returns whether every attribute that names a token or key here has the same value in `found`.
    #[must_use]
    pub fn matches(&self, found: &Self) -> bool {
        let texts = [
            (&self.token, &found.token),
            (&self.manufacturer, &found.manufacturer),
            (&self.model, &found.model),
            (&self.serial, &found.serial),
            (&self.object, &found.object),
        ];
        texts.iter().all(|(wanted, found)| wanted.is_none() || wanted == found) && (self.id.is_none() || self.id == found.id)
    }

    /// Returns whether it names a token, by label, serial number, manufacturer or model.
    #[must_use]
    pub fn names_token(&self) -> bool {
        self.token.is_some() || self.serial.is_some() || self.manufacturer.is_some() || self.model.is_some()
    }

    fn set(&mut self, name: &str, value: Vec<u8>) -> Result<(), UriError> {
        if name == "pin-value" {
            return Err(UriError(
                "pin-value is not accepted, because other users can see it: use pin-source or a PIN file".to_owned(),
            ));
        }
        if name == "id" {
            self.id = Some(value);
            return Ok(());
        }
        let value = String::from_utf8(value).map_err(|_| UriError(format!("the value of {name:?} is not UTF-8")))?;
        let attribute = match name {
            "token" => &mut self.token,
            "manufacturer" => &mut self.manufacturer,
            "model" => &mut self.model,
            "serial" => &mut self.serial,
            "object" => &mut self.object,
            "type" if value == "private" => return Ok(()),
            "module-path" => {
                self.module_path = Some(value.into());
                return Ok(());
            }
            "pin-source" => {
                let file = value.strip_prefix("file:").ok_or_else(|| UriError("a pin-source is file:/path".to_owned()))?;
                self.pin_file = Some(file.strip_prefix("//").unwrap_or(file).into());
                return Ok(());
            }
            other => return Err(UriError(format!("{other:?} is not supported; supported: {SUPPORTED}"))),
        };
        *attribute = Some(value);
        Ok(())
    }
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    /// Parses a URI. Attributes that could not be honoured are refused, and so is `pin-value`.
    fn from_str(text: &str) -> Result<Self, UriError> {
        let uri =
            text.strip_prefix(Self::SCHEME).ok_or_else(|| UriError(format!("it does not begin with {:?}", Self::SCHEME)))?;
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let (mut found, mut seen) = (Self::default(), Vec::new());
        for attribute in path.split(';').chain(query.split('&')).filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or_else(|| UriError(format!("{attribute:?} has no value")))?;
            // RFC 7512 §2.3: an attribute must not be there twice.
            if seen.contains(&name) {
                return Err(UriError(format!("{name:?} is there twice")));
            }
            seen.push(name);
            found.set(name, decoded(value).ok_or_else(|| UriError(format!("the value of {name:?} is invalid")))?)?;
        }
        Ok(found)
    }
}

impl<'de> serde::Deserialize<'de> for Pkcs11Uri {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Pkcs11Uri {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl fmt::Display for Pkcs11Uri {
    /// Formats the URI with the attributes in the RFC's order; without `pin-source`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(Self::SCHEME)?;
        let texts = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("serial", &self.serial),
            ("model", &self.model),
            ("object", &self.object),
        ];
        let mut between = "";
        for (name, value) in texts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            write!(out, "{between}{name}={}", encoded(value.as_bytes(), false))?;
            between = ";";
        }
        if let Some(id) = &self.id {
            write!(out, "{between}id={}", encoded(id, true))?;
        }
        if let Some(path) = &self.module_path {
            write!(out, "?module-path={}", encoded(path.as_os_str().as_encoded_bytes(), false))?;
        }
        Ok(())
    }
}

/// Percent-encodes what RFC 7512 §2.3 does not allow in a value; of an id, everything.
fn encoded(bytes: &[u8], all: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if !all && (byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,/".contains(byte)) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            text.push_str(&const_hex::encode_upper([*byte]));
        }
    }
    text
}

fn decoded(text: &str) -> Option<Vec<u8>> {
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
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_module_and_pin() {
        let uri = "pkcs11:token=my%20token;serial=12;object=creator;id=%01%ff;type=private?module-path=/usr/lib/p11.so&pin-source=file:/run/pin";
        let found: Pkcs11Uri = uri.parse().unwrap();
        assert_eq!((found.token.as_deref(), found.object.as_deref()), (Some("my token"), Some("creator")));
        assert_eq!((found.serial.as_deref(), found.id.as_deref()), (Some("12"), Some(&[1, 0xff][..])));
        assert_eq!((&found.module_path, &found.pin_file), (&Some("/usr/lib/p11.so".into()), &Some("/run/pin".into())));
        assert_eq!(
            found.to_string(),
            "pkcs11:token=my%20token;serial=12;object=creator;id=%01%FF?module-path=/usr/lib/p11.so",
            "and the way back, without the PIN's file"
        );
    }

    #[test]
    fn a_uri_matches_what_has_all_that_it_names() {
        let found: Pkcs11Uri = "pkcs11:token=a;serial=1;object=k;id=%01".parse().unwrap();
        for (uri, matches) in [
            ("pkcs11:", true),
            ("pkcs11:object=k", true),
            ("pkcs11:token=a;id=%01", true),
            ("pkcs11:token=b;object=k", false),
            ("pkcs11:object=k;id=%02", false),
            ("pkcs11:model=m", false),
        ] {
            assert_eq!(uri.parse::<Pkcs11Uri>().unwrap().matches(&found), matches, "{uri}");
        }
    }

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        for label in ["pht", "a;b=c?d&e%f", "\u{e9}\u{4e2d}", " ", "a/b:c"] {
            let uri = Pkcs11Uri { token: Some(label.to_owned()), object: Some(label.to_owned()), ..Pkcs11Uri::default() };
            assert_eq!(uri.to_string().parse(), Ok(uri));
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for uri in [
            "",
            "token=a",
            "pkcs11:token=a;object=b;type=public",
            "pkcs11:token=a;token=b",
            "pkcs11:slot-id=1",
            "pkcs11:token=a;object=b?pin-value=1234",
            "pkcs11:token=a;object=b?pin-source=|program",
            "pkcs11:token=%zz;object=b",
            "pkcs11:token=%f;object=b",
            "pkcs11:token=%ff",
            "pkcs11:token;object=b",
        ] {
            let error = uri.parse::<Pkcs11Uri>().unwrap_err().to_string();
            assert!(!error.contains("1234"), "{error}");
        }
    }
}
