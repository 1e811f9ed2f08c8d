//! One forwarding function for each signature of the standard.

#![expect(unsafe_code, reason = "is called by C, and calls the real module's functions")]

use std::{
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

use cryptoki_sys::{CK_FLAGS, CK_NOTIFY, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID};

use crate::{
    function::{COUNT, Function},
    intercept::intercept,
    mechanism::mechanism_of,
};

/// The real module's functions by number. A function is set before its forwarding function is given to anyone.
static REAL: [AtomicPtr<()>; COUNT] = [const { AtomicPtr::new(null_mut()) }; COUNT];

/// A first argument, as a number. It is the session's handle in all functions that have a session.
trait FirstArgument: Copy {
    fn number(self) -> u64;
}

impl FirstArgument for u64 {
    fn number(self) -> u64 {
        self
    }
}

impl FirstArgument for u8 {
    fn number(self) -> u64 {
        self.into()
    }
}

impl<T> FirstArgument for *mut T {
    fn number(self) -> u64 {
        0
    }
}

/// A function of the standard's list, by its signature.
pub(crate) trait Signature {
    /// Returns the function as a pointer.
    fn address(self) -> *mut ();

    /// Returns a function that passes calls to the real function of this number.
    fn forwarding<const NUMBER: usize>() -> Self;
}

macro_rules! signatures {
    ($(($($argument:ident: $kind:ident),*))*) => {
        $(
            impl<First: FirstArgument, $($kind: 'static),*> Signature for unsafe extern "C" fn(First, $($kind),*) -> CK_RV {
                fn address(self) -> *mut () {
                    self as *mut ()
                }

                fn forwarding<const NUMBER: usize>() -> Self {
                    unsafe extern "C" fn forward<First: FirstArgument, $($kind: 'static,)* const NUMBER: usize>(
                        first: First,
                        $($argument: $kind),*
                    ) -> CK_RV {
                        // SAFETY: `wrap` stored a function of this signature under this number before it returned this function.
                        let real = unsafe {
                            std::mem::transmute::<*mut (), unsafe extern "C" fn(First, $($kind),*) -> CK_RV>(
                                REAL[NUMBER].load(Ordering::Acquire),
                            )
                        };
                        let of_arguments: &[Option<_>] = &[$(mechanism_of(&$argument)),*];
                        let mechanism = of_arguments.iter().find_map(|mechanism| *mechanism);
                        intercept(NUMBER, first.number(), mechanism, |_| {
                            // SAFETY: the caller's arguments are passed on as they are.
                            unsafe { real(first, $($argument),*) }
                        })
                    }
                    forward::<First, $($kind,)* NUMBER>
                }
            }
        )*
    };
}

signatures! {
    ()
    (b: B)
    (b: B, c: C)
    (b: B, c: C, d: D)
    (b: B, c: C, d: D, e: E)
    (b: B, c: C, d: D, e: E, f: F)
    (b: B, c: C, d: D, e: E, f: F, g: G)
    (b: B, c: C, d: D, e: E, f: F, g: G, h: H)
    (b: B, c: C, d: D, e: E, f: F, g: G, h: H, i: I)
    (b: B, c: C, d: D, e: E, f: F, g: G, h: H, i: I, j: J)
}

/// Remembers a function of the real module, and returns the function that passes calls to it.
pub(crate) fn wrap<S: Signature, const NUMBER: usize>(real: S) -> S {
    REAL[NUMBER].store(real.address(), Ordering::Release);
    S::forwarding::<NUMBER>()
}

/// Passes `C_OpenSession` on: the session in the journal is the one that was opened.
pub(crate) unsafe extern "C" fn open_session(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut std::ffi::c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    type OpenSession =
        unsafe extern "C" fn(CK_SLOT_ID, CK_FLAGS, *mut std::ffi::c_void, CK_NOTIFY, *mut CK_SESSION_HANDLE) -> CK_RV;
    let number = Function::C_OpenSession as usize;
    // SAFETY: `wrap` stored the real function of this name, which has this signature.
    let real = unsafe { std::mem::transmute::<*mut (), OpenSession>(REAL[number].load(Ordering::Acquire)) };
    intercept(number, 0, None, |opened| {
        // SAFETY: the caller's arguments are passed on as they are; after success the handle is initialised.
        unsafe {
            let value = real(slot, flags, application, notify, session);
            if value == cryptoki_sys::CKR_OK {
                *opened = *session;
            }
            value
        }
    })
}
