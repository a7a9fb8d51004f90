//! Writers whose work counts as done when a `sync` that began after it has returned: what the relaxed modes promise.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{FutureExt, future::try_join3};
use store_api::{Backend, Indexable};
use tokio::task::yield_now;

use super::{ACKNOWLEDGED, Round, Said, Work, entries, random_bytes, say_step, stops_with};
use crate::{
    child::say,
    context::Instance,
    failure::{Outcome, ensure},
    roles::Cue,
};

/// Four writers of entries and one adder of content, where there is any, beside one who syncs.
pub(crate) struct Synced;

/// The number of the adder: the writers have those before.
const ADDER: usize = entries::WRITERS;

impl Work for Synced {
    const ROLE: &'static str = "synced";
    const STEPS: usize = 60;

    async fn work(cue: Cue, round: Round) -> Outcome {
        let instance = cue.open().await?;
        let steps: Arc<[AtomicUsize; ADDER + 1]> = Arc::default();
        let shared = Arc::clone(&steps);
        let taken = move |worker: usize, step: usize| {
            shared[worker].store(step, Ordering::Release);
            // What was acknowledged is a bound of what may be there.
            say(format_args!("{ACKNOWLEDGED}{worker} {step}"));
        };
        let adding = instance.indexable().map(|content| tokio::spawn(add(content, round, taken.clone())));
        let adding = async {
            match adding {
                Some(adding) => adding.await?,
                None => Ok(()),
            }
        };
        let writing = entries::write_all(&instance, round, taken);
        try_join3(writing, adding, tokio::spawn(sync(instance.backend(), steps)).map(|ended| ended?)).await.map(drop)
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

async fn add(content: Arc<dyn Indexable>, round: Round, taken: impl Fn(usize, usize)) -> Outcome {
    for step in 1.. {
        if let Err(error) = content.add(value_of(round, step)).await {
            return stops_with(error);
        }
        taken(ADDER, step);
    }
    Ok(())
}

/// Syncs over and over, and says what had been acknowledged before each.
async fn sync(backend: Arc<dyn Backend>, steps: Arc<[AtomicUsize; ADDER + 1]>) -> Outcome {
    let mut said = [0; ADDER + 1];
    loop {
        let before: [usize; ADDER + 1] = std::array::from_fn(|worker| steps[worker].load(Ordering::Acquire));
        if let Err(error) = backend.sync().await {
            return stops_with(error);
        }
        for worker in (0..before.len()).filter(|&worker| before[worker] > said[worker]) {
            say_step(worker, before[worker]);
        }
        said = before;
        // A store may have nothing to wait for.
        yield_now().await;
    }
}
