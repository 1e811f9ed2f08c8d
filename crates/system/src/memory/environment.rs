//! Takes a secret from the environment and erases it there.

#![expect(unsafe_code, reason = "overwrites a variable in the environment of the C library")]

use std::ffi::{CStr, CString};

use zeroize::Zeroizing;

/// Returns the value of an environment variable. Overwrites the value in the process's own environment block, where
/// `/proc/PID/environ` and core dumps show it: from now on the variable is empty for the rest of this process.
pub fn take_variable(name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let name = CString::new(name).ok()?;
    // SAFETY: the string that `getenv` finds is as long as it states, and stays where it is: nothing sets a variable after the
    // start. Only callers that ask for this variable read its bytes, and a secret is requested once.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        if value.is_null() {
            return None;
        }
        let taken = Zeroizing::new(CStr::from_ptr(value).to_bytes().to_vec());
        libc::explicit_bzero(value.cast(), taken.len());
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_there_once() {
        let name = "STATIONMASTER_TEST_TAKEN";
        // SAFETY: no other test names this variable, and none lists them all.
        unsafe { std::env::set_var(name, "secret") };
        assert_eq!(take_variable(name).as_deref().map(Vec::as_slice), Some(&b"secret"[..]));
        assert_eq!(std::env::var(name).as_deref(), Ok(""));
        assert!(take_variable("STATIONMASTER_TEST_ABSENT").is_none());
    }
}
