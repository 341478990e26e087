//! Atomics: the machine's. Under `--cfg loom` they are those of loom, which runs a test in all the orders
//! that threads and memory allow (`tests/loom`).

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
