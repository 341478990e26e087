//! Progress bars, and Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use kho_preflight::Step;

use crate::human::size;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Those who wait for it.
static WAITING: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

/// From now on Ctrl-C and SIGTERM are noted, so that what was begun is cleaned up.
pub(crate) fn stop_on_interrupt() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // Asked twice: at once.
            std::process::exit(130);
        }
        // Under the lock, so that nobody begins to wait between a look at the flag and this.
        let _lock = WAITING.0.lock();
        WAITING.1.notify_all();
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!(%error, "interrupts are not handled");
    }
}

/// Waits until the user says stop, which may have been before.
pub(crate) fn wait_for_interrupt() {
    let (lock, signalled) = &WAITING;
    let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    while !interrupted() {
        guard = signalled
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// Whether the user said stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Shows the steps of a survey that take long, one bar each.
pub(crate) fn survey() -> impl FnMut(kho_survey::SurveyStep, u64, Option<u64>) -> bool {
    let mut show = preflight();
    move |step, done, total| show(Step::Survey(step), done, total)
}

/// Shows the steps of a preflight that take long, one bar each.
pub(crate) fn preflight() -> impl FnMut(Step, u64, Option<u64>) -> bool {
    let mut bar: Option<(Step, Bar)> = None;
    move |step, done, total| {
        let label = match step {
            Step::Unpack => "unpacking",
            Step::Modules => "modules",
            Step::Survey(kho_survey::SurveyStep::Scan) => "scanning",
            Step::Survey(kho_survey::SurveyStep::Hash) => "hashing",
            Step::Survey(kho_survey::SurveyStep::Contents) => "looking at contents",
            _ => {
                bar = None;
                return !interrupted();
            }
        };
        if bar.as_ref().is_none_or(|(shown, _)| *shown != step) {
            bar = Some((step, Bar::new(label)));
        }
        match (&mut bar, step) {
            (Some((_, bar)), Step::Modules) => bar.count(done, total.unwrap_or(done)),
            (Some((_, bar)), _) => bar.at(done, total),
            (None, _) => true,
        }
    }
}

/// Nothing is shown of what takes no longer than this.
const QUIET: Duration = Duration::from_millis(400);
/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// A bar on standard error, where that is a terminal, for work that takes longer than a moment.
pub(crate) struct Bar {
    label: &'static str,
    since: Instant,
    next: Duration,
    bar: Option<ProgressBar>,
}

impl Bar {
    pub(crate) fn new(label: &'static str) -> Self {
        Self {
            label,
            since: Instant::now(),
            next: QUIET,
            bar: None,
        }
    }

    /// Shows that `done` of `total` bytes are done. Returns whether to go on.
    pub(crate) fn at(&mut self, done: u64, total: Option<u64>) -> bool {
        let template = "{prefix:>9} [{bar:24}] {binary_bytes}/{binary_total_bytes}  {msg}";
        if let Some((bar, elapsed)) = self.moved(done, total, template) {
            // From the start on, not from when the bar appeared.
            let rate = u128::from(done) * 1000 / elapsed.as_millis().max(1);
            bar.set_message(format!(
                "{}/s",
                size(u64::try_from(rate).unwrap_or(u64::MAX))
            ));
        }
        !interrupted()
    }

    /// Shows that `done` of `total` files are done. Returns whether to go on.
    pub(crate) fn count(&mut self, done: u64, total: u64) -> bool {
        let template = "{prefix:>9} [{bar:24}] {human_pos}/{human_len} files";
        self.moved(done, Some(total), template);
        !interrupted()
    }

    /// Shows that `done` of `total` pairs are done. Returns whether to go on.
    pub(crate) fn pairs(&mut self, done: u64, total: u64) -> bool {
        let template = "{prefix:>9} [{bar:24}] {human_pos}/{human_len} pairs";
        self.moved(done, Some(total), template);
        !interrupted()
    }

    /// The bar, made where it is time for one and moved to `done`, and how long all took; `None` where
    /// it need not move yet.
    fn moved(
        &mut self,
        done: u64,
        total: Option<u64>,
        template: &str,
    ) -> Option<(&ProgressBar, Duration)> {
        let elapsed = self.since.elapsed();
        if elapsed <= self.next {
            return None;
        }
        self.next = elapsed + TICK;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(self.label);
            bar
        });
        bar.set_position(done);
        Some((bar, elapsed))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
