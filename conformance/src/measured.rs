//! What a case tells its report besides the verdict: how often it cut its store off, how often what depends on luck met,
//! and by how much a process grew.

use std::{
    ops::AddAssign,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use crate::lock::lock;

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

/// How much more a process held at the end of a load than after its first turns; 0 where it held no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Growth {
    /// How often a handle was opened and given up, with a watch, a listing and a batch.
    pub turns: u64,
    /// Threads.
    pub threads: u64,
    /// Tasks of the runtime.
    pub tasks: u64,
    /// Open files.
    pub files: u64,
    /// Resident memory, in KiB.
    pub memory_kib: u64,
}

/// With what another process grew by: all turns, and the most of the rest.
impl AddAssign for Growth {
    fn add_assign(&mut self, other: Self) {
        self.turns += other.turns;
        self.threads = self.threads.max(other.threads);
        self.tasks = self.tasks.max(other.tasks);
        self.files = self.files.max(other.files);
        self.memory_kib = self.memory_kib.max(other.memory_kib);
    }
}

impl Growth {
    /// Of two processes, or of one where there is but one.
    pub(crate) fn of_both(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).reduce(|mut both, growth| {
            both += growth;
            both
        })
    }
}

/// Takes in what a running case measures; shared with its children and disks.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    kills: AtomicU64,
    power_losses: AtomicU64,
    met: Mutex<Option<usize>>,
    growth: Mutex<Option<Growth>>,
}

impl Measured {
    pub(crate) fn count_kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_power_loss(&self) {
        self.power_losses.fetch_add(1, Ordering::Relaxed);
    }

    /// Where more than one thing is to meet, what met least counts.
    pub(crate) fn count_met(&self, met: usize) {
        let mut least = lock(&self.met);
        *least = Some(least.map_or(met, |least| least.min(met)));
    }

    pub(crate) fn grew(&self, growth: Growth) {
        let mut all = lock(&self.growth);
        *all = Growth::of_both(*all, Some(growth));
    }

    pub(crate) fn crashes(&self) -> Crashes {
        Crashes { kills: self.kills.load(Ordering::Relaxed), power_losses: self.power_losses.load(Ordering::Relaxed) }
    }

    pub(crate) fn met(&self) -> Option<usize> {
        *lock(&self.met)
    }

    pub(crate) fn growth(&self) -> Option<Growth> {
        *lock(&self.growth)
    }
}
