//! Progress bars, and Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C and SIGTERM are noted, so that what was begun is cleaned up.
pub(crate) fn stop_on_interrupt() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // Asked twice: at once.
            std::process::exit(130);
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!(%error, "interrupts are not handled");
    }
}

/// Whether the user said stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// A bar on standard error, where that is a terminal, for work that takes longer than a moment.
pub(crate) struct Bar {
    bar: ProgressBar,
    since: Instant,
    label: &'static str,
    shown: bool,
}

impl Bar {
    pub(crate) fn new(label: &'static str) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            since: Instant::now(),
            label,
            shown: false,
        }
    }

    /// Shows that `done` of `total` bytes are done. Returns whether to go on.
    pub(crate) fn at(&mut self, done: u64, total: Option<u64>) -> bool {
        if !self.shown && self.since.elapsed() > Duration::from_millis(400) {
            self.shown = true;
            self.bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
            let template = "{prefix:>10} [{bar:32}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style.progress_chars("=> "));
            }
            self.bar.set_prefix(self.label);
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
        !interrupted()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
