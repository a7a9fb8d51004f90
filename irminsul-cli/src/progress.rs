//! How far a long command is: a line on the terminal, and nothing where standard error is not one.

use std::{fmt, ops::AddAssign, time::Duration};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde::Serialize;

/// A number of items, and their bytes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", HumanCount(self.count), HumanBytes(self.bytes))
    }
}

/// A running count of what has been done. How much there is in all is not known: stores are read as streams.
pub(crate) struct Progress {
    bar: ProgressBar,
    done: Tally,
}

impl Progress {
    /// Shows `doing`, such as `copying content`, with what [`add`](Self::add) counts.
    pub(crate) fn start(doing: &'static str) -> Self {
        let bar = ProgressBar::new_spinner().with_prefix(doing).with_message(Tally::default().to_string());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg}, {elapsed}") {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self { bar, done: Tally::default() }
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.done.add(bytes);
        if !self.bar.is_hidden() {
            self.bar.set_message(self.done.to_string());
        }
    }

    /// What was counted.
    pub(crate) fn done(&self) -> Tally {
        self.done
    }

    /// Runs `print` while the line is off the terminal.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
