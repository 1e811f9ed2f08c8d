//! The exported functions: load the real module and return its functions, wrapped.

#![expect(unsafe_code, reason = "exports functions to C, and loads a C library")]

use std::{
    ffi::{CStr, c_void},
    ptr::{addr_of_mut, null_mut},
    sync::OnceLock,
};

use cryptoki_sys::{
    CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2, CK_INTERFACE, CK_RV, CK_ULONG, CK_UTF8CHAR,
    CK_VERSION, CKR_ARGUMENTS_BAD, CKR_BUFFER_TOO_SMALL, CKR_GENERAL_ERROR, CKR_OK,
};

use crate::{forward::open_session, function::wrap_all, intercept::directory};

const INTERFACE: &CStr = c"PKCS 11";

/// The wrapped functions. Callers get pointers into it, so it is never dropped.
struct Loaded {
    /// With version 2.40, for `C_GetFunctionList`.
    list: CK_FUNCTION_LIST_3_2,
    /// In the real module's version.
    full: CK_FUNCTION_LIST_3_2,
    interface: CK_INTERFACE,
    /// Keeps the real module's code in memory.
    _real: cryptoki_sys::Pkcs11,
}

// SAFETY: the pointers lead into the value itself and to a constant; nothing is written after `load`.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

/// Returns the wrapped functions; `None`, with a message on standard error, when there is no real module.
fn loaded() -> Option<*mut Loaded> {
    static LOADED: OnceLock<Option<&'static Loaded>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| match load() {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            eprintln!("the fault module: {error}");
            None
        }
    });
    loaded.map(|loaded| std::ptr::from_ref(loaded).cast_mut())
}

fn load() -> Result<&'static Loaded, String> {
    let directory = directory().ok_or_else(|| format!("{} is not set", crate::VARIABLE))?;
    let path = std::fs::read_to_string(directory.join("module")).map_err(|error| format!("{}: {error}", directory.display()))?;
    // SAFETY: the test names a PKCS#11 module.
    let real = unsafe { cryptoki_sys::Pkcs11::new(path.trim()) }.map_err(|error| format!("{path}: {error}"))?;
    // SAFETY: the library is a PKCS#11 module.
    let mut full = unsafe { functions(&real) }.ok_or_else(|| format!("{path}: it returns no functions"))?;
    wrap_all(&mut full);
    full.C_OpenSession = Some(open_session);
    full.C_GetFunctionList = Some(C_GetFunctionList);
    if full.version.major >= 3 {
        full.C_GetInterfaceList = Some(C_GetInterfaceList);
        full.C_GetInterface = Some(C_GetInterface);
    }
    let list = CK_FUNCTION_LIST_3_2 { version: CK_VERSION { major: 2, minor: 40 }, ..full };
    let interface = CK_INTERFACE { pInterfaceName: INTERFACE.as_ptr().cast_mut().cast(), pFunctionList: null_mut(), flags: 0 };
    let loaded = Box::leak(Box::new(Loaded { list, full, interface, _real: real }));
    loaded.interface.pFunctionList = addr_of_mut!(loaded.full).cast();
    Ok(loaded)
}

/// Returns the real module's functions, of its newest interface.
///
/// # Safety
/// The library must be a PKCS#11 module.
unsafe fn functions(real: &cryptoki_sys::Pkcs11) -> Option<CK_FUNCTION_LIST_3_2> {
    let mut list: *const c_void = std::ptr::null();
    let mut interface: *mut CK_INTERFACE = null_mut();
    // SAFETY: the functions are those of the standard; an interface has a list, which begins with its version.
    unsafe {
        if real.C_GetInterface.is_ok()
            && real.C_GetInterface(null_mut(), null_mut(), &mut interface, 0) == CKR_OK
            && !interface.is_null()
        {
            list = (*interface).pFunctionList;
        }
        if list.is_null() {
            let mut oldest: *mut CK_FUNCTION_LIST = null_mut();
            if real.C_GetFunctionList.is_err() || real.C_GetFunctionList(&mut oldest) != CKR_OK {
                return None;
            }
            list = oldest.cast();
        }
        if list.is_null() {
            return None;
        }
        let version = *list.cast::<CK_VERSION>();
        let size = match (version.major, version.minor) {
            (0..3, _) => size_of::<CK_FUNCTION_LIST>(),
            (3, 0 | 1) => size_of::<CK_FUNCTION_LIST_3_0>(),
            _ => size_of::<CK_FUNCTION_LIST_3_2>(),
        };
        // Every version's list begins with the one before; the rest has no functions.
        let mut all = CK_FUNCTION_LIST_3_2::default();
        std::ptr::copy_nonoverlapping(list.cast::<u8>(), addr_of_mut!(all).cast::<u8>(), size);
        Some(all)
    }
}

/// Returns the functions of PKCS#11 2.40.
///
/// # Safety
/// The pointer must be valid for writing, or null.
#[unsafe(no_mangle)]
unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let Some(loaded) = loaded() else { return CKR_GENERAL_ERROR };
    // SAFETY: the caller's pointer is valid; the list is never dropped, and begins with the functions of 2.40.
    unsafe { *list = addr_of_mut!((*loaded).list).cast() };
    CKR_OK
}

/// Returns the only interface, in the real module's version. A module of version 2 gets one, too, which standard and callers
/// allow.
///
/// # Safety
/// The pointers must be as the standard demands.
#[unsafe(no_mangle)]
unsafe extern "C" fn C_GetInterface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    interface: *mut *mut CK_INTERFACE,
    flags: CK_FLAGS,
) -> CK_RV {
    let Some(loaded) = loaded() else { return CKR_GENERAL_ERROR };
    // SAFETY: the caller's pointers are null or valid, the name ends with a zero byte; the interface is never dropped.
    unsafe {
        let of_other_name = !name.is_null() && CStr::from_ptr(name.cast()) != INTERFACE;
        let of_other_version = !version.is_null() && {
            let (wanted, ours) = (*version, (*loaded).full.version);
            (wanted.major, wanted.minor) != (ours.major, ours.minor)
        };
        if interface.is_null() || flags != 0 || of_other_name || of_other_version {
            return CKR_ARGUMENTS_BAD;
        }
        *interface = addr_of_mut!((*loaded).interface);
    }
    CKR_OK
}

/// Returns the only interface in a list.
///
/// # Safety
/// The pointers must be as the standard demands.
#[unsafe(no_mangle)]
unsafe extern "C" fn C_GetInterfaceList(interfaces: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
    if count.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let Some(loaded) = loaded() else { return CKR_GENERAL_ERROR };
    // SAFETY: the caller's pointers are valid, and the list has as many places as the count says.
    unsafe {
        let places = std::mem::replace(&mut *count, 1);
        if interfaces.is_null() {
            return CKR_OK;
        }
        if places < 1 {
            return CKR_BUFFER_TOO_SMALL;
        }
        *interfaces = (*loaded).interface;
    }
    CKR_OK
}
