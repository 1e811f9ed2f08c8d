//! Whether to believe a train: digests compared, signatures verified (`docs/wire-format.md §6`, `§7`). The keys are those
//! the config states; whether those are the right ones is decided elsewhere.

use super::config::{HexText, RouteStop, TrainConfig};
use super::digest::{Digest, chain_digest};
use super::keys::{KeyError, PublicKey};
use super::route::{self, OwnStop};

/// Why a train is not believed: for the protected log only. Callers learn no more than that the train was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// A field is not hex, or not a digest where it must be one.
    #[error("{field} cannot be read")]
    Unreadable {
        /// The field's name on the wire.
        field: &'static str,
    },
    /// A field that a later stop needs is null.
    #[error("{field} is missing")]
    Missing {
        /// The field's name on the wire.
        field: &'static str,
    },
    /// The immutable files are not those the creator signed.
    #[error("the immutable files do not match the stated digest")]
    ImmutableDigest,
    /// The creator's key cannot be used.
    #[error("the creator's {0}")]
    CreatorKey(KeyError),
    /// The creator did not sign this digest.
    #[error("the creator's signature does not verify")]
    CreatorSignature,
    /// The builder's key cannot be used.
    #[error("the builder's {0}")]
    BuildKey(KeyError),
    /// The builder did not sign this digest and creator's signature.
    #[error("the builder's signature does not verify")]
    BuildSignature,
    /// A station's key cannot be used.
    #[error("stop {index}: {cause}")]
    StationKey {
        /// The stop's index.
        index: usize,
        /// What is wrong with the key.
        cause: KeyError,
    },
    /// An earlier stop's stated digest is not one.
    #[error("stop {index}: its chain digest cannot be read")]
    ChainDigest {
        /// The stop's index.
        index: usize,
    },
    /// An earlier stop did not sign the digest it states.
    #[error("stop {index}: its chain signature does not verify")]
    ChainSignature {
        /// The stop's index.
        index: usize,
    },
    /// The previous stop's link was not made from this train's results and earlier links.
    #[error("stop {index}: its chain digest belongs to another train or state")]
    ChainLink {
        /// The previous stop's index.
        index: usize,
    },
    /// The results are not those the previous stop signed.
    #[error("the results do not match the stated digest")]
    ResultDigest,
    /// The previous stop did not sign these results.
    #[error("the results signature does not verify")]
    ResultSignature,
    /// The stop is not one of this config.
    #[error("the route does not hold the stops before this one")]
    Route,
}

/// Verifies that the immutable files hash to what the config states, that the creator signed it, and that the builder
/// signed it together with the creator's signature. `immutable` is the digest we computed.
pub fn verify_creator_and_build(config: &TrainConfig, immutable: &Digest) -> Result<(), Distrust> {
    let digest = || same_digest(&config.hash, "hash", immutable, Distrust::ImmutableDigest);
    let creator = || {
        let key = PublicKey::from_hex_pem(&config.creator.rsa_public_key).map_err(Distrust::CreatorKey)?;
        let signature = decoded(&config.signature, "signature")?;
        key.verify_pkcs1_sha512_of(immutable.as_bytes(), &signature).map_err(|_| Distrust::CreatorSignature)
    };
    let builder = || {
        let key = PublicKey::from_hex_pem(&config.build.rsa_public_key).map_err(Distrust::BuildKey)?;
        let message = [immutable.as_bytes().as_slice(), &decoded(&config.signature, "signature")?].concat();
        let signature = decoded(&config.build.signature, "build.signature")?;
        key.verify_pkcs1_sha512_of(&message, &signature).map_err(|_| Distrust::BuildSignature)
    };
    all([digest(), creator(), builder()])
}

/// The first thing that is wrong, found out after all were checked: the time does not tell which it was.
fn all(checked: impl IntoIterator<Item = Result<(), Distrust>>) -> Result<(), Distrust> {
    checked.into_iter().fold(Ok(()), Result::and)
}

/// Verifies that every earlier stop signed the digest it states, and recomputes the newest link from the stated results
/// digest. Older links cannot be recomputed: their results digests are gone.
pub fn verify_chain(config: &TrainConfig, own: &OwnStop) -> Result<(), Distrust> {
    let stops = earlier_stops(config, own)?;
    let digests = stated_links(&stops)?;
    let signed = |(index, (stop, digest)): (usize, (&&RouteStop, &Digest))| {
        let signature = stop.signature.as_ref().ok_or(Distrust::ChainDigest { index })?;
        let signature = signature.signature.decode().map_err(|_| Distrust::ChainSignature { index })?;
        station_key(stop, index)?.verify_pss_any_salt(digest, &signature).map_err(|_| Distrust::ChainSignature { index })
    };
    let signed = all(stops.iter().zip(&digests).enumerate().map(signed));
    let Some((newest, before)) = digests.split_last() else {
        return Ok(());
    };
    let results = stated_digest(required(&config.result_hash, "result_hash")?, "result_hash")?;
    let follows = chain_digest(&session_id(config)?, before, &results) == *newest;
    signed.and(if follows { Ok(()) } else { Err(Distrust::ChainLink { index: before.len() }) })
}

/// Verifies that the results hash to what the config states and that the previous stop signed it. `results` is the digest
/// we computed. Nothing to verify at the first stop.
pub fn verify_results(config: &TrainConfig, own: &OwnStop, results: &Digest) -> Result<(), Distrust> {
    let stops = earlier_stops(config, own)?;
    let Some((previous, before)) = stops.split_last() else {
        return Ok(());
    };
    let stated = required(&config.result_hash, "result_hash")?;
    let signed = || {
        let signature = decoded(required(&config.result_signature, "result_signature")?, "result_signature")?;
        station_key(previous, before.len())?.verify_pss_any_salt(results, &signature).map_err(|_| Distrust::ResultSignature)
    };
    all([same_digest(stated, "result_hash", results, Distrust::ResultDigest), signed()])
}

/// The chain digest our own stop signs over `results`.
pub fn own_chain_digest(config: &TrainConfig, own: &OwnStop, results: &Digest) -> Result<Digest, Distrust> {
    let digests = stated_links(&earlier_stops(config, own)?)?;
    Ok(chain_digest(&session_id(config)?, &digests, results))
}

/// The train session's id, decoded.
pub fn session_id(config: &TrainConfig) -> Result<Vec<u8>, Distrust> {
    decoded(&config.session_id, "session_id")
}

fn earlier_stops<'c>(config: &'c TrainConfig, own: &OwnStop) -> Result<Vec<&'c RouteStop>, Distrust> {
    let mut stops = route::in_order(config).map_err(|_| Distrust::Route)?;
    if own.index() >= stops.len() {
        return Err(Distrust::Route);
    }
    stops.truncate(own.index());
    Ok(stops)
}

fn stated_links(stops: &[&RouteStop]) -> Result<Vec<Digest>, Distrust> {
    let link = |(index, stop): (usize, &&RouteStop)| {
        let signature = stop.signature.as_ref().ok_or(Distrust::ChainDigest { index })?;
        Digest::from_hex(&signature.digest).map_err(|_| Distrust::ChainDigest { index })
    };
    stops.iter().enumerate().map(link).collect()
}

fn station_key(stop: &RouteStop, index: usize) -> Result<PublicKey, Distrust> {
    PublicKey::from_hex_pem(&stop.rsa_public_key).map_err(|cause| Distrust::StationKey { index, cause })
}

fn required<'c>(value: &'c Option<HexText>, field: &'static str) -> Result<&'c HexText, Distrust> {
    value.as_ref().ok_or(Distrust::Missing { field })
}

fn decoded(text: &HexText, field: &'static str) -> Result<Vec<u8>, Distrust> {
    text.decode().map_err(|_| Distrust::Unreadable { field })
}

fn same_digest(stated: &HexText, field: &'static str, computed: &Digest, otherwise: Distrust) -> Result<(), Distrust> {
    if stated_digest(stated, field)? == *computed { Ok(()) } else { Err(otherwise) }
}

fn stated_digest(text: &HexText, field: &'static str) -> Result<Digest, Distrust> {
    Digest::from_hex(text).map_err(|_| Distrust::Unreadable { field })
}

#[cfg(test)]
mod tests;
