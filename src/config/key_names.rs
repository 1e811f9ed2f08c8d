//! Names of keys in the configuration: labels, or PKCS#11 URIs (RFC 7512).

use std::collections::BTreeMap;

use stationmaster_keystore::{Pkcs11Uri, UriError};

use super::{
    Config,
    check::{Flaw, flaw},
};

/// Replaces each URI among the names of keys by the label that it contains, and returns the URIs by label.
pub(super) fn take_uris(config: &mut Config) -> Result<BTreeMap<String, Pkcs11Uri>, Flaw> {
    let mut uris = BTreeMap::new();
    let lists = [
        ("keys.train", &mut config.keys.train),
        ("keys.general", &mut config.keys.general),
        ("keys.raw_use", &mut config.keys.raw_use),
    ];
    let names = lists.into_iter().flat_map(|(key, names)| names.iter_mut().map(move |name| (key, name)));
    for (key, name) in names.chain([("audit.key", &mut config.audit.key)]) {
        if !name.starts_with(Pkcs11Uri::SCHEME) {
            continue;
        }
        let hint = "name the key by its label, or as \"pkcs11:object=LABEL\", with token and id where labels are not unique";
        let uri: Pkcs11Uri = name.parse().map_err(|error: UriError| flaw(key, error.to_string(), hint))?;
        let Some(label) = uri.object.clone().filter(|_| uri.module_path.is_none() && uri.pin_file.is_none()) else {
            return Err(flaw(key, format!("{name:?} names no object, or a module or PIN"), hint));
        };
        if uri.names_token() && !config.tokens.all().iter().any(|token| token.is_named(&uri)) {
            return Err(flaw(key, format!("{name:?} names a token that is not configured"), hint));
        }
        name.clone_from(&label);
        // A name in `raw_use` repeats one in `train`.
        uris.entry(label).or_insert(uri);
    }
    Ok(uris)
}
