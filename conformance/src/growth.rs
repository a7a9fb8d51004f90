//! By how much a process grew that was loaded, so that a report says it.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// By how much a process grew whose store was loaded, in the last of its turns: nothing, where it held no more in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Growth {
    /// How often a handle came and went, and with it a watch, a listing and a batch.
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

/// Of two processes, or of one where there is but one.
pub(crate) fn sum(one: Option<Growth>, other: Option<Growth>) -> Option<Growth> {
    one.into_iter().chain(other).reduce(|mut sum, growth| {
        sum += growth;
        sum
    })
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
