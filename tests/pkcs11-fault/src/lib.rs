//! A PKCS#11 module for tests. It passes every call to another module, keeps a journal of the calls, and fails them by rule.
//!
//! The library is both: as a shared object it is the module, as a Rust library it is what a test uses to direct the module
//! ([`FaultModule`]). Their connection is a directory, which [`VARIABLE`] names when the module is loaded or initialised:
//!
//! | file | content |
//! |---|---|
//! | `module` | path of the real module |
//! | `rules` | rules, one per line; read again at each call when it has changed |
//! | `journal` | appended: the begin and the end of each call, of every process that uses the directory |
//!
//! A rule is `FUNCTION WHICH MOMENT ACTION`:
//!
//! | part | values |
//! |---|---|
//! | function | `C_Sign`, or `*` for every function; with a condition on the call's mechanism: `C_SignInit[CKM_RSA_PKCS_PSS]`, and on the salt of PSS in bytes: `C_SignInit[CKM_RSA_PKCS_PSS,190]` |
//! | which | `3` for the third call, `every`, `from 3`; calls are counted from the moment the module reads a changed file |
//! | moment | `before` or `after` the real call |
//! | action | `return CKR_DEVICE_ERROR` or `return 0x30`, `delay 250` (milliseconds), `hang`, `hang until FILE` is removed, `crash` |
//!
//! A `return` before the real call replaces it: the real module is not called. A `return` after it replaces only the value.
//! Empty lines and lines that begin with `#` have no meaning. A rule that the module cannot read ends the process.

mod control;
mod forward;
mod function;
mod intercept;
mod journal;
mod mechanism;
mod module;
mod rules;
mod values;

pub use control::FaultModule;
pub use journal::{Entry, Journal};

/// Environment variable with the path of the module's directory.
pub const VARIABLE: &str = "STATIONMASTER_PKCS11_FAULT";
