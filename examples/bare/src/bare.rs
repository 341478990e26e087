//! What a program has to bring where there is no operating system: an entry point, an allocator, a
//! panic handler.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Bytes of the heap: the arena and its alignment, and what describes it.
const HEAP: usize = bare_example::ARENA as usize + (8 << 20);

/// Gives out the bytes of its memory one after the other, and takes none back.
#[repr(C, align(4096))]
struct Bump {
    memory: UnsafeCell<[u8; HEAP]>,
    used: AtomicUsize,
}

// SAFETY: `memory` is reached through `alloc` alone, which gives each byte to one caller.
unsafe impl Sync for Bump {}

// SAFETY:
// - A block begins at a multiple of the alignment and ends within `memory`.
// - `used` only grows, by compare and exchange: no byte is in two blocks.
// - Nothing here panics or unwinds.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.memory.get().cast::<u8>();
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let pad = (start.addr() + used).wrapping_neg() & (layout.align() - 1);
            let end = (used + pad).checked_add(layout.size());
            let Some(end) = end.filter(|end| *end <= HEAP) else {
                return ptr::null_mut();
            };
            let taken =
                (self.used).compare_exchange(used, end, Ordering::Relaxed, Ordering::Relaxed);
            match taken {
                // SAFETY: `used + pad` is at most `end`, which is within `memory`.
                Ok(_) => return unsafe { start.add(used + pad) },
                Err(now) => used = now,
            }
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static HEAP_OF_THIS_PROGRAM: Bump = Bump {
    memory: UnsafeCell::new([0; HEAP]),
    used: AtomicUsize::new(0),
};

/// What came of it, for whoever looks at the memory of this program: 0 still running, 1 done, 2
/// failed, 3 panicked.
static OUTCOME: AtomicU8 = AtomicU8::new(0);

// SAFETY: no other function of this program has the name, which the linker begins it with.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let outcome = if bare_example::journey().is_ok() {
        1
    } else {
        2
    };
    end(outcome)
}

#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    end(3)
}

fn end(outcome: u8) -> ! {
    OUTCOME.store(outcome, Ordering::Relaxed);
    loop {
        core::hint::spin_loop();
    }
}
