//! How much memory an input costs, counted and not measured: the same on every machine.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// What every input may have, however short: the readers' own buffers, and the caches of the patterns that image references are
/// matched with, which fill up to some 6 MiB over the inputs and are then kept.
const FREE: usize = 12 << 20;
/// What it may have besides, for each of its bytes: JSON's smallest value is two bytes of text and a node of some tens, doubled while a list grows.
const FOR_A_BYTE: usize = 256;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with an eye on it. OpenSSL and libFuzzer have their own; libFuzzer's `-rss_limit_mb` sees those.
pub struct Counting;

fn grown(by: usize) {
    let now = NOW.fetch_add(by, Relaxed) + by;
    PEAK.fetch_max(now, Relaxed);
}

// SAFETY: all is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs `body` on an input of `len` bytes; panics when it held more memory at once than that is worth.
pub fn watched(len: usize, body: impl FnOnce()) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    body();
    let most = PEAK.load(Relaxed).saturating_sub(before);
    assert!(most <= FREE + FOR_A_BYTE * len, "{most} bytes of memory at once for an input of {len}");
}
