//! A mutex with and without the standard library.

#[allow(missing_docs)]
#[cfg(feature = "std")]
pub struct Mutex<T>(std::sync::Mutex<T>);

#[allow(missing_docs)]
#[cfg(feature = "std")]
impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// A thread that panicked while it held the lock is no reason to stop: what these mutexes
    /// guard is changed by code that does not panic.
    pub fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn into_inner(self) -> T {
        self.0
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(not(feature = "std"))]
pub use spin::Mutex;
