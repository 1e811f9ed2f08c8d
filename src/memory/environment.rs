//! A secret that came through the environment, taken out of it.

use std::ffi::{CStr, CString};

use zeroize::Zeroizing;

/// The value of an environment variable. What it leaves in the process's own block, where `/proc/PID/environ` and core
/// images show it, is overwritten: for everybody else in this process the variable is empty from now on.
pub fn take_variable(name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let name = CString::new(name).ok()?;
    // SAFETY: the string that `getenv` finds is as long as it says, and stays where it is: nothing sets a variable after the
    // start. Its bytes are read by nobody but who asks for this variable, and a secret is asked for once.
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
