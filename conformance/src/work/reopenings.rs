//! One writer that overwrites long values, closes the store, and opens it again, over and over: an engine tidies up then,
//! and is cut off in the middle of a checkpoint, a flush or a compaction.

use bytes::Bytes;
use futures_util::future::try_join_all;
use store_api::Key;

use super::{Round, Said, Work, random_bytes, say_step, stops_with};
use crate::{
    child::say,
    context::{Instance, key},
    failure::{Outcome, ensure},
    roles::Cue,
    show::shown,
};

/// Six keys, all of which are set in each step; behind it the store is closed.
pub(crate) struct Reopenings;

const KEYS: usize = 6;

fn key_of(round: Round, number: usize) -> Key {
    key(format!("reopenings/{}/{number}", round.number))
}

/// What a key is after a step, counted from one.
fn value_of(round: Round, number: usize, step: usize) -> Option<Bytes> {
    let mut random = round.random(number, step);
    let len = random.usize(5_000..60_000);
    (step > 0).then(|| random_bytes(&mut random, len))
}

async fn take(instance: &Instance, round: Round, step: usize) -> store_api::Result<()> {
    let entries = instance.entries();
    let sets = (0..KEYS).map(|number| {
        let (entries, value) = (&entries, value_of(round, number, step).unwrap_or_default());
        async move { entries.set(&key_of(round, number), value).await }
    });
    try_join_all(sets).await.map(drop)
}

impl Work for Reopenings {
    const ROLE: &'static str = "reopenings";
    const STEPS: usize = 16;

    async fn work(cue: Cue, round: Round) -> Outcome {
        for step in 1.. {
            let instance = cue.open().await?;
            if let Err(error) = take(&instance, round, step).await {
                return stops_with(error);
            }
            say_step(0, step);
            // The kill is to come behind this line, too.
            say("closing");
            instance.close().await?;
        }
        Ok(())
    }

    async fn check(instance: &Instance, rounds: &[Said]) -> Outcome {
        let entries = instance.entries();
        for said in rounds {
            let step = said.steps_of(0);
            for number in 0..KEYS {
                let key = key_of(said.round, number);
                let found = entries.find(&key).await?;
                let due = [step, step + 1].map(|step| value_of(said.round, number, step));
                ensure!(
                    due.contains(&found),
                    "A10: {key} is {} after a crash, where {} was acknowledged and {} was under way",
                    shown(&found),
                    shown(&due[0]),
                    shown(&due[1]),
                );
            }
        }
        Ok(())
    }
}
