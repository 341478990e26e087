//! SIGBUS of a mapped file.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use memmap2::Mmap;

/// A mapping as the handler sees it: an entry of a list that only grows, so that it is read without a lock. Of an
/// entry that is not in use the end is 0.
#[derive(Debug)]
struct Entry {
    start: AtomicUsize,
    end: AtomicUsize,
    cut: AtomicBool,
    used: AtomicBool,
    next: AtomicPtr<Entry>,
}

static FIRST: AtomicPtr<Entry> = AtomicPtr::new(null_mut());
/// What SIGBUS did before; set once, before the handler is there.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// A mapping that the handler knows of, as long as this lives.
#[derive(Debug)]
pub(super) struct Registered(&'static Entry);

fn entries() -> impl Iterator<Item = &'static Entry> {
    let follow = |link: &AtomicPtr<Entry>| {
        // SAFETY: the list's links are null or come from `Box::leak` in `Registered::new`, which publishes an entry
        // once it is complete; none is ever freed, and all of its fields are atomic.
        unsafe { link.load(Ordering::Acquire).as_ref() }
    };
    std::iter::successors(follow(&FIRST), move |entry| follow(&entry.next))
}

impl Registered {
    pub(super) fn new(map: &Mmap) -> Self {
        let mut free = entries().filter(|entry| !entry.used.swap(true, Ordering::AcqRel));
        let entry = free.next().unwrap_or_else(|| {
            let entry: &'static Entry = Box::leak(Box::new(Entry {
                start: AtomicUsize::new(0),
                end: AtomicUsize::new(0),
                cut: AtomicBool::new(false),
                used: AtomicBool::new(true),
                next: AtomicPtr::new(null_mut()),
            }));
            let push = |first| {
                entry.next.store(first, Ordering::Relaxed);
                let new = std::ptr::from_ref(entry).cast_mut();
                FIRST.compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire)
            };
            let mut first = FIRST.load(Ordering::Acquire);
            while let Err(other) = push(first) {
                first = other;
            }
            entry
        });
        let start = map.as_ptr() as usize;
        entry.cut.store(false, Ordering::Relaxed);
        entry.start.store(start, Ordering::Relaxed);
        entry.end.store(start + map.len(), Ordering::Release);
        Self(entry)
    }

    pub(super) fn was_cut(&self) -> bool {
        self.0.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.end.store(0, Ordering::Release);
        self.0.used.store(false, Ordering::Release);
    }
}

/// Installs the handler, once.
pub(super) fn install() -> io::Result<()> {
    // SAFETY: sysconf takes a number and returns one.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    PAGE.store(usize::try_from(page).unwrap_or(0), Ordering::Relaxed);
    let mut failure = None;
    BEFORE.get_or_init(|| {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY:
        // - `before` is a whole `sigaction`, of which all zeros is a valid value (a null handler is the default
        //   action), and is written by the first call at most.
        // - The new action is one that was zeroed and then given its handler, flags and an empty mask, and its
        //   handler takes the three arguments that SA_SIGINFO stands for.
        // - The first call changes nothing: the second one sees `before` complete when the handler runs, except
        //   for a fault in between, of which the handler makes the default action.
        unsafe {
            if libc::sigaction(libc::SIGBUS, null(), before.as_mut_ptr()) != 0 {
                failure = Some(io::Error::last_os_error());
            }
            before.assume_init()
        }
    });
    let mut new = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: as above; `sigemptyset` writes the mask that it is given.
    let done = unsafe {
        let action = &mut *new.as_mut_ptr();
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, new.as_ptr(), null_mut())
    };
    match failure {
        Some(error) => Err(error),
        None if done != 0 => Err(io::Error::last_os_error()),
        None => Ok(()),
    }
}

/// Puts zeros in place of the rest of the mapping that has the address of the fault; of another address, does what
/// was done before. Async-signal-safe: it reads atomics and makes system calls.
extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the system passes a whole `siginfo_t`, whose address is set for SIGBUS; errno is this
    // thread's own, and given back as it was.
    let (addr, errno) = unsafe { ((*info).si_addr() as usize, *libc::__errno_location()) };
    let page = PAGE.load(Ordering::Relaxed).max(1);
    for entry in entries() {
        let end = entry.end.load(Ordering::Acquire);
        let start = entry.start.load(Ordering::Relaxed);
        // Looked at again: the entry may just have been given to another mapping.
        if !(start..end).contains(&addr) || entry.end.load(Ordering::Acquire) != end {
            continue;
        }
        let from = addr - addr % page;
        // SAFETY:
        // - The pages from `from` to the end of the mapping belong to a `FileMap`, which unmaps them after it has
        //   given up the entry; a fault inside it means that one of its views is being read, so that it lives.
        // - What was mapped there is replaced at once by pages of zeros, read-only as before. Views stay valid
        //   memory. That their bytes change is what the cut file did already, and what `was_cut` tells.
        let mapped = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            let zeros = libc::mmap(from as *mut _, end - from, libc::PROT_READ, flags, -1, 0);
            *libc::__errno_location() = errno;
            zeros != libc::MAP_FAILED
        };
        if mapped {
            entry.cut.store(true, Ordering::Relaxed);
            return;
        }
    }
    let before = BEFORE.get().map_or(null(), std::ptr::from_ref);
    // SAFETY: the action is the one that was there before, whole, or none where it is not known yet. The access is
    // made again on return, and met by it; without one by the default action, which ends the process.
    unsafe {
        if before.is_null() {
            libc::signal(signal, libc::SIG_DFL);
        } else {
            libc::sigaction(signal, before, null_mut());
        }
    }
}
