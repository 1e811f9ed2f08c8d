//! Protocol steps: everything that a station does with a train, as plain synchronous code on a blocking thread.
//!
//! A step reads an image once into a spool of ciphertext, trusts nothing before [`admission::verify`] has returned it as
//! verified, writes a new image only from verified content, and moves the name last. Every intent is in the ledger before the
//! engine or the token is used, so [`steps::recover`] can finish or roll back what a crash interrupted.

pub mod admission;
pub mod checks;
pub mod content;
pub mod context;
pub mod steps;
pub mod verify_returned;

pub use self::{
    admission::{
        admit::{AdmittedTrain, StopOnRoute},
        audited_keys::{
            AuditedKeys, OnBehalf, keys_found,
            tls_key::{TlsKey, TlsKeyHolder},
        },
        authorize::AuthorizedTrain,
        permitted_keys::{RawKey, TrainKey},
        raw_key::RawKeyError,
        station::{Compat, Station},
        trust_check::{TrustCheck, TrustPhase},
        unwrap::{ReadTrain, UnwrappedTrain},
        verify::VerifiedTrain,
    },
    checks::rule_report::EMBEDDED,
    context::{
        call_context::{CallContext, KnownSessions},
        caller::{Caller, new_call},
        error::StepError,
        key_errors::{KeyOwner, KeyUseError, UntrustedKey},
        rules::Policy,
        station_key::{KeyPurposes, StationKey, checkpoint_scheme, key_usage},
    },
    steps::{
        abort::{AbortAnswer, abort_run},
        check_push::{PushFinding, PushVerdict, check_push},
        hash_image::{ImageDigests, TrainAbsent, TrainDigests, hash_image},
        inspect::{Inspection, ListedFile, inspect_saved, inspect_train},
        open_results::{ResultsAnswer, ResultsOf, ResultsOrder, ResultsPart, Sent, open_results},
        post_run::{PostRunAnswer, PostRunOrder, post_run},
        pre_run::{PreRunAnswer, PreRunOrder, pre_run},
        validate_image::{ImageVerdict, Operand, validate_image, validate_places},
        verify_train::{Judge, Verification, verify_archive, verify_for_station, verify_image, verify_place},
        working_copy::{Mount, MountSource},
    },
    verify_returned::{Results, ReturnedTrain},
};
