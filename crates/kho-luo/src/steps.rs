//! The lock under which handlers' steps run: one step at a time, and none within another.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicUsize, Ordering};

use kho_mem::sync::{Mutex, MutexGuard};

/// State that one thread at a time changes; others wait for it. A thread that is in a step already is refused:
/// it would wait for itself.
///
/// Without `std` threads can not be told apart, and such a thread waits.
#[derive(Debug)]
pub(crate) struct Steps<T> {
    // The thread that is in a step, 0 for none. Its own mark is written by that thread alone.
    thread: AtomicUsize,
    state: Mutex<T>,
}

/// The calling thread is in a step already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InStep;

/// A step, which ends where this is dropped.
pub(crate) struct Step<'s, T> {
    thread: &'s AtomicUsize,
    state: MutexGuard<'s, T>,
}

/// What tells the calling thread from others; 0 where nothing does.
#[cfg(feature = "std")]
fn thread() -> usize {
    std::thread_local! {
        static MARK: u8 = const { 0 };
    }
    MARK.with(|mark| core::ptr::from_ref(mark).addr())
}

#[cfg(not(feature = "std"))]
const fn thread() -> usize {
    0
}

impl<T> Steps<T> {
    pub(crate) const fn new(state: T) -> Self {
        Self {
            thread: AtomicUsize::new(0),
            state: Mutex::new(state),
        }
    }

    /// Begins a step, once no other thread is in one.
    pub(crate) fn enter(&self) -> Result<Step<'_, T>, InStep> {
        let thread = thread();
        if thread != 0 && self.thread.load(Ordering::Relaxed) == thread {
            return Err(InStep);
        }
        let state = self.state.lock();
        self.thread.store(thread, Ordering::Relaxed);
        Ok(Step {
            thread: &self.thread,
            state,
        })
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.state.get_mut()
    }

    pub(crate) fn into_inner(self) -> T {
        self.state.into_inner()
    }
}

impl<T> Deref for Step<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> DerefMut for Step<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

impl<T> Drop for Step<'_, T> {
    fn drop(&mut self) {
        // Before the lock is let go of, which the fields are after this.
        self.thread.store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn a_step_within_a_step_is_refused() {
        let (one, two) = (Steps::new(1), Steps::new(2));
        let step = one.enter().unwrap();
        assert_eq!(one.enter().err(), Some(InStep));
        assert_eq!(*two.enter().unwrap(), 2);
        drop(step);
        assert_eq!(*one.enter().unwrap(), 1);
    }

    #[test]
    fn a_step_of_another_thread_is_waited_for() {
        let (steps, barrier) = (Steps::new(0), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut step = steps.enter().unwrap();
                barrier.wait();
                thread::yield_now();
                *step += 1;
            });
            barrier.wait();
            assert_eq!(*steps.enter().unwrap(), 1);
        });
    }

    #[test]
    fn a_step_that_panics_has_ended() {
        let steps = Steps::new(0);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _step = steps.enter().unwrap();
            panic!("in a step");
        }));
        assert!(panicked.is_err());
        assert!(steps.enter().is_ok());
    }
}
