//! An operation with a key, whichever token carries it out, and its result.

use zeroize::Zeroizing;

use crate::{KeystoreError, OaepScheme, SignScheme};

/// The result of an operation: a signature, or an unwrapped key.
pub(crate) type Outcome = Result<Zeroizing<Vec<u8>>, KeystoreError>;

/// An operation with a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation<'a> {
    /// Sign a digest, or the message where the scheme has no hash function.
    Sign { scheme: SignScheme, signed: &'a [u8] },
    /// Unwrap a symmetric key.
    Unwrap { scheme: OaepScheme, wrapped: &'a [u8] },
}
