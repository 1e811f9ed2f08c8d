//! Memory pages for secrets that are excluded from core dumps.

#![expect(unsafe_code, reason = "maps pages that only the kernel can create")]

use std::{
    fmt, io,
    num::NonZero,
    os::fd::{FromRawFd, OwnedFd},
    ptr::NonNull,
};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, munmap};

/// A secret in pages of its own: of `memfd_secret(2)`, which the kernel itself does not map, so that no debugger and no core dump
/// shows them; where that is unavailable, pages that are never swapped and are excluded from core dumps.
pub struct SecretPages {
    pages: NonNull<u8>,
    mapped: NonZero<usize>,
    len: usize,
}

// SAFETY: the pages belong to this value alone, and after `new` they are only read until it is dropped.
unsafe impl Send for SecretPages {}
// SAFETY: as above.
unsafe impl Sync for SecretPages {}

impl SecretPages {
    /// Copies a secret into new pages.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(secret: &[u8]) -> io::Result<Self> {
        let mapped = NonZero::new(secret.len().next_multiple_of(rustix::param::page_size())).unwrap_or(NonZero::<usize>::MIN);
        let pages = secret_pages(mapped).or_else(|_| locked_pages(mapped))?;
        // SAFETY: fresh pages, at least as long as the secret.
        unsafe { pages.copy_from_nonoverlapping(NonNull::from(secret).cast(), secret.len()) };
        Ok(Self { pages, mapped, len: secret.len() })
    }

    /// Returns the secret. Copies made of it are not protected.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        // SAFETY: `new` has written that many bytes, and nothing writes them again.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr(), self.len) }
    }
}

impl Drop for SecretPages {
    fn drop(&mut self) {
        // SAFETY: the pages belong to this value, and no reference into them exists any more.
        unsafe {
            libc::explicit_bzero(self.pages.as_ptr().cast(), self.len);
            let _ = munmap(self.pages.as_ptr().cast(), self.mapped.get());
        }
    }
}

impl fmt::Debug for SecretPages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SecretPages(..)")
    }
}

fn secret_pages(mapped: NonZero<usize>) -> io::Result<NonNull<u8>> {
    // SAFETY: the call takes flags and returns a new descriptor or -1.
    let file = unsafe {
        match libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) {
            -1 => return Err(io::Error::last_os_error()),
            number => OwnedFd::from_raw_fd(i32::try_from(number).map_err(io::Error::other)?),
        }
    };
    rustix::fs::ftruncate(&file, mapped.get() as u64)?;
    // SAFETY: a new mapping at an address that the kernel chooses. It outlives its descriptor.
    let pages =
        unsafe { mmap(std::ptr::null_mut(), mapped.get(), ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)? };
    NonNull::new(pages.cast()).ok_or(io::ErrorKind::OutOfMemory.into())
}

fn locked_pages(mapped: NonZero<usize>) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address that the kernel chooses, with advice about this mapping only.
    let pages = unsafe {
        let pages = mmap_anonymous(std::ptr::null_mut(), mapped.get(), ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?;
        // Without permission to lock memory, the pages are still excluded from core dumps.
        if let Err(error) = mlock(pages, mapped.get()) {
            tracing::warn!(%error, "a secret cannot be kept out of swap");
        }
        madvise(pages, mapped.get(), Advice::LinuxDontDump)?;
        pages
    };
    NonNull::new(pages.cast()).ok_or(io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use crate::memory::secret_pages::*;

    #[test]
    fn what_is_put_there_is_there_in_both_kinds_of_pages() {
        let secret = b"kept for later".repeat(400);
        assert_eq!(SecretPages::new(&secret).unwrap().expose(), secret);
        assert_eq!(SecretPages::new(b"").unwrap().expose(), b"");
        locked_pages(NonZero::new(4096).unwrap()).unwrap();
    }

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", SecretPages::new(b"secret").unwrap()), "SecretPages(..)");
    }
}
