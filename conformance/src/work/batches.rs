//! Adders of single values, and of batches that are committed or aborted.

use std::sync::Arc;

use bytes::Bytes;
use store_api::{Indexable, IndexedExt};

use super::{Round, Said, Work, each_in_a_task, random_bytes, say_step, stops_with};
use crate::{
    context::Instance,
    failure::{Outcome, ensure},
    roles::Cue,
};

/// Three adders beside each other.
pub(crate) struct Batches;

const ADDERS: usize = 3;

/// What an adder adds in a step, counted from one.
struct Step {
    values: Vec<Bytes>,
    way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Single,
    Committed,
    Aborted,
    Dropped,
}

impl Step {
    fn new(round: Round, adder: usize, step: usize) -> Self {
        let mut random = round.random(adder, step);
        let way = match random.u32(..10) {
            0..2 => Way::Single,
            2 => Way::Aborted,
            3 => Way::Dropped,
            _ => Way::Committed,
        };
        let count = if way == Way::Single { 1 } else { random.usize(1..40) };
        // A few are so large that an engine writes them in several goes.
        let longest = if random.u32(..8) == 0 { 32_000 } else { 1_000 };
        // Long enough to be the only one of its content.
        let mut value = || {
            let len = random.usize(32..longest);
            random_bytes(&mut random, len)
        };
        Self { values: (0..count).map(|_| value()).collect(), way }
    }

    async fn take(&self, content: &dyn Indexable) -> store_api::Result<()> {
        if self.way == Way::Single {
            for value in &self.values {
                content.add(value.clone()).await?;
            }
            return Ok(());
        }
        if self.way == Way::Committed {
            let values = self.values.clone();
            let add_all = |batch: Arc<dyn store_api::Batch>| async move {
                for value in values {
                    batch.add(value).await?;
                }
                Ok(())
            };
            return content.batch(add_all).await;
        }
        let batch = content.begin().await?;
        for value in &self.values {
            batch.add(value.clone()).await?;
        }
        if self.way == Way::Aborted { batch.abort().await } else { Ok(()) }
    }

    /// How many of its values are there.
    async fn found(&self, content: &dyn Indexable) -> Outcome<usize> {
        let mut found = 0;
        for value in &self.values {
            let hash = content.hash_function().hash(value);
            let Some(given) = content.find(&hash.into()).await? else { continue };
            ensure!(given == value, "I6: other bytes than were added, after a crash");
            found += 1;
        }
        Ok(found)
    }
}

impl Work for Batches {
    const ROLE: &'static str = "batches";
    const STEPS: usize = 60;

    async fn work(cue: Cue, round: Round) -> Outcome {
        let instance = cue.open().await?;
        each_in_a_task((0..ADDERS).map(|adder| add(instance.content(), round, adder))).await
    }

    async fn check(instance: &Instance, rounds: &[Said]) -> Outcome {
        let content = instance.content();
        for said in rounds {
            for adder in 0..ADDERS {
                check(&*content, said, adder).await?;
            }
        }
        Ok(())
    }
}

async fn add(content: Arc<dyn Indexable>, round: Round, adder: usize) -> Outcome {
    for step in 1.. {
        if let Err(error) = Step::new(round, adder, step).take(&*content).await {
            return stops_with(error);
        }
        say_step(adder, step);
    }
    Ok(())
}

async fn check(content: &dyn Indexable, said: &Said, adder: usize) -> Outcome {
    let acknowledged = said.steps_of(adder);
    // The step that was under way, and one that nobody began.
    for number in 1..=acknowledged + 2 {
        let step = Step::new(said.round, adder, number);
        let (mut found, all) = (step.found(content).await?, step.values.len());
        if (1..all).contains(&found) {
            // A request of the killed process may reach a service just then (A9); what was found is there to stay.
            found = step.found(content).await?;
        }
        let aborted = matches!(step.way, Way::Aborted | Way::Dropped);
        if aborted || number > acknowledged + 1 {
            let what = if aborted { "an aborted batch" } else { "a batch that was never begun" };
            ensure!(found == 0, "I7: {found} of the {all} values of {what} are there after a crash");
        } else if number <= acknowledged {
            ensure!(found == all, "A10: {found} of {all} values are there after a crash, though all were acknowledged");
        } else {
            ensure!(found == 0 || found == all, "I7: {found} of the {all} values of a batch are there after a crash");
        }
    }
    Ok(())
}
