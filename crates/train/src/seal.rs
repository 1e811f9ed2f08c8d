//! Seals a train after a run: wraps the new envelope key for its recipients and writes the next config
//! (`docs/wire-format.md §8`).

use super::{
    config::{HexError, HexText, RouteStop, StopSignature, TrainConfig},
    digest::Digest,
    envelope::EnvelopeKey,
    keys::{KeyError, PublicKey},
    route::OwnStop,
};

/// One envelope key, wrapped for every recipient that may open the train next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKeys {
    /// For the stop at the same place of [`TrainConfig::route`]; `None` is written as null.
    pub route: Vec<Option<HexText>>,
    /// For the creator.
    pub creator: HexText,
}

/// Error: the recipient for which a key could not be wrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// A stop of the route.
    #[error("stop at place {position} of the route: {cause}")]
    Stop {
        /// Place in [`TrainConfig::route`], from 0.
        position: usize,
        /// What is wrong with the key.
        cause: KeyError,
    },
    /// The creator.
    #[error("creator: {0}")]
    Creator(KeyError),
}

/// Wraps `key` with the keys that the config states: for the creator, and for every stop for which `given` returns true,
/// including past ones, as train_lib does.
pub fn wrap_for(config: &TrainConfig, key: &EnvelopeKey, given: impl Fn(&RouteStop) -> bool) -> Result<WrappedKeys, WrapError> {
    let wrap = |public_key: &HexText| {
        let wrapped = PublicKey::from_hex_pem(public_key)?.wrap(key)?;
        Ok(HexText::from_bytes(&wrapped))
    };
    let wrap_for_stop = |(position, stop): (usize, &RouteStop)| match given(stop).then(|| wrap(&stop.rsa_public_key)) {
        None => Ok(None),
        Some(Ok(wrapped)) => Ok(Some(wrapped)),
        Some(Err(cause)) => Err(WrapError::Stop { position, cause }),
    };
    Ok(WrappedKeys {
        route: config.route.iter().enumerate().map(wrap_for_stop).collect::<Result<_, _>>()?,
        creator: wrap(&config.creator.rsa_public_key).map_err(WrapError::Creator)?,
    })
}

/// Outputs of the stop that seals the train.
#[derive(Debug)]
pub struct Closing<'a> {
    /// Digest of the results.
    pub results: &'a Digest,
    /// This station's PSS signature of `results`.
    pub result_signature: &'a [u8],
    /// This station's link of the chain ([`super::verify::own_chain_digest`]).
    pub chain: &'a Digest,
    /// This station's PSS signature of `chain`.
    pub chain_signature: &'a [u8],
    /// The new envelope key, wrapped for every recipient.
    pub keys: WrappedKeys,
}

/// Returns the config for the next stop: results digest and signature, this stop's link, the wrapped keys, and the route sorted
/// by index. Everything else stays as it was before the run. `own` and `closing.keys` must come from the same `config`.
pub fn next_config(config: &TrainConfig, own: &OwnStop, closing: Closing) -> TrainConfig {
    let mut next = config.clone();
    next.result_hash = Some(closing.results.to_hex());
    next.result_signature = Some(HexText::from_bytes(closing.result_signature));
    next.creator.encrypted_key = Some(closing.keys.creator);
    for (stop, wrapped) in next.route.iter_mut().zip(closing.keys.route) {
        stop.encrypted_key = wrapped;
    }
    if let Some(stop) = next.route.get_mut(own.position()) {
        let signature = HexText::from_bytes(closing.chain_signature);
        stop.signature = Some(StopSignature { digest: closing.chain.to_hex(), signature });
    }
    next.route.sort_by_key(|stop| stop.index);
    next
}

/// Returns the content of `/opt/user_sym_key.key`: the raw bytes of the key wrapped for the creator; `None` before the first
/// post-run.
pub fn user_key_bytes(config: &TrainConfig) -> Option<Result<Vec<u8>, HexError>> {
    config.creator.encrypted_key.as_ref().map(HexText::decode)
}

#[cfg(test)]
mod tests;
