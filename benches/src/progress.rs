//! How far a run is: a line on a terminal, and nothing where standard error is not one.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// The progress of a run of so many steps.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows a line until it is dropped.
    #[must_use]
    pub fn start(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent}% {elapsed}, {eta} left: {msg}") {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self(bar)
    }

    /// No line at all.
    #[must_use]
    pub fn none() -> Self {
        Self(ProgressBar::hidden())
    }

    /// What is done at the moment.
    pub fn doing(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// So many steps are behind the run, those included that a failure left out.
    pub fn reached(&self, steps: u64) {
        self.0.set_position(steps);
    }

    /// A step is done.
    pub fn done(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
