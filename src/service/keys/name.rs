//! The name of a key in a request: a label, or a PKCS#11 URI (RFC 7512).

use stationmaster_keystore::{Pkcs11Uri, UriError};

use crate::{
    protocol::StationKey,
    service::status::{Reason, Refusal},
};

/// A name that a caller gave a key.
pub(super) struct KeyName {
    label: String,
    uri: Option<Pkcs11Uri>,
}

impl KeyName {
    /// Reads the name from a field of a request.
    pub(super) fn of(text: &str, field: &'static str) -> Result<Self, Refusal> {
        let malformed = |why: String| Reason::MalformedRequest.status(format!("{field} {why}")).with_field(field, why);
        if text.is_empty() {
            return Err(malformed("must not be empty".to_owned()));
        }
        if !text.starts_with(Pkcs11Uri::SCHEME) {
            return Ok(Self { label: text.to_owned(), uri: None });
        }
        let uri: Pkcs11Uri = text.parse().map_err(|error: UriError| malformed(error.to_string()))?;
        match uri.object.clone() {
            Some(label) if uri.module_path.is_none() && uri.pin_file.is_none() => Ok(Self { label, uri: Some(uri) }),
            _ => Err(malformed("must be a label, or a PKCS#11 URI with an object, and no module or PIN".to_owned())),
        }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Returns whether the key has everything that the URI names.
    pub(super) fn is_of(&self, key: &StationKey) -> bool {
        self.uri.as_ref().is_none_or(|uri| key.description.uris.iter().any(|found| uri.matches(found)))
    }
}
