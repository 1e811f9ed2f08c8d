//! Loads a PKCS#11 module and calls `C_Initialize` once per module and process.
//!
//! Keystores and administration in one process share the module. It is finalised when its last user is dropped; the library
//! itself is never unloaded, because libraries shared with this process (libcrypto) may keep pointers into it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
};
use stationmaster_system::files::{explained, input, words};

use super::rv::{translate, wrapper_error};
use crate::{KeystoreError, ModuleConfig};

static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

struct Module {
    /// The file that was loaded.
    place: PathBuf,
    context: Pkcs11,
    state: Mutex<State>,
    logins: Mutex<Logins>,
}

#[derive(Default)]
struct State {
    users: usize,
    /// The number that the next user gets.
    next: u64,
    /// Users without a session, which wait for their token.
    quiet: BTreeSet<u64>,
    /// Whether this process called `C_Initialize`: only then does it call `C_Finalize`.
    ours: bool,
    /// The text of `C_Initialize`: kept while the module is initialised, because a module may keep the pointer.
    init_args: Option<CString>,
}

/// Which (token serial, PIN mark) has been accepted in this process. A login belongs to the process, not to the session, and a token
/// that returns "already logged in" has not checked the PIN.
#[derive(Default)]
pub(super) struct Logins(BTreeMap<String, [u8; 32]>);

impl Logins {
    pub(super) fn proves(&self, serial: &str, mark: &[u8; 32]) -> bool {
        self.0.get(serial) == Some(mark)
    }

    pub(super) fn record(&mut self, serial: &str, mark: [u8; 32]) {
        self.0.insert(serial.to_owned(), mark);
    }
}

/// Loads a module, initialises and finalises it (`C_Initialize`, `C_Finalize`).
///
/// # Errors
/// [`KeystoreError::ModuleUnusable`].
pub fn try_module(config: &ModuleConfig) -> Result<(), KeystoreError> {
    ModuleUse::acquire(config).map(drop)
}

/// The use of an initialised module. The last use to be dropped finalises it; all sessions must be closed before.
pub(super) struct ModuleUse {
    module: Arc<Module>,
    number: u64,
}

impl ModuleUse {
    /// Loads the module, or shares it with its present users. All users of one time name the same text for it.
    pub(super) fn acquire(config: &ModuleConfig) -> Result<ModuleUse, KeystoreError> {
        let ModuleConfig { path, init_args } = config;
        let unusable = |reason: String| KeystoreError::ModuleUnusable { module: path.clone(), reason };
        let init_args = init_args.clone().map(CString::new).transpose();
        let init_args = init_args.map_err(|_| unusable("the text for its initialisation holds a zero byte".to_owned()))?;
        // Two paths of one library would initialise it twice.
        let place = path.canonicalize().map_err(|error| unusable(words(&explained(path, error))))?;
        // The loader would wait for a FIFO.
        input::open_regular(&place).map_err(|error| unusable(words(&error)))?;
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match modules.get(&place) {
            Some(module) => Arc::clone(module),
            None => {
                let context = Pkcs11::new(&place).map_err(|error| unusable(wrapper_error(&error).to_owned()))?;
                let module =
                    Arc::new(Module { place: place.clone(), context, state: Mutex::default(), logins: Mutex::default() });
                modules.insert(place, Arc::clone(&module));
                module
            }
        };
        let number = {
            let mut state = lock(&module.state);
            if state.users == 0 {
                state.init_args = init_args;
                state.ours = module.initialise(&state).map_err(|error| unusable(translate(&error).to_string()))?;
            } else if state.init_args != init_args {
                return Err(unusable("this process uses it already, with another text for its initialisation".to_owned()));
            }
            state.users += 1;
            state.next += 1;
            state.next
        };
        Ok(ModuleUse { module, number })
    }

    pub(super) fn path(&self) -> &Path {
        &self.module.place
    }

    pub(super) fn context(&self) -> &Pkcs11 {
        &self.module.context
    }

    /// Returns the accepted logins; held during a login, so that there is one login at a time.
    pub(super) fn logins(&self) -> MutexGuard<'_, Logins> {
        lock(&self.module.logins)
    }

    /// Notes that this user has no session and waits for its token.
    pub(super) fn quiet(&self) {
        lock(&self.module.state).quiet.insert(self.number);
    }

    /// Returns whether another user in the process has sessions: the module is not finalised then. The caller is quiet.
    pub(super) fn others_use_it(&self) -> bool {
        let state = lock(&self.module.state);
        state.users > state.quiet.len()
    }

    /// Finalises and initialises the module, which some modules (p11-kit's client) need to see a token again. Sessions of the
    /// caller must be closed. While another user in the process has sessions, nothing is finalised: the module is only
    /// initialised if necessary; likewise without `finalise`.
    pub(super) fn reinitialise(&self, finalise: bool) -> Result<(), Error> {
        let mut state = lock(&self.module.state);
        // From here on the caller may have sessions.
        state.quiet.remove(&self.number);
        if finalise && state.quiet.len() + 1 == state.users && state.ours {
            // Not initialised, or the device was removed: the initialisation that follows shows it.
            let _ = self.module.context.clone().finalize();
            lock(&self.module.logins).0.clear();
        }
        state.ours |= self.module.initialise(&state)?;
        Ok(())
    }
}

impl Drop for ModuleUse {
    fn drop(&mut self) {
        let mut state = lock(&self.module.state);
        state.users -= 1;
        state.quiet.remove(&self.number);
        if state.users == 0 {
            lock(&self.module.logins).0.clear();
            if state.ours
                && let Err(error) = self.module.context.clone().finalize()
            {
                tracing::warn!(error = %translate(&error), "the PKCS#11 module could not be finalised");
            }
            state.ours = false;
        }
    }
}

impl Module {
    /// Returns whether this call initialised it.
    #[expect(unsafe_code, reason = "passes the module a text of its own format")]
    fn initialise(&self, state: &State) -> Result<bool, Error> {
        let flags = CInitializeFlags::OS_LOCKING_OK;
        let arguments = match &state.init_args {
            None => CInitializeArgs::new(flags),
            // SAFETY: the pointer is to a C string, which `state` keeps for as long as the module is initialised. Modules that take
            // something here take a C string that they do not write to; the administrator names the text for this module.
            Some(text) => unsafe { CInitializeArgs::new_with_reserved(flags, NonNull::from(text.as_c_str()).cast()) },
        };
        match self.context.initialize(arguments) {
            Ok(()) => Ok(true),
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Locks a mutex even after a panic elsewhere: the guarded values are valid after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
