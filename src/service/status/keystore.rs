//! Maps errors of the keystore to reasons on the wire.

use stationmaster_keystore::KeystoreError;

use super::{Reason, Refusal};

impl From<KeystoreError> for Refusal {
    fn from(error: KeystoreError) -> Self {
        use KeystoreError as Error;
        // Exhaustive on purpose: a new error must be given its row.
        let reason = match &error {
            Error::ModuleUnusable { .. }
            | Error::TokenNotFound { .. }
            | Error::TokenSerial { .. }
            | Error::TokenAmbiguous { .. }
            | Error::LatchUnusable { .. }
            | Error::LoggedInElsewhere
            | Error::Unavailable { .. } => Reason::HsmUnavailable,
            Error::PinNotSet
            | Error::PinRejected { .. }
            | Error::PinLatched { .. }
            | Error::PinAtRisk { .. }
            | Error::PinRefused { .. }
            | Error::SoPinAtRisk { .. } => Reason::HsmPinLatched,
            Error::KeyNotFound { .. } => Reason::KeyNotFound,
            Error::LabelExists { .. } => Reason::KeyLabelExists,
            Error::KeySize { .. }
            | Error::KeyTypeUnfit { .. }
            | Error::Label { .. }
            | Error::DigestLength { .. }
            | Error::PinLength { .. } => Reason::MalformedRequest,
            Error::MechanismUnsupported { .. } => Reason::MechanismUnsupported,
            // Of a key that the caller has named.
            Error::SchemeOfOtherType { .. } | Error::KeyTypeUnsupported { .. } => {
                return Reason::MechanismUnsupported.status(error.to_string());
            }
            // One reason for every failure of unwrapping: anything finer is a padding oracle.
            Error::UnwrapFailed => return Self::unwrapping(&error),
            Error::Overloaded => {
                return Reason::Overloaded
                    .status("as many calls wait for the token as [token] queue allows, or as one principal may have of it")
                    .with_meta("limit", "token.queue");
            }
            Error::SessionsExhausted => {
                return Reason::HsmSessionsExhausted
                    .status(
                        "the token has no session left: [token] sessions asks for more than it has, or other processes hold some",
                    )
                    .with_meta("limit", "token.sessions");
            }
            Error::DeadlineExceeded => Reason::DeadlineExceeded,
            Error::TokenExists { .. }
            | Error::TokenHalfMade { .. }
            | Error::UserPinSet { .. }
            | Error::NoFreeSlot
            | Error::KeyOfOtherType { .. }
            | Error::KeyAmbiguous { .. }
            | Error::KeysDiffer { .. }
            | Error::KeyUnusable { .. }
            | Error::SignatureInvalid
            | Error::Fault { .. } => Reason::HsmFault,
        };
        if matches!(reason, Reason::HsmFault | Reason::HsmUnavailable | Reason::HsmPinLatched) {
            return Self::from(reason).with_fault(&format_args!("token: {error}"));
        }
        Self::from(reason)
    }
}
