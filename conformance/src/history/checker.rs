//! The verdict on a history: key by key, since a history is linearizable if and only if its part of each object is
//! (locality: Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects", theorem 1).

use std::time::Duration;

use store_api::Key;

use super::{
    History, Witness,
    interval::{Interval, by_key},
    register::States,
    search::{Budget, Timed, impossible_return},
    shrink::{has_impossible_part, shrink},
};

/// What a check may use. What it cannot settle within, it does not settle: it is never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How long it may take.
    pub time: Duration,
    /// How many bytes it may hold beside the history itself.
    pub memory: usize,
}

impl Limits {
    /// Another time.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Another number of bytes.
    #[must_use]
    pub fn memory(mut self, memory: usize) -> Self {
        self.memory = memory;
        self
    }
}

impl Default for Limits {
    /// Ten seconds, and 256 MiB.
    fn default() -> Self {
        Self { time: Duration::from_secs(10), memory: 256 << 20 }
    }
}

/// Which limit was in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Exhausted {
    /// The time.
    #[error("no verdict within {0:?}: allow more time, or check a shorter history")]
    Time(Duration),
    /// The memory.
    #[error("no verdict within {} MiB of memory: check a shorter history", .0 >> 20)]
    Memory(usize),
}

/// Whether a history can be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// There is an order of the operations that explains every outcome.
    Linearizable,
    /// There is none.
    NotLinearizable(Violation),
    /// A limit was reached before either was certain.
    Inconclusive(Exhausted),
}

/// The first return of a key's history that no order of its operations explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    key: Key,
    intervals: Vec<Interval>,
}

/// Whether there is an order of the operations, within their calls and returns, that explains every outcome.
///
/// A violation of any key is the verdict, also where another key's part is inconclusive.
pub fn check(history: &History, limits: Limits) -> Verdict {
    let budget = Budget::start(limits);
    let mut exhausted = None;
    for (key, intervals) in by_key(history) {
        match first_impossible(&intervals, &budget) {
            Ok(None) => {}
            Ok(Some(impossible)) => {
                return Verdict::NotLinearizable(Violation { key, intervals: until(&intervals, impossible) });
            }
            Err(limit) => exhausted = Some(limit),
        }
    }
    exhausted.map_or(Verdict::Linearizable, Verdict::Inconclusive)
}

impl Violation {
    /// The key whose history it is.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The smallest part of it that is impossible by itself: as small as it gets within the limits.
    #[must_use]
    pub fn witness(&self, limits: Limits) -> Witness {
        Witness::new(&self.key, &shrink(&self.intervals, limits), self.intervals.len())
    }
}

/// The index of the interval whose return no order explains.
fn first_impossible(intervals: &[Interval], budget: &Budget) -> Result<Option<usize>, Exhausted> {
    let (indices, operations) = timed(intervals);
    let is_refuted = |stuck: usize| has_impossible_part(&until(intervals, indices[stuck]), budget);
    Ok(impossible_return(&operations, budget, is_refuted)?.map(|impossible| indices[impossible]))
}

/// The intervals that say or do anything, by their indices.
pub(super) fn timed(intervals: &[Interval]) -> (Vec<usize>, Vec<Timed>) {
    let mut states = States::default();
    let timed = |(index, interval)| {
        let step = states.step(interval)?;
        Some((index, Timed { step, call: interval.call, deadline: interval.deadline() }))
    };
    intervals.iter().enumerate().filter_map(timed).unzip()
}

/// What had happened when an interval returned: what was called until then, its end unknown where that came later.
///
/// If there were an order of all, its part up to the last operation that had returned by then would be one of these: it
/// has no operation that was called later, since that comes after all that had returned before its call. What is known by
/// its later outcome to be a read is left out: as a compare that may yet succeed it could explain what it cannot.
fn until(intervals: &[Interval], last: usize) -> Vec<Interval> {
    let end = intervals[last].deadline();
    let mut had_happened: Vec<_> = intervals
        .iter()
        .filter(|interval| interval.call < end && !(interval.is_read() && interval.deadline() > end))
        .cloned()
        .collect();
    for interval in &mut had_happened {
        interval.end.take_if(|(at, _)| *at > end);
    }
    had_happened
}
