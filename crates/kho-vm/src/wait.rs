//! Waiting: something to look at, and an end to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C and SIGTERM are noted, so that what runs is ended and what was begun removed.
pub(crate) fn stop_on_interrupt() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // Asked twice: at once.
            std::process::exit(130);
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("vm: interrupts are not handled: {error}");
    }
}

/// An error where the user said stop.
pub(crate) fn check_interrupt() -> Result<(), Failure> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    Ok(())
}

/// How often what is waited for is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Nothing is shown of what takes no longer than this.
const QUIET: Duration = Duration::from_millis(700);

/// A moving sign on standard error, where that is a terminal, of what is waited for and how long already.
pub(crate) struct Spinner {
    what: String,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Spinner {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            since: Instant::now(),
            bar: None,
        }
    }

    /// Says what it is that is waited for now.
    pub(crate) fn say(&mut self, what: impl Into<String>) {
        self.what = what.into();
        if let Some(bar) = &self.bar {
            bar.set_message(self.what.clone());
        }
    }

    /// Moves it. Called from time to time.
    pub(crate) fn tick(&mut self) -> Result<(), Failure> {
        if self.bar.is_none() && self.since.elapsed() > QUIET {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            self.bar = Some(bar.with_elapsed(self.since.elapsed()));
            self.say(self.what.clone());
        }
        if let Some(bar) = &self.bar {
            bar.tick();
        }
        check_interrupt()
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
