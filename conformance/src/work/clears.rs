//! One writer that fills the store and clears it, over and over.

use bytes::Bytes;
use futures_util::future::try_join_all;
use store_api::{AtomicWrite, Durability, EntryReadExt, Key};

use super::{Round, Said, Work, random_bytes, say_step, stops_with};
use crate::{
    context::{Instance, key},
    failure::{Failure, Outcome, ensure},
    roles::Cue,
};

/// Fills and clears in turns; a round begins and ends with the keys of whatever turn it was cut off in.
pub(crate) struct Clears;

const KEYS: usize = 12;

fn scope(round: Round) -> Key {
    key(format!("clears/{}", round.number))
}

/// What is there when the store was filled, at odd steps, before an even one clears it.
fn filling(round: Round, step: usize) -> Vec<(Key, Bytes)> {
    let entry = |number| {
        let mut random = round.random(number, step);
        let len = random.usize(..2_000);
        (key(format!("{}/{step}/{number}", scope(round))), random_bytes(&mut random, len))
    };
    (0..KEYS).map(entry).collect()
}

async fn take(entries: &dyn AtomicWrite, round: Round, step: usize) -> store_api::Result<()> {
    if step.is_multiple_of(2) {
        return entries.clear().await;
    }
    let sets = filling(round, step).into_iter().map(|(key, value)| async move { entries.set(&key, value).await });
    try_join_all(sets).await.map(drop)
}

impl Work for Clears {
    const ROLE: &'static str = "clears";
    const STEPS: usize = 30;

    async fn work(cue: Cue, round: Round) -> Outcome {
        let instance = cue.open().await?;
        let entries = instance.entries();
        // What the last round left behind.
        if let Err(error) = entries.clear().await {
            return stops_with(error);
        }
        say_step(0, 0);
        for step in 1.. {
            if let Err(error) = take(&*entries, round, step).await {
                return stops_with(error);
            }
            say_step(0, step);
        }
        Ok(())
    }

    async fn check(instance: &Instance, rounds: &[Said]) -> Outcome {
        let Some(said) = rounds.last() else { return Ok(()) };
        if said.lines.is_empty() {
            // Nothing tells what the last round had left, and how much of it was cleared.
            return Ok(());
        }
        let step = said.steps_of(0);
        // Filled, and about to be cleared; or cleared, and about to be filled: either way a part of one filling.
        let filling = filling(said.round, if step.is_multiple_of(2) { step + 1 } else { step });
        // A request of a killed process may reach a service when the next process has begun (A9).
        let service = instance.guarantees().durability == Durability::Service;
        let scope = if service { scope(said.round) } else { Key::root() };
        for (key, value) in instance.entries().entries_sorted(&scope).await? {
            let due = filling.iter().find(|(filled, _)| *filled == key).map(|(_, value)| value);
            let due = due.ok_or_else(|| {
                Failure::broken(format_args!("A10: {key} is there after a crash, though a `clear` was acknowledged"))
            })?;
            ensure!(value == due, "A10: {key} has a value after a crash that was never set");
        }
        Ok(())
    }
}
