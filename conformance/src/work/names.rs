//! Writers that add content and then move a name to it.

use std::sync::Arc;

use bytes::Bytes;
use store_api::{AtomicWrite, ContentKey, Indexable, IndexedExt, Key, Result};

use super::{Round, STOPPED, Said, Work, each_in_a_task, random_bytes, say_step, stops_with};
use crate::{
    child::say,
    context::{Instance, key},
    failure::{Failure, Outcome, ensure},
    roles::Cue,
};

/// Two writers beside each other, with a name each per round.
pub(crate) struct Names;

const WRITERS: usize = 2;

fn name(round: Round, writer: usize) -> Key {
    key(format!("names/{}/{writer}", round.number))
}

/// The content that a writer's name leads to after a step, counted from one.
fn content_of(round: Round, writer: usize, step: usize) -> Bytes {
    let mut random = round.random(writer, step);
    let len = random.usize(32..4_000);
    random_bytes(&mut random, len)
}

async fn take(entries: &dyn AtomicWrite, content: &dyn Indexable, name: &Key, value: Bytes, batch: bool) -> Result<()> {
    let named = if batch {
        content.batch(|batch| async move { batch.add(value).await }).await?
    } else {
        content.add(value).await?
    };
    entries.set(name, named.to_string().into()).await
}

impl Work for Names {
    const ROLE: &'static str = "names";
    const STEPS: usize = 60;

    async fn work(cue: Cue, round: Round) -> Outcome {
        let instance = cue.open().await?;
        let writers = (0..WRITERS).map(|writer| write(instance.entries(), instance.content(), round, writer));
        each_in_a_task(writers).await?;
        say(STOPPED);
        Ok(())
    }

    async fn check(instance: &Instance, rounds: &[Said]) -> Outcome {
        let (entries, content) = (instance.entries(), instance.content());
        for said in rounds {
            for writer in 0..WRITERS {
                check(&*entries, &*content, said, writer).await?;
            }
        }
        Ok(())
    }
}

async fn write(entries: Arc<dyn AtomicWrite>, content: Arc<dyn Indexable>, round: Round, writer: usize) -> Outcome {
    let name = name(round, writer);
    for step in 1.. {
        let value = content_of(round, writer, step);
        if let Err(error) = take(&*entries, &*content, &name, value, step.is_multiple_of(2)).await {
            return stops_with(error);
        }
        say_step(writer, step);
    }
    Ok(())
}

async fn check(entries: &dyn AtomicWrite, content: &dyn Indexable, said: &Said, writer: usize) -> Outcome {
    let acknowledged = said.steps_of(writer);
    let name = name(said.round, writer);
    let Some(named) = entries.find(&name).await? else {
        ensure!(acknowledged == 0, "A10: {name} is not there after a crash, though it was acknowledged");
        return Ok(());
    };
    let named: Option<ContentKey> = std::str::from_utf8(&named).ok().and_then(|text| text.parse().ok());
    let named = named.ok_or_else(|| Failure::broken(format_args!("A10: {name} has a value that was never set")))?;
    let found = content.find(&named).await?;
    let found = found.ok_or_else(|| Failure::broken(format_args!("X1: {name} leads to no content after a crash")))?;
    let due = [acknowledged, acknowledged + 1].map(|step| content_of(said.round, writer, step.max(1)));
    ensure!(due.contains(&found), "A10: {name} leads to other content than was acknowledged last");
    ensure!(content.index(&named.to_hash()).await?.is_some(), "X1: `index` does not know the content behind {name}");
    Ok(())
}
