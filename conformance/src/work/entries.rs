//! Writers that set, compare and remove entries of their own.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use store_api::{AtomicWrite, EntryReadExt, Key, TestAndSet};

use super::{Round, Said, Work, each_in_a_task, random_bytes, say_step, stops_with};
use crate::{
    context::{Instance, key},
    failure::{Failure, Outcome, ensure, ensure_eq},
    following::State,
    roles::Cue,
    show::shown,
};

/// Four writers beside each other, each on six keys of its own per round.
pub(crate) struct Entries;

pub(super) const WRITERS: usize = 4;
const KEYS: usize = 6;

/// The keys of a writer lie here.
fn scope(round: Round, writer: usize) -> Key {
    key(format!("entries/{}/{writer}", round.number))
}

/// What a writer writes in a step, counted from one.
struct Step {
    key: Key,
    set: Option<Bytes>,
    compares: bool,
}

impl Step {
    fn new(round: Round, writer: usize, step: usize) -> Self {
        let mut random = round.random(writer, step);
        let key = key(format!("{}/{}", scope(round, writer), random.usize(..KEYS)));
        // Most are short; some fill a few pages of an engine, and a few so many that they are written in parts.
        let len = match random.u32(..20) {
            0 => random.usize(..100_000),
            1..4 => random.usize(..8_000),
            _ => random.usize(..200),
        };
        let set = (random.u32(..5) > 0).then(|| random_bytes(&mut random, len));
        Self { key, set, compares: random.bool() }
    }

    fn apply(&self, state: &mut State) {
        match &self.set {
            Some(value) => drop(state.insert(self.key.clone(), value.clone())),
            None => drop(state.remove(&self.key)),
        }
    }

    async fn write(&self, entries: &dyn AtomicWrite, state: &State) -> store_api::Result<TestAndSet> {
        let (key, set) = (&self.key, self.set.clone());
        match set {
            set if self.compares => return entries.test_and_set(key, state.get(key).cloned(), set).await,
            Some(value) => entries.set(key, value).await?,
            None => entries.remove(key).await?,
        }
        Ok(TestAndSet::Applied)
    }
}

impl Work for Entries {
    const ROLE: &'static str = "entries";
    const STEPS: usize = 120;

    async fn work(cue: Cue, round: Round) -> Outcome {
        let instance = cue.open().await?;
        write_all(&instance, round, say_step).await
    }

    async fn check(instance: &Instance, rounds: &[Said]) -> Outcome {
        let entries = instance.entries();
        for said in rounds {
            for writer in 0..WRITERS {
                check(&*entries, said, writer).await?;
            }
        }
        Ok(())
    }
}

/// Writes without end, each writer as a task of its own, and tells `taken` each step that was acknowledged.
pub(super) async fn write_all(
    instance: &Instance,
    round: Round,
    taken: impl Fn(usize, usize) + Clone + Send + 'static,
) -> Outcome {
    let writers = (0..WRITERS).map(|writer| {
        let (entries, taken) = (instance.entries(), taken.clone());
        write(entries, round, writer, move |step| taken(writer, step))
    });
    each_in_a_task(writers).await
}

async fn write(entries: Arc<dyn AtomicWrite>, round: Round, writer: usize, taken: impl Fn(usize)) -> Outcome {
    let mut state = State::new();
    for number in 1.. {
        let step = Step::new(round, writer, number);
        match step.write(&*entries, &state).await {
            Ok(TestAndSet::Applied) => {}
            Ok(TestAndSet::Mismatch { .. }) => return Err(Failure::broken("A2: a mismatch on a key of one writer")),
            Err(error) => return stops_with(error),
        }
        step.apply(&mut state);
        taken(number);
    }
    Ok(())
}

/// Demands what a writer said, with or without the step after the last that it said.
async fn check(entries: &dyn AtomicWrite, said: &Said, writer: usize) -> Outcome {
    let acknowledged = said.steps_of(writer);
    let mut state = State::new();
    for number in 1..=acknowledged {
        Step::new(said.round, writer, number).apply(&mut state);
    }
    let next = Step::new(said.round, writer, acknowledged + 1);
    let found = found_in(entries, &scope(said.round, writer), &next.key).await?;
    for number in 0..KEYS {
        let key = key(format!("{}/{number}", scope(said.round, writer)));
        let (given, due) = (found.get(&key), state.get(&key));
        if given == due || (key == next.key && given == next.set.as_ref()) {
            continue;
        }
        return Err(Failure::broken(format_args!(
            "A10: {key} is {} after a crash, where {} was acknowledged{}",
            shown(&given),
            shown(&due),
            if key == next.key { format!(" and {} was under way", shown(&next.set)) } else { String::new() },
        )));
    }
    Ok(())
}

/// The entries in a scope. Each way of reading must agree on them, but for a key that a request of the killed process may
/// still reach at a service (A9).
async fn found_in(entries: &dyn AtomicWrite, scope: &Key, under_way: &Key) -> Outcome<State> {
    let found: State = entries.entries(scope).try_collect().await?;
    let settled = |key: &&Key| *key != under_way;
    let listed = entries.list_sorted(scope).await?;
    let (listed, due): (Vec<_>, Vec<_>) =
        (listed.iter().filter(settled).collect(), found.keys().filter(settled).collect());
    ensure_eq!(listed, due, "A7: the keys after a crash");
    for key in listed {
        ensure!(entries.find(key).await?.as_ref() == found.get(key), "A10: `find` and `entries` differ on {key}");
    }
    Ok(found)
}

/// Demands of each key what it was when its writer's last synced step was taken, or at one of the steps after.
pub(super) async fn check_synced(entries: &dyn AtomicWrite, said: &Said) -> Outcome {
    for writer in 0..WRITERS {
        let mut state = State::new();
        let synced = said.steps_of(writer);
        for number in 1..=synced {
            Step::new(said.round, writer, number).apply(&mut state);
        }
        let later: Vec<Step> = (synced + 1..=said.acknowledged_of(writer) + 1)
            .map(|number| Step::new(said.round, writer, number))
            .collect();
        let found: State = entries.entries(&scope(said.round, writer)).try_collect().await?;
        for number in 0..KEYS {
            let key = key(format!("{}/{number}", scope(said.round, writer)));
            let (given, due) = (found.get(&key), state.get(&key));
            let set_later = later.iter().any(|step| step.key == key && step.set.as_ref() == given);
            ensure!(
                given == due || set_later,
                "A10: {key} is {} after a power loss, where {} was acknowledged before a `sync`",
                shown(&given),
                shown(&due),
            );
        }
    }
    Ok(())
}
