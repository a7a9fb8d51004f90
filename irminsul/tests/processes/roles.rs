//! What the children do: they write or watch one store, and say on standard output what they know.

use std::{
    env,
    io::{Write, stdin, stdout},
    process::ExitCode,
    sync::Arc,
};

use futures_util::future::try_join_all;
use irminsul::{Backend, Bytes, Diff, Event, Init, Key, Result, TestAndSet, prelude::*};

/// The variable that names the role.
pub(crate) const ROLE: &str = "IRMINSUL_TEST_ROLE";

/// The variable with the address of the store.
pub(crate) const ADDRESS: &str = "IRMINSUL_TEST_ADDRESS";

/// How often `increment` does.
pub(crate) const INCREMENTS: u64 = 50;

/// How many tasks write at once in `acknowledge`.
pub(crate) const WRITERS: usize = 8;

/// How many values a batch of `batches` has.
pub(crate) const BATCH: u64 = 40;

/// The role that this process was started for.
pub(crate) fn assigned() -> Option<String> {
    env::var(ROLE).ok()
}

/// Plays a role to its end.
pub(crate) fn play(role: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let played = runtime.block_on(async {
        let store = irminsul::open(env::var(ADDRESS).unwrap()).await?;
        match role {
            "increment" => increment(&*store).await,
            "acknowledge" => acknowledge(&store).await,
            "batches" => batches(&*store).await,
            "name" => name(&*store).await,
            "follow" => follow(&*store).await,
            other => panic!("no such role: {other}"),
        }
    });
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{role}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says a line at once.
fn say(line: impl std::fmt::Display) {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).expect("the trial listens");
}

/// Waits for the trial to let all children go on together.
fn wait_to_go() {
    say("ready");
    let mut line = String::new();
    stdin().read_line(&mut line).expect("the trial says when");
}

/// The one counter of `increment`.
pub(crate) fn counter() -> Key {
    Key::new("counter").unwrap()
}

/// The value of a number.
pub(crate) fn value(number: u64) -> Bytes {
    number.to_string().into()
}

/// The number of a value, zero where there is none.
pub(crate) fn number(value: Option<&Bytes>) -> u64 {
    value.map_or(0, |value| std::str::from_utf8(value).unwrap().parse().unwrap())
}

async fn increment(store: &dyn Backend) -> Result<()> {
    let entries = store.atomic_write().unwrap();
    wait_to_go();
    for _ in 0..INCREMENTS {
        let mut test = entries.find(&counter()).await?;
        loop {
            let next = value(number(test.as_ref()) + 1);
            match entries.test_and_set(&counter(), test.clone(), Some(next)).await? {
                TestAndSet::Applied => break,
                TestAndSet::Mismatch { current } => {
                    assert_ne!(current, test, "A4: a mismatch carries what differs");
                    test = current;
                }
            }
        }
    }
    Ok(())
}

/// Writes without end, from several tasks, and says what was acknowledged: each a key of its own, and one key that
/// counts.
async fn acknowledge(store: &Arc<dyn Backend>) -> Result<()> {
    let writers = (0..WRITERS).map(|writer| {
        let entries = store.atomic_write().unwrap();
        async move {
            let counting = Key::new(format!("counting/{writer}"))?;
            let from = number(entries.find(&counting).await?.as_ref());
            for i in from + 1.. {
                let own = Key::new(format!("own/{writer}/{i}"))?;
                entries.set(&own, value(i)).await?;
                entries.set(&counting, value(i)).await?;
                say(format!("{writer} {i}"));
            }
            Ok(())
        }
    });
    try_join_all(writers).await.map(drop)
}

/// The values of a batch.
pub(crate) fn batch(number: u64) -> impl Iterator<Item = Bytes> {
    (0..BATCH).map(move |i| format!("{number} {i}").repeat(50).into())
}

/// Adds batches without end, from the first that is not there, and says each that was committed.
async fn batches(store: &dyn Backend) -> Result<()> {
    let content = store.indexable().unwrap();
    let there = async |number| {
        let first = batch(number).next().expect("a batch has values");
        content.index(&content.hash_function().hash(&first)).await
    };
    let mut first = 0;
    while there(first).await?.is_some() {
        first += 1;
    }
    for number in first.. {
        let values = batch(number);
        content
            .batch(|batch| async move {
                for value in values {
                    batch.add(value).await?;
                }
                Ok::<_, irminsul::Error>(())
            })
            .await?;
        say(number);
    }
    Ok(())
}

/// The name that `name` moves from content to content.
pub(crate) fn latest() -> Key {
    Key::new("latest").unwrap()
}

/// Adds content and moves a name to it, without end.
async fn name(store: &dyn Backend) -> Result<()> {
    let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
    let from = match entries.find(&latest()).await? {
        Some(named) => {
            let key = std::str::from_utf8(&named).unwrap().parse()?;
            number(content.find(&key).await?.as_ref())
        }
        None => 0,
    };
    for i in from + 1.. {
        let key = match i % 2 {
            0 => content.add(value(i)).await?,
            _ => content.batch(|batch| async move { batch.add(value(i)).await }).await?,
        };
        entries.set(&latest(), key.to_string().into()).await?;
        say(i);
    }
    Ok(())
}

/// Says each event of a watch that starts from nothing: `caught up`, `key<TAB>value`, or the bare `key` where it was
/// removed.
async fn follow(store: &dyn Backend) -> Result<()> {
    let entries = store.atomic_write().unwrap();
    let mut watch = entries.watch(&Key::root(), Init::Known(Vec::new())).await?;
    while let Some(event) = watch.next().await {
        match event? {
            Event::CaughtUp => say("caught up"),
            Event::Changed { key, diff: Diff::Removed { .. } } => say(key),
            Event::Changed { key, diff } => {
                let value = diff.new_value().expect("not removed");
                say(format!("{key}\t{}", std::str::from_utf8(value).unwrap()));
            }
            other => panic!("an event that this test does not know: {other:?}"),
        }
    }
    Ok(())
}
