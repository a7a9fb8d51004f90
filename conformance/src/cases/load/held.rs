//! What a process holds, and whether that grows.

use std::fs;

use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, time::sleep};

use super::TURNS;
use crate::{
    Growth,
    child::say,
    failure::{Failure, Outcome},
    memory::resident_kib,
    patience::TICK,
};

/// How many windows are measured before those that have to be like the first: what is reserved once is there by then.
const WARM_UP: usize = 2;

/// How many at each end are compared: the best of the last with the worst of the first.
const COMPARED: usize = 2;

/// In how many rows of windows something has to grow, one behind the other: what an engine fills by and by, such as a
/// pool, is full at some time.
const ROWS: usize = 5;

/// By how much the memory may have grown: allocators and engines keep what they may need again.
const MEMORY_KIB: u64 = 16 * 1024;

/// And by how much with each turn.
const TURN_BYTES: u64 = 256;

/// For so many ticks what a process holds may be more than before: threads and tasks that are to end take a moment.
const SETTLES: usize = 20;

/// What a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    threads: u64,
    tasks: u64,
    files: u64,
    memory_kib: u64,
}

impl Held {
    /// By this process.
    fn of_own() -> Outcome<Self> {
        Ok(Self {
            threads: entries_in("/proc/self/task")?,
            tasks: Handle::current().metrics().num_alive_tasks() as u64,
            files: entries_in("/proc/self/fd")?,
            memory_kib: resident_kib()?,
        })
    }

    /// What is counted one by one.
    fn counts(self) -> [u64; 3] {
        [self.threads, self.tasks, self.files]
    }
}

fn entries_in(directory: &str) -> Outcome<u64> {
    Ok(fs::read_dir(directory).map_err(Failure::harness)?.count() as u64)
}

/// Looks at rows of windows.
pub(super) struct Judge {
    /// In a row.
    windows: usize,
    growth: Option<Growth>,
}

impl Judge {
    pub(super) fn new(windows: usize) -> Self {
        Self { windows: 2 * COMPARED + windows, growth: None }
    }

    /// How much the process grew, in all that was looked at.
    pub(super) fn growth(&self) -> Option<Growth> {
        self.growth
    }

    /// Measures rows of windows until one shows no growth: only what grew in every row is a leak.
    pub(super) fn ensure_flat(&mut self, when: &str, mut next: impl FnMut() -> Outcome<Held>) -> Outcome {
        (0..WARM_UP).try_for_each(|_| next().map(drop))?;
        let mut suspects: Vec<Compared> = Vec::new();
        let mut growth = Growth::default();
        for row in 0..ROWS {
            let held = (0..self.windows).map(|_| next()).collect::<Outcome<Vec<Held>>>()?;
            let compared = compared(&held);
            let [threads, tasks, files, memory_kib] = compared.map(Compared::growth);
            let turns = growth.turns + self.windows as u64 * TURNS;
            growth = Growth { turns, threads, tasks, files, memory_kib };
            let grows_again = |grown: &Compared| row == 0 || suspects.iter().any(|suspect| suspect.what == grown.what);
            suspects = compared.into_iter().filter(|compared| compared.is_growth() && grows_again(compared)).collect();
            if suspects.is_empty() {
                break;
            }
        }
        self.growth = Growth::of_both(self.growth, Some(growth));
        if suspects.is_empty() {
            return Ok(());
        }
        let grown: Vec<String> = suspects
            .iter()
            .map(|Compared { what, first, last, .. }| format!("{last} {what}, and had {first}"))
            .collect();
        Err(Failure::broken(format_args!(
            "L2: a process whose handles and watches came and went has, {when}, {}, {} turns before",
            grown.join("; "),
            (self.windows - COMPARED) as u64 * TURNS
        )))
    }
}

/// The first and the last windows of a row.
#[derive(Clone, Copy, Debug)]
struct Compared {
    what: &'static str,
    first: u64,
    last: u64,
    allowed: u64,
}

impl Compared {
    fn growth(self) -> u64 {
        self.last.saturating_sub(self.first)
    }

    fn is_growth(self) -> bool {
        self.growth() > self.allowed
    }
}

/// Growth shows in each of the last windows, and a moment's more in some.
fn compared(held: &[Held]) -> [Compared; 4] {
    type Of = fn(&Held) -> u64;

    let memory_kib = MEMORY_KIB + held.len() as u64 * TURNS * TURN_BYTES / 1024;
    let all: [(&str, Of, u64); 4] = [
        ("threads", |held| held.threads, 0),
        ("tasks", |held| held.tasks, 0),
        ("open files", |held| held.files, 0),
        ("KiB of memory", |held| held.memory_kib, memory_kib),
    ];
    all.map(|(what, of, allowed)| Compared {
        what,
        first: held.iter().take(COMPARED).map(of).max().unwrap_or(0),
        last: held.iter().rev().take(COMPARED).map(of).min().unwrap_or(0),
        allowed,
    })
}

/// The least that was counted so far.
#[derive(Default)]
pub(super) struct Least(Option<[u64; 3]>);

impl Least {
    /// Says what this process holds, once that is no more than ever before; where it stays more, that.
    pub(super) async fn say(&mut self) -> Outcome {
        let mut held = Held::of_own()?;
        for _ in 0..SETTLES {
            let before = held.counts();
            sleep(TICK).await;
            held = Held::of_own()?;
            let counts = held.counts();
            let is_least = self.0.is_none_or(|least| counts.iter().zip(least).all(|(count, least)| *count <= least));
            if is_least && counts == before {
                break;
            }
        }
        let counts = held.counts();
        let least = self.0.unwrap_or(counts);
        self.0 = Some(std::array::from_fn(|of| least[of].min(counts[of])));
        say(serde_json::to_string(&held).map_err(Failure::harness)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    const WINDOWS: usize = 6;

    fn with_files(files: u64) -> Held {
        Held { threads: 5, tasks: 0, files, memory_kib: 30_000 }
    }

    /// Of a process with so many open files behind each window.
    fn judged(files: impl IntoIterator<Item = u64>) -> (Outcome, Growth) {
        let mut files = files.into_iter();
        let mut judge = Judge { windows: WINDOWS, growth: None };
        let judged = judge.ensure_flat("then", || Ok(with_files(files.next().expect("another window"))));
        (judged, judge.growth.expect("a row was looked at"))
    }

    #[test]
    fn what_is_more_in_some_windows_is_no_growth() {
        for files in [[9, 9, 9, 9, 9, 9], [9, 12, 9, 9, 11, 12], [9, 9, 30, 30, 30, 9]] {
            judged([0; WARM_UP].into_iter().chain(files)).0.expect("it is flat");
        }
    }

    #[test]
    fn what_is_filled_once_is_no_growth_whenever_that_is() {
        for row in 1..ROWS {
            let grows = WARM_UP + row * WINDOWS - COMPARED;
            let files = (0..).map(|window| window.min(grows as u64));
            judged(files).0.expect("it is full");
        }
    }

    #[test]
    fn what_grows_on_is_told_and_measured() {
        let (judged, growth) = judged(10..);
        let judged = judged.expect_err("it grows");
        let message = judged.to_string();
        assert_eq!(judged.kind(), Kind::Broken);
        assert!(message.contains("40 open files, and had 37, 4400 turns before"), "{message}");
        assert_eq!((growth.files, growth.threads, growth.turns), (3, 0, (ROWS * WINDOWS) as u64 * TURNS));
    }

    #[test]
    fn memory_may_grow_with_the_turns_and_no_more() {
        let allowed = MEMORY_KIB + WINDOWS as u64 * TURNS * TURN_BYTES / 1024;
        let grown = |by: u64| {
            let mut held = [with_files(9); WINDOWS];
            held.iter_mut().rev().take(COMPARED).for_each(|held| held.memory_kib += by);
            compared(&held).into_iter().any(Compared::is_growth)
        };
        assert!(!grown(allowed) && grown(allowed + 1));
    }
}
