//! What a call takes from the allocator: counted in the benchmarks alone, never in what is shipped.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
};

/// Calls that are counted; the mean is told.
const CALLS: u64 = 1_000;
/// Calls before them: what is allocated once is not of a call.
const FIRST: u64 = 50;

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted over all threads.
struct Counting;

fn count(bytes: usize) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "whoever counts what an allocator gives has to be one")]
// SAFETY: every call goes to the system's allocator as it came; the counters are not memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and bytes of one call, as a mean over many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allocations {
    /// How often memory was asked for; growing what there is counts too.
    pub count: f64,
    /// How much.
    pub bytes: f64,
}

/// Counts what `routine` asks for, but not what `setup` does.
pub fn of<I, O>(mut setup: impl FnMut() -> I, mut routine: impl FnMut(I) -> O) -> Allocations {
    let (mut count, mut bytes) = (0, 0);
    for call in 0..FIRST + CALLS {
        let input = setup();
        let before = (COUNT.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
        let output = routine(input);
        let after = (COUNT.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
        drop(std::hint::black_box(output));
        if call >= FIRST {
            count += after.0 - before.0;
            bytes += after.1 - before.1;
        }
    }
    let each = |sum: u64| sum as f64 / CALLS as f64;
    Allocations { count: each(count), bytes: each(bytes) }
}
