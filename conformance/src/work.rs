//! Work that a child does until it is cut off, and what must be there afterwards. What the child writes follows from its
//! seed, so that whoever looks afterwards knows every byte that may be there.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, future::try_join_all};
use store_api::Error;

use crate::{child::say, context::Instance, failure::Outcome, roles::Cue};

mod batches;
mod clears;
mod entries;
mod names;
mod reopenings;
mod synced;

pub(crate) use {
    batches::Batches, clears::Clears, entries::Entries, names::Names, reopenings::Reopenings, synced::Synced,
};

/// A step of a child takes about this long on a quick engine: the kill comes anywhere within it, or within what its steps
/// took.
pub(crate) const STEP: Duration = Duration::from_millis(1);

/// A kind of work. It is done in rounds, one child each, on one store; a round leaves alone what the others wrote,
/// unless it says otherwise.
pub(crate) trait Work {
    /// The name of the child's role.
    const ROLE: &'static str;

    /// How many steps a child takes at most before it is cut off.
    const STEPS: usize;

    /// Opens the store and works without end, and says each step that was acknowledged.
    fn work(cue: Cue, round: Round) -> impl Future<Output = Outcome> + Send;

    /// Demands that everything which children said is there, that a step which was under way is there whole or not at
    /// all, and that nothing else is.
    fn check(instance: &Instance, rounds: &[Said]) -> impl Future<Output = Outcome> + Send;
}

/// Which round it is, and what its random choices derive from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) number: usize,
    pub(crate) seed: u64,
}

/// A round, and the lines that its child said before it was cut off.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) round: Round,
    pub(crate) lines: Vec<String>,
}

/// The role of a work; the case's argument is the number of the round.
pub(crate) async fn play<W: Work>(cue: Cue) -> Outcome {
    let round = Round { number: cue.number()?, seed: cue.seed };
    W::work(cue, round).await
}

impl Round {
    /// The random choices of a step of one of its workers.
    pub(crate) fn random(self, worker: usize, step: usize) -> fastrand::Rng {
        let place = [self.number, worker, step];
        // Seeds that differ in one bit would begin alike: the generator mixes each part before the next is added.
        let seed = place.into_iter().fold(self.seed, |seed, part| fastrand::Rng::with_seed(seed ^ part as u64).u64(..));
        fastrand::Rng::with_seed(seed)
    }
}

impl Said {
    /// How many steps a worker said that it had taken.
    fn steps_of(&self, worker: usize) -> usize {
        self.last_of("", worker)
    }

    /// The last step that a worker said was acknowledged; only work that waits for a `sync` says that apart.
    fn acknowledged_of(&self, worker: usize) -> usize {
        self.last_of(ACKNOWLEDGED, worker)
    }

    /// Whether a worker said that it had taken a step. That one was acknowledged only, before a sync, is none: the store
    /// may lose it.
    pub(crate) fn has_steps(&self) -> bool {
        let is_number = |word: &str| word.parse::<usize>().is_ok();
        let mut words = self.lines.iter().filter_map(|line| line.split_once(' '));
        words.any(|(worker, step)| is_number(worker) && is_number(step))
    }

    fn last_of(&self, prefix: &str, worker: usize) -> usize {
        let steps = self.lines.iter().filter_map(|line| {
            let (sayer, step) = line.strip_prefix(prefix)?.split_once(' ')?;
            (sayer.parse() == Ok(worker)).then(|| step.parse::<usize>().ok())?
        });
        steps.max().unwrap_or(0)
    }
}

/// A child's last line when all its workers stopped, since the store was unavailable to each.
pub(crate) const STOPPED: &str = "stopped";

/// Begins a line about a write that was acknowledged and not yet synced.
const ACKNOWLEDGED: &str = "acknowledged ";

/// Says that a worker took a step.
fn say_step(worker: usize, step: usize) {
    say(format_args!("{worker} {step}"));
}

/// So many random bytes.
pub(crate) fn random_bytes(random: &mut fastrand::Rng, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes.into()
}

/// Runs workers as tasks of their own, so that one that never has to wait leaves the others their turn.
async fn each_in_a_task(workers: impl Iterator<Item = impl Future<Output = Outcome> + Send + 'static>) -> Outcome {
    try_join_all(workers.map(|worker| tokio::spawn(worker).map(|ended| ended?))).await.map(drop)
}

/// Whether a worker may stop with an error: what passes by itself (A6) is no reason to accuse a store, and the other
/// workers go on. Its step is then one that was not acknowledged.
fn stops_with(error: Error) -> Outcome {
    if error.is_retryable() { Ok(()) } else { Err(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_before_a_sync_is_no_step() {
        let said = |lines: &[&str]| Said {
            round: Round { number: 0, seed: 1 },
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert!(said(&["acknowledged 0 3", "0 1"]).has_steps());
        assert!(!said(&["acknowledged 0 3", STOPPED]).has_steps());
    }
}
