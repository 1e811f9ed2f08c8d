use tonic::Code;
use tonic_types::StatusExt;

use super::*;

/// The contract, frozen. A change here is a change of the API.
const GOLDEN: &str = "\
MALFORMED_REQUEST InvalidArgument
CONFIG_MALFORMED InvalidArgument
IMAGE_REF_INVALID InvalidArgument
ARCHIVE_MALFORMED InvalidArgument
PEER_UNKNOWN Unauthenticated
RPC_NOT_ALLOWED PermissionDenied
KEY_NOT_ALLOWED PermissionDenied
IMAGE_NOT_FOUND NotFound
BASE_MISSING NotFound
MASTER_UNKNOWN NotFound
KEY_NOT_FOUND NotFound
RUN_NOT_FOUND NotFound
KEY_LABEL_EXISTS AlreadyExists
IDEMPOTENCY_MISMATCH AlreadyExists
TRAIN_AUTHENTICATION_FAILED FailedPrecondition
UNWRAP_FAILED FailedPrecondition
ROUTE_REJECTED FailedPrecondition
KEY_UNTRUSTED FailedPrecondition
TRAIN_REPLAYED FailedPrecondition
RUN_STATE FailedPrecondition
RUN_UNCHANGED FailedPrecondition
IMAGE_POLICY_VIOLATION FailedPrecondition
HSM_PIN_LATCHED FailedPrecondition
DIRECTORY_NOT_SHARED FailedPrecondition
NO_ENGINE FailedPrecondition
ENGINE_REFUSED FailedPrecondition
NOT_READY FailedPrecondition
TRAIN_BUSY Aborted
IMAGE_CHANGED Aborted
OVERLOADED ResourceExhausted +retry
HSM_SESSIONS_EXHAUSTED ResourceExhausted +retry
DISK_FULL ResourceExhausted
LIMIT_EXCEEDED ResourceExhausted
HSM_UNAVAILABLE Unavailable +retry
ENGINE_UNAVAILABLE Unavailable +retry
AUDIT_UNAVAILABLE Unavailable +retry
SHUTTING_DOWN Unavailable +retry
DEADLINE_EXCEEDED DeadlineExceeded
CANCELLED Cancelled
MECHANISM_UNSUPPORTED Unimplemented
HSM_FAULT Internal
INVARIANT Internal
AUDIT_CHAIN_BROKEN DataLoss
";

#[test]
fn reasons_and_their_codes_are_frozen() {
    let table: String = Reason::ALL
        .iter()
        .map(|&reason| {
            let status = tonic::Status::from(Refusal::from(reason));
            let details = status.get_error_details();
            assert_ne!(status.code(), Code::Unknown);
            match details.error_info() {
                Some(info) => assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.name(), DOMAIN)),
                None => assert!(!reason.has_error_info()),
            }
            let retry = if details.retry_info().is_some() { " +retry" } else { "" };
            format!("{} {:?}{retry}\n", reason.name(), status.code())
        })
        .collect();
    assert_eq!(table, GOLDEN);
}

#[test]
fn a_client_reads_back_what_was_refused() {
    let refusal = Reason::RunState.status("the run is prepared").with_meta("state", "prepared");
    let failure = Failure::from(&tonic::Status::from(refusal));
    assert_eq!(failure.reason, Some(Reason::RunState));
    assert_eq!(failure.message, "the run is prepared");
    assert_eq!(failure.metadata["state"], "prepared");
}

#[test]
fn a_refused_train_carries_an_id_and_no_detail() {
    let failure = Failure::from(&tonic::Status::from(Refusal::train_authentication(&"padding of block 3")));
    assert_eq!(failure.message, Reason::TrainAuthenticationFailed.text());
    assert_eq!(failure.metadata.keys().collect::<Vec<_>>(), ["refusal_id"]);
}

#[test]
fn what_tonic_refuses_itself_is_brought_into_the_contract() {
    let mut headers = http::HeaderMap::new();
    headers.insert("grpc-status", http::HeaderValue::from_static("11"));
    assert_eq!(in_contract(&headers).unwrap().reason(), Reason::LimitExceeded);
    headers.insert("grpc-status", http::HeaderValue::from_static("13"));
    assert_eq!(in_contract(&headers).unwrap().reason(), Reason::MalformedRequest);
    let own = Refusal::from(Reason::HsmFault).into_http::<()>();
    assert!(in_contract(own.headers()).is_none());
}
