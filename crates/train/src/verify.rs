//! Verifies a train's digests and signatures (`docs/wire-format.md §6`, `§7`) with the keys that the config states. Whether
//! these keys are the right ones is decided elsewhere.

use std::collections::HashSet;

use super::{
    config::{HexText, RouteStop, TrainConfig},
    digest::{Digest, chain_digest},
    keys::{KeyError, PublicKey},
    route::{self, OwnStop},
};

/// Reason why a train is not trusted, for the protected log only. Callers learn only that the train was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// The digest that an earlier stop states is not a digest.
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
    /// A stop's link, or its signature, also occurs in another place.
    #[error("stop {index}: its chain entry is another stop's, or the results signature")]
    ChainPlace {
        /// The stop's index.
        index: usize,
    },
    /// The results are not those the previous stop signed.
    #[error("the results do not match the stated digest")]
    ResultDigest,
    /// The previous stop did not sign these results.
    #[error("the results signature does not verify")]
    ResultSignature,
    /// The stop is not on this config's route.
    #[error("the route does not hold the stops before this one")]
    Route,
}

/// Verifies that the immutable files hash to the stated digest, that the creator signed it, and that the builder signed it
/// together with the creator's signature. `immutable` is the computed digest.
pub fn verify_creator_and_build(config: &TrainConfig, immutable: &Digest) -> Result<(), Distrust> {
    let digest = same_digest(&config.hash, "hash", immutable, Distrust::ImmutableDigest);
    all([digest, verify_creator(config), verify_build(config)])
}

/// Returns the first error, after all checks have run: the time does not reveal which check failed.
fn all(checked: impl IntoIterator<Item = Result<(), Distrust>>) -> Result<(), Distrust> {
    checked.into_iter().fold(Ok(()), Result::and)
}

/// Verifies that the creator signed the stated digest of the immutable files.
pub fn verify_creator(config: &TrainConfig) -> Result<(), Distrust> {
    let immutable = stated_digest(&config.hash, "hash")?;
    let creator = PublicKey::from_hex_pem(&config.creator.rsa_public_key).map_err(Distrust::CreatorKey)?;
    let signature = decoded(&config.signature, "signature")?;
    creator.verify_pkcs1_sha512_of(immutable.as_bytes(), &signature).map_err(|_| Distrust::CreatorSignature)
}

/// Verifies that the builder signed the stated digest of the immutable files together with the creator's signature.
pub fn verify_build(config: &TrainConfig) -> Result<(), Distrust> {
    let immutable = stated_digest(&config.hash, "hash")?;
    let creator_signature = decoded(&config.signature, "signature")?;
    let builder = PublicKey::from_hex_pem(&config.build.rsa_public_key).map_err(Distrust::BuildKey)?;
    let signature = decoded(&config.build.signature, "build.signature")?;
    let message = [immutable.as_bytes().as_slice(), &creator_signature].concat();
    builder.verify_pkcs1_sha512_of(&message, &signature).map_err(|_| Distrust::BuildSignature)
}

/// Verifies that each of the first `signed` stops signed the digest it states, and recomputes the newest link from the stated
/// results digest. Older links cannot be recomputed: their results digests no longer exist.
pub fn verify_chain(config: &TrainConfig, signed: usize) -> Result<(), Distrust> {
    all([verify_chain_signatures(config, signed), verify_newest_link(config, signed)])
}

/// Verifies that each of the first `signed` stops signed the digest it states.
pub fn verify_chain_signatures(config: &TrainConfig, signed: usize) -> Result<(), Distrust> {
    let stops = first_stops(config, signed)?;
    let digests = stated_links(&stops)?;
    let signed = |(index, (stop, digest)): (usize, (&&RouteStop, &Digest))| {
        let signature = stop.signature.as_ref().ok_or(Distrust::ChainDigest { index })?;
        let signature = signature.signature.decode().map_err(|_| Distrust::ChainSignature { index })?;
        station_key(stop, index)?.verify_pss_any_salt(digest, &signature).map_err(|_| Distrust::ChainSignature { index })
    };
    all(stops.iter().zip(&digests).enumerate().map(signed))
}

/// Recomputes the link of the last of the first `signed` stops from the links before it and the stated results digest.
/// Nothing to verify before the first stop.
pub fn verify_newest_link(config: &TrainConfig, signed: usize) -> Result<(), Distrust> {
    let digests = stated_links(&first_stops(config, signed)?)?;
    let Some((newest, before)) = digests.split_last() else {
        return Ok(());
    };
    let results = stated_digest(required(&config.result_hash, "result_hash")?, "result_hash")?;
    let follows = chain_digest(&session_id(config)?, before, &results) == *newest;
    if follows { Ok(()) } else { Err(Distrust::ChainLink { index: before.len() }) }
}

/// Verifies that no digest and no signature occurs twice among the first `signed` stops and the results. A link in the place of
/// another is detected even where it cannot be recomputed.
pub fn verify_signatures_apart(config: &TrainConfig, signed: usize) -> Result<(), Distrust> {
    let stops = first_stops(config, signed)?;
    let mut seen: HashSet<Vec<u8>> =
        [&config.result_hash, &config.result_signature].into_iter().flatten().filter_map(|text| text.decode().ok()).collect();
    for (index, stop) in stops.iter().enumerate() {
        let link = stop.signature.as_ref().ok_or(Distrust::ChainDigest { index })?;
        for text in [&link.digest, &link.signature] {
            if !seen.insert(text.decode().map_err(|_| Distrust::ChainDigest { index })?) {
                return Err(Distrust::ChainPlace { index });
            }
        }
    }
    Ok(())
}

/// Verifies that the results hash to the stated digest and that the last of the first `signed` stops signed it. `results`
/// is the computed digest. Nothing to verify before the first stop.
pub fn verify_results(config: &TrainConfig, signed: usize, results: &Digest) -> Result<(), Distrust> {
    if first_stops(config, signed)?.is_empty() {
        return Ok(());
    }
    let stated = required(&config.result_hash, "result_hash")?;
    let digest = same_digest(stated, "result_hash", results, Distrust::ResultDigest);
    all([digest, verify_results_signature(config, signed)])
}

/// Verifies that the last of the first `signed` stops signed the stated digest of the results. Nothing to verify before the
/// first stop.
pub fn verify_results_signature(config: &TrainConfig, signed: usize) -> Result<(), Distrust> {
    let stops = first_stops(config, signed)?;
    let Some((previous, before)) = stops.split_last() else {
        return Ok(());
    };
    let results = stated_digest(required(&config.result_hash, "result_hash")?, "result_hash")?;
    let signature = decoded(required(&config.result_signature, "result_signature")?, "result_signature")?;
    station_key(previous, before.len())?.verify_pss_any_salt(&results, &signature).map_err(|_| Distrust::ResultSignature)
}

/// Returns the chain digest that this station's stop signs over `results`.
pub fn own_chain_digest(config: &TrainConfig, own: &OwnStop, results: &Digest) -> Result<Digest, Distrust> {
    let digests = stated_links(&earlier_stops(config, own)?)?;
    Ok(chain_digest(&session_id(config)?, &digests, results))
}

/// Returns the train session's id, decoded.
pub fn session_id(config: &TrainConfig) -> Result<Vec<u8>, Distrust> {
    decoded(&config.session_id, "session_id")
}

fn earlier_stops<'c>(config: &'c TrainConfig, own: &OwnStop) -> Result<Vec<&'c RouteStop>, Distrust> {
    if own.stops_before() >= config.route.len() {
        return Err(Distrust::Route);
    }
    first_stops(config, own.stops_before())
}

/// Returns the first `count` stops by index; the route must have that many.
fn first_stops(config: &TrainConfig, count: usize) -> Result<Vec<&RouteStop>, Distrust> {
    let mut stops = route::in_order(config).map_err(|_| Distrust::Route)?;
    if count > stops.len() {
        return Err(Distrust::Route);
    }
    stops.truncate(count);
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
