//! Every return value of the table below, from every function that a call needs, before and after the real call: what the caller
//! gets, and that the keystore then works as before.

use std::{collections::BTreeSet, fmt};

use super::*;
use crate::{pkcs11::tests::recovered, verify::wrap, *};

/// What the keystore does about a return value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reaction {
    /// It opens a new session, finds the key again, and tries once more.
    NewSession,
    /// It finds the key again, and tries once more.
    FindAgain,
    /// It logs in, and tries once more.
    LogIn,
    /// It takes a login for done: the process is logged in, not the session. No other function may return this.
    LoggedIn,
    /// It fails the call, sets up module, session and login anew, and finds the token again.
    SetUpAnew,
    /// It fails the call, and nothing grows.
    Shed,
    /// It latches the PIN, which is never tried again. No other function than a login may return this.
    Latch,
    /// It fails the call.
    Fail,
}

const VALUES: [(&str, Reaction); 18] = [
    ("CKR_SESSION_HANDLE_INVALID", Reaction::NewSession),
    ("CKR_SESSION_CLOSED", Reaction::NewSession),
    ("CKR_OPERATION_ACTIVE", Reaction::NewSession),
    ("CKR_OBJECT_HANDLE_INVALID", Reaction::FindAgain),
    ("CKR_KEY_HANDLE_INVALID", Reaction::FindAgain),
    ("CKR_USER_NOT_LOGGED_IN", Reaction::LogIn),
    ("CKR_USER_ALREADY_LOGGED_IN", Reaction::LoggedIn),
    ("CKR_DEVICE_ERROR", Reaction::SetUpAnew),
    ("CKR_DEVICE_REMOVED", Reaction::SetUpAnew),
    ("CKR_TOKEN_NOT_PRESENT", Reaction::SetUpAnew),
    ("CKR_CRYPTOKI_NOT_INITIALIZED", Reaction::SetUpAnew),
    ("CKR_SESSION_COUNT", Reaction::Shed),
    ("CKR_DEVICE_MEMORY", Reaction::Shed),
    ("CKR_HOST_MEMORY", Reaction::Shed),
    ("CKR_PIN_INCORRECT", Reaction::Latch),
    ("CKR_PIN_LOCKED", Reaction::Latch),
    ("CKR_GENERAL_ERROR", Reaction::Fail),
    ("CKR_FUNCTION_FAILED", Reaction::Fail),
];

const MOMENTS: [&str; 2] = ["before", "after"];

/// What makes a call of the keystore need a function, and which of the call's uses of the function fails.
#[derive(Clone, Copy)]
struct Target {
    function: &'static str,
    /// The wrapper first asks `C_Sign` and `C_Decrypt` for the length of the result: the second call uses the key.
    number: u32,
    unwraps: bool,
    prepare: fn(&Keystore),
}

const NOTHING: fn(&Keystore) = |_| {};

const OPEN_SESSION: Target =
    Target { function: "C_OpenSession", number: 1, unwraps: false, prepare: |keystore| drop_worker_session(keystore) };
const LOGIN: Target = Target { function: "C_Login", number: 1, unwraps: false, prepare: |keystore| log_out(keystore) };
const FIND: Target =
    Target { function: "C_FindObjectsInit", number: 1, unwraps: false, prepare: |keystore| drop_worker_session(keystore) };
const ATTRIBUTES: Target =
    Target { function: "C_GetAttributeValue", number: 1, unwraps: false, prepare: |keystore| forget_key(keystore) };
const SIGN_INIT: Target = Target { function: "C_SignInit", number: 1, unwraps: false, prepare: NOTHING };
const SIGN: Target = Target { function: "C_Sign", number: 2, unwraps: false, prepare: NOTHING };
const DECRYPT_INIT: Target = Target { function: "C_DecryptInit", number: 1, unwraps: true, prepare: NOTHING };
const DECRYPT: Target = Target { function: "C_Decrypt", number: 2, unwraps: true, prepare: NOTHING };

const FIND_NEXT: Target = Target { function: "C_FindObjects", ..FIND };
/// The worker asks whether the login is lost when it finds no key.
const SESSION_INFO: Target = Target {
    function: "C_GetSessionInfo",
    number: 1,
    unwraps: false,
    prepare: |keystore| {
        log_out(keystore);
        drop_worker_session(keystore);
    },
};
const ATTRIBUTE_VALUES: Target = Target { number: 2, ..ATTRIBUTES };
const SIGN_LENGTH: Target = Target { number: 1, ..SIGN };
const DECRYPT_LENGTH: Target = Target { number: 1, ..DECRYPT };

/// The worker opens a session, and finds the key, at the next call.
fn drop_worker_session(keystore: &Keystore) {
    keystore.pool().state().workers().iter().for_each(|worker| drop(lock(&worker.session).take()));
}

fn log_out(keystore: &Keystore) {
    lock(&keystore.pool().state().login_session).as_ref().unwrap().logout().unwrap();
}

/// The key is read from the token at the next call, as one that was away.
fn forget_key(keystore: &Keystore) {
    let key = keystore.pool().state().keys.known("train").unwrap().unwrap();
    keystore.pool().state().keys.forget(&key);
}

/// One cell of the matrix.
#[derive(Clone, Copy)]
struct Cell {
    target: Target,
    value: &'static str,
    reaction: Reaction,
    moment: &'static str,
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.target.function, self.moment, self.value)
    }
}

impl Cell {
    /// What the caller of the one call gets. The reasons of [`KeystoreError::Unavailable`] are not compared.
    fn expected(&self, access: &TokenAccess) -> Result<(), KeystoreError> {
        let fault = |operation: &str, code: &str| KeystoreError::Fault { operation: operation.to_owned(), code: code.to_owned() };
        let is_login = self.target.function == LOGIN.function;
        match self.reaction {
            Reaction::NewSession | Reaction::FindAgain | Reaction::LogIn => Ok(()),
            // The token claims a login that it then does not know.
            Reaction::LoggedIn if is_login && self.moment == "before" => Err(fault("C_FindObjects", "CKR_USER_NOT_LOGGED_IN")),
            Reaction::LoggedIn if is_login => Ok(()),
            Reaction::SetUpAnew => Err(KeystoreError::Unavailable { reason: "" }),
            Reaction::Shed => Err(KeystoreError::SessionsExhausted),
            Reaction::Latch if is_login && self.value == "CKR_PIN_LOCKED" => Err(KeystoreError::PinAtRisk { state: "locked" }),
            Reaction::Latch if is_login => {
                Err(KeystoreError::PinRejected { pin: access.pin.to_string(), latch: access.pin_latch.clone() })
            }
            Reaction::LoggedIn | Reaction::Latch | Reaction::Fail => Err(fault(self.target.function, self.value)),
        }
    }

    fn latches(&self) -> bool {
        self.reaction == Reaction::Latch && self.target.function == LOGIN.function
    }
}

struct Row {
    station: FaultyToken,
    access: TokenAccess,
    keystore: Keystore,
    wrapped: Vec<u8>,
}

const DIGEST: [u8; 64] = [0x5a; 64];
const SECRET: [u8; 32] = [7; 32];

impl Row {
    fn open() -> Row {
        let station = FaultyToken::with_keys();
        let latch = station.token.dir.path().join("latch");
        let access = TokenAccess { pin_latch: Some(latch), ..station.access() };
        let config = KeystoreConfig { sessions: 1, ..station.token.config_with(access.clone(), &["train", "general"]) };
        let keystore = Keystore::open(config).unwrap();
        let wrapped = wrap(&public(&keystore, "train"), OaepScheme::Sha512, &SECRET).unwrap();
        Row { station, access, keystore, wrapped }
    }

    async fn call(&self, unwraps: bool) -> Result<(), KeystoreError> {
        let outcome = if unwraps {
            unwrap(&self.keystore, "train", OaepScheme::Sha512, &self.wrapped, None)
                .await
                .map(|secret| assert_eq!(secret[..], SECRET))
        } else {
            // The keystore verifies each signature before it returns it.
            sign(&self.keystore, "train", SignScheme::PssSha512MaxSalt, &DIGEST, None).await.map(drop)
        };
        outcome.map_err(|error| match error {
            KeystoreError::Unavailable { .. } => KeystoreError::Unavailable { reason: "" },
            other => other,
        })
    }

    fn count(&self, function: &str) -> usize {
        self.station.journal().calls(function)
    }

    /// Runs one cell; returns what was not as it has to be.
    async fn run(&self, cell: Cell) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                wrong.push(format!("{cell}: {what}"));
            }
        };
        (cell.target.prepare)(&self.keystore);
        let before = self.station.journal();
        let made = |function: &str| self.count(function) - before.calls(function);
        let Cell { target: Target { function, number, unwraps, .. }, value, moment, .. } = cell;
        self.station.set(&format!("{function} {number} {moment} return {value}"));
        let got = self.call(unwraps).await;
        let expected = cell.expected(&self.access);
        check(got == expected, format!("the caller got {got:?}, not {expected:?}"));
        let hits = self.station.journal().entries()[before.entries().len()..]
            .iter()
            .filter(|entry| entry.function == function && entry.end.as_ref().is_some_and(|end| end.returned == value))
            .count();
        check(hits == 1, format!("the fault occurred {hits} times"));

        if cell.latches() {
            let logins = made("C_Login");
            check(logins == 1, format!("{logins} logins"));
            for _ in 0..3 {
                let (call, health) = (self.call(unwraps).await, self.keystore.check(None).await);
                let latched = |outcome: &Result<(), KeystoreError>| matches!(outcome, Err(KeystoreError::PinLatched { .. }));
                // After a login that did take place, the token can be used.
                let fits = if moment == "before" { latched(&call) && latched(&health) } else { call.is_ok() && health.is_ok() };
                check(fits, format!("with the PIN latched a call got {call:?}, a check {health:?}"));
            }
            check(made("C_Login") == logins, "the latched PIN was tried again".to_owned());
            crate::pin_latch::forget_this_process(&self.station.token.serial);
            let cleared = std::fs::remove_file(self.access.pin_latch.as_ref().unwrap());
            check(cleared.is_ok(), format!("no latch file: {cleared:?}"));
        }
        recovered(&self.keystore).await;
        for unwraps in [false, true] {
            let next = self.call(unwraps).await;
            check(next.is_ok(), format!("the next call got {next:?}"));
        }
        let (logins, initialised) = (made("C_Login"), made("C_Initialize"));
        check(logins <= 2, format!("{logins} logins"));
        let anew = usize::from(cell.reaction == Reaction::SetUpAnew);
        check(initialised == anew, format!("the module was initialised {initialised} times, not {anew}"));
        // Of the two workers, and the one that holds the login.
        let sessions = self.station.journal().sessions();
        check(sessions == 3, format!("{sessions} sessions are open"));
        let uses = self.keystore.key_uses();
        let counted = [self.count("C_SignInit") as u64, self.count("C_DecryptInit") as u64];
        check([uses.signatures, uses.decryptions] == counted, format!("{uses:?} were counted, {counted:?} were made"));
        wrong
    }
}

async fn row(target: Target) {
    let row = Row::open();
    row.call(false).await.unwrap();
    let (mut cells, mut wrong) = (0, Vec::new());
    for (value, reaction) in VALUES {
        for moment in MOMENTS {
            wrong.extend(row.run(Cell { target, value, reaction, moment }).await);
            cells += 1;
        }
    }
    let Target { function, number, .. } = target;
    let all = VALUES.len() * MOMENTS.len();
    note(&format!("faults of {function}, call {number}: {cells} of {all} cells ran"), &format!("{function}-{number}"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Prints a line, which the log of a whole run shows at its end, too: `scripts/test.sh` prints what is in this directory.
fn note(line: &str, name: &str) {
    println!("{line}");
    let library = FaultModule::library().unwrap();
    // The target directory, above the profile's and its `deps`.
    let counts = library.ancestors().nth(3).unwrap().join("tmp/counts");
    std::fs::create_dir_all(&counts).unwrap();
    std::fs::write(counts.join(format!("pkcs11-faults-{name}")), format!("{line}\n")).unwrap();
}

macro_rules! rows {
    ($list:ident: $($name:ident: $target:ident,)*) => {
        const $list: &[Target] = &[$($target),*];

        $(
            #[tokio::test]
            async fn $name() {
                row($target).await;
            }
        )*
    };
}

rows! {
    ROWS:
    a_fault_of_open_session: OPEN_SESSION,
    a_fault_of_login: LOGIN,
    a_fault_of_find_objects: FIND,
    a_fault_of_get_attribute_value: ATTRIBUTES,
    a_fault_of_sign_init: SIGN_INIT,
    a_fault_of_sign: SIGN,
    a_fault_of_decrypt_init: DECRYPT_INIT,
    a_fault_of_decrypt: DECRYPT,
}

// The other calls on the way of the wrapper.
rows! {
    FURTHER:
    a_fault_between_found_objects: FIND_NEXT,
    a_fault_of_get_session_info: SESSION_INFO,
    a_fault_of_get_attribute_value_for_the_values: ATTRIBUTE_VALUES,
    a_fault_of_sign_for_the_length: SIGN_LENGTH,
    a_fault_of_decrypt_for_the_length: DECRYPT_LENGTH,
}

#[test]
fn the_matrix_has_288_cells_and_180_of_other_calls_on_the_way() {
    let cells = |rows: &[Target]| rows.len() * VALUES.len() * MOMENTS.len();
    assert_eq!((cells(ROWS), cells(FURTHER)), (288, 180));
    let calls = ROWS.iter().chain(FURTHER).map(|target| (target.function, target.number));
    assert_eq!(calls.collect::<BTreeSet<_>>().len(), ROWS.len() + FURTHER.len());
    assert_eq!(VALUES.map(|(value, _)| value).into_iter().collect::<BTreeSet<_>>().len(), VALUES.len());
}
