//! A global allocator that clears memory when it is freed, in Rust and in OpenSSL: libraries copy what they are given, and none
//! of them wipes all of its copies.

#![expect(unsafe_code, reason = "implements allocators, which are unsafe by contract")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::{c_char, c_int, c_void},
    ptr,
};

/// The system's allocator, clearing each block that is freed.
pub struct ZeroingAllocator;

// SAFETY: memory comes from `System` and goes back to it with the layout it came with. `realloc` is the trait's own: new
// memory, a copy, and `dealloc` for the old, since `System` would leave a copy where a buffer moves.
unsafe impl GlobalAlloc for ZeroingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller owns the block, which is at least as long as its layout.
        unsafe {
            libc::explicit_bzero(block.cast(), layout.size());
            System.dealloc(block, layout);
        }
    }
}

type Malloc = unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void, *const c_char, c_int);

unsafe extern "C" {
    /// OpenSSL's function to set its allocator (`OPENSSL_malloc(3)`); returns 1 when it was accepted.
    fn CRYPTO_set_mem_functions(malloc: Malloc, realloc: Realloc, free: Free) -> c_int;
}

/// Makes OpenSSL clear what it frees, in this process's own use and in that of a token's library which shares it. OpenSSL must
/// not have allocated anything yet; returns whether it accepted the allocator.
pub fn clear_in_openssl() -> bool {
    // SAFETY: the three functions form an allocator: each returns and takes memory of `malloc`, as OpenSSL's own do.
    unsafe { CRYPTO_set_mem_functions(malloc, realloc, free) == 1 }
}

unsafe extern "C" fn malloc(size: usize, _file: *const c_char, _line: c_int) -> *mut c_void {
    // SAFETY: any size may be requested.
    if size == 0 { ptr::null_mut() } else { unsafe { libc::malloc(size) } }
}

unsafe extern "C" fn realloc(block: *mut c_void, size: usize, file: *const c_char, line: c_int) -> *mut c_void {
    // SAFETY: by contract the block comes from this allocator or is null; the copy is as long as the shorter of the two.
    unsafe {
        if size == 0 {
            free(block, file, line);
            return ptr::null_mut();
        }
        let new = libc::malloc(size);
        if !new.is_null() && !block.is_null() {
            ptr::copy_nonoverlapping(block.cast::<u8>(), new.cast(), size.min(libc::malloc_usable_size(block)));
            free(block, file, line);
        }
        new
    }
}

unsafe extern "C" fn free(block: *mut c_void, _file: *const c_char, _line: c_int) {
    if !block.is_null() {
        // SAFETY: by contract the block comes from this allocator; all of its usable size belongs to it.
        unsafe {
            libc::explicit_bzero(block, libc::malloc_usable_size(block));
            libc::free(block);
        }
    }
}
