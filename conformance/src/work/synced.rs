//! Writers whose work counts as done when a `sync` that began after it has returned: what the relaxed modes promise.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::try_join;
use store_api::Indexable;

use super::{ACKNOWLEDGED, Round, Said, Work, entries, random_bytes, say_step, stops_with};
use crate::{
    child::say,
    context::Instance,
    failure::{Outcome, ensure},
};

/// Four writers of entries and one adder of content, where there is any, beside one who syncs.
pub(crate) struct Synced;

/// The number of the adder: the writers have those before.
const ADDER: usize = entries::WRITERS;

impl Work for Synced {
    const ROLE: &'static str = "synced";
    const STEPS: usize = 60;

    async fn work(instance: Instance, round: Round) -> Outcome {
        let steps: Arc<[AtomicUsize; ADDER + 1]> = Arc::default();
        let taken = |worker: usize, step: usize| {
            steps[worker].store(step, Ordering::Release);
            // What was acknowledged is a bound of what may be there.
            say(format_args!("{ACKNOWLEDGED}{worker} {step}"));
        };
        let writing = entries::write_all(&instance, round, &taken);
        let adding = async {
            match instance.indexable() {
                Some(content) => add(&*content, round, &taken).await,
                None => Ok(()),
            }
        };
        let syncing = async {
            loop {
                let before: Vec<usize> = steps.iter().map(|step| step.load(Ordering::Acquire)).collect();
                if let Err(error) = instance.sync().await {
                    return stops_with(error);
                }
                before.into_iter().enumerate().for_each(|(worker, step)| say_step(worker, step));
            }
        };
        try_join(try_join(writing, adding), syncing).await.map(drop)
    }

    async fn check(instance: &Instance, rounds: &[Said]) -> Outcome {
        for said in rounds {
            entries::check_synced(&*instance.entries(), said).await?;
            let Some(content) = instance.indexable() else { continue };
            for step in 1..=said.steps_of(ADDER) {
                let value = value_of(said.round, step);
                let found = content.find(&content.hash_function().hash(&value).into()).await?;
                ensure!(found.is_some(), "A10: content that was added before a `sync` is not there after a power loss");
                ensure!(found == Some(value), "I6: other bytes than were added, after a power loss");
            }
        }
        Ok(())
    }
}

fn value_of(round: Round, step: usize) -> bytes::Bytes {
    let mut random = round.random(ADDER, step);
    let len = random.usize(32..3_000);
    random_bytes(&mut random, len)
}

async fn add(content: &dyn Indexable, round: Round, taken: &(impl Fn(usize, usize) + Sync)) -> Outcome {
    for step in 1.. {
        if let Err(error) = content.add(value_of(round, step)).await {
            return stops_with(error);
        }
        taken(ADDER, step);
    }
    Ok(())
}
