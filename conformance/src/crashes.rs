//! How often a case cut its store off, so that a report says how much was tried.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::Serialize;

/// How often stores were cut off in the middle of what they did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Crashes {
    /// How many processes were killed (SIGKILL) at a random moment of their work.
    pub kills: u64,
    /// How many times a disk lost its power.
    pub power_losses: u64,
}

impl AddAssign for Crashes {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.power_losses += other.power_losses;
    }
}

/// The crashes of a case that is running.
#[derive(Debug, Default)]
pub(crate) struct CrashCounter {
    kills: AtomicU64,
    power_losses: AtomicU64,
}

impl CrashCounter {
    pub(crate) fn count_kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_power_loss(&self) {
        self.power_losses.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn crashes(&self) -> Crashes {
        Crashes { kills: self.kills.load(Ordering::Relaxed), power_losses: self.power_losses.load(Ordering::Relaxed) }
    }
}
