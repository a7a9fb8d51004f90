//! W5 and W11 among several processes: what a watch in one is told of writes in another.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store_api::{AtomicWrite, Diff, Event, Init, Key};

use crate::{
    case::{Case, case},
    child::{Child, say},
    context::{Context, key},
    failure::{Failure, Outcome, ensure},
    operations::{insist, set_all, value},
    roles::{Cue, Role, role},
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W11-another-process-is-told", [Entries, SharedProcesses], another_process_is_told),
    case!("watch/W5-a-process-that-was-stopped-catches-up", [Entries, SharedProcesses], stopped_process),
];

pub(super) const ROLES: &[Role] = &[role!("follow", follow)];

/// An event of another process's watch, with values that are texts.
#[derive(Serialize, Deserialize)]
enum Told {
    CaughtUp,
    Added(String, String),
    Updated(String, Option<String>, String),
    Removed(String, Option<String>),
    /// The store could not tell at present (W10).
    Fault,
}

/// Says each event of a watch that starts from nothing.
async fn follow(cue: Cue) -> Outcome {
    let instance = cue.open().await?;
    let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
    let mut watch = instance.entries().watch(&Key::root(), Init::Known(Vec::new())).await?;
    while let Some(item) = watch.next().await {
        let told = match item {
            Ok(Event::CaughtUp) => Told::CaughtUp,
            Ok(Event::Changed { key, diff: Diff::Added { new } }) => Told::Added(key.to_string(), text(&new)),
            Ok(Event::Changed { key, diff: Diff::Updated { old, new } }) => {
                Told::Updated(key.to_string(), old.as_ref().map(text), text(&new))
            }
            Ok(Event::Changed { key, diff: Diff::Removed { old } }) => {
                Told::Removed(key.to_string(), old.as_ref().map(text))
            }
            Err(error) if error.is_retryable() => Told::Fault,
            Err(error) => return Err(error.into()),
            Ok(other) => {
                return Err(Failure::harness(format_args!("an event that the suite does not know: {other:?}")));
            }
        };
        say(serde_json::to_string(&told).map_err(Failure::harness)?);
    }
    Err(Failure::broken("W9: a watch ended that nobody ended"))
}

type Texts = BTreeMap<String, String>;

/// A process that follows the store, and what it was told, folded.
struct Follower {
    child: Child,
    state: Texts,
    /// How long it may tell of nothing but passing faults.
    patience: Duration,
}

impl Follower {
    fn start(context: &Context) -> Outcome<Self> {
        let child = context.child("follow", &[])?;
        let mut follower = Self { child, state: Texts::new(), patience: context.patience() };
        while !matches!(follower.next()?, Told::CaughtUp) {}
        Ok(follower)
    }

    fn next(&mut self) -> Outcome<Told> {
        let began = Instant::now();
        while began.elapsed() < self.patience {
            let told: Told = serde_json::from_str(&self.child.line()?).map_err(Failure::harness)?;
            if !matches!(told, Told::Fault) {
                self.fold(&told)?;
                return Ok(told);
            }
        }
        Err(Failure::inconclusive("a watch in another process told of passing faults alone"))
    }

    /// W3, with the old value that was told.
    fn fold(&mut self, told: &Told) -> Outcome {
        let (key, before, old) = match told {
            Told::CaughtUp | Told::Fault => return Ok(()),
            Told::Added(key, new) => {
                let before = self.state.insert(key.clone(), new.clone());
                ensure!(before.is_none(), "W3: {key} is told as added, and had been told before");
                return Ok(());
            }
            Told::Updated(key, old, new) => {
                let before = self.state.insert(key.clone(), new.clone());
                ensure!(before.as_ref() != Some(new), "W3: {key} is told with the same value twice");
                (key, before, old)
            }
            Told::Removed(key, old) => (key, self.state.remove(key), old),
        };
        ensure!(before.is_some(), "W3: {key} is told as changed, and had not been told before");
        ensure!(*old == before, "W3: the old value of {key} is not the one that was told last");
        Ok(())
    }

    /// Reads until what it was told folds to the entries of the store.
    fn converge(&mut self, due: &Texts) -> Outcome {
        while self.state != *due {
            self.next().map_err(|failure| {
                let differs = due.iter().filter(|(key, value)| self.state.get(*key) != Some(value)).count();
                let beyond = self.state.keys().filter(|key| !due.contains_key(*key)).count();
                failure
                    .within(format_args!("W11: another process was not told of {differs} entries, {beyond} removals"))
            })?;
        }
        Ok(())
    }
}

/// A writer, and what it wrote.
struct Writer {
    entries: Arc<dyn AtomicWrite>,
    state: Texts,
    /// How often it has written.
    written: Arc<AtomicUsize>,
}

impl Writer {
    async fn new(context: &Context) -> Outcome<Self> {
        Ok(Self { entries: context.open().await?.entries(), state: Texts::new(), written: Arc::default() })
    }

    async fn set(&mut self, under: &str, count: usize, text: &str) -> Outcome {
        let all: Texts = (0..count).map(|i| (format!("{under}/{i}"), format!("{text} {i}"))).collect();
        let entries: Vec<_> = all.iter().map(|(path, text)| (key(path), value(text))).collect();
        set_all(&*self.entries, entries).await?;
        self.state.extend(all);
        self.count();
        Ok(())
    }

    async fn remove(&mut self, path: &str) -> Outcome {
        let key = key(path);
        insist(|| self.entries.remove(&key)).await?;
        self.state.remove(path);
        self.count();
        Ok(())
    }

    async fn clear(&mut self) -> Outcome {
        insist(|| self.entries.clear()).await?;
        self.state.clear();
        self.count();
        Ok(())
    }

    fn count(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }
}

async fn another_process_is_told(context: Context) -> Outcome {
    let count = context.rounds(100);
    let mut writer = Writer::new(&context).await?;
    writer.set("before", 20, "before").await?;
    let mut follower = Follower::start(&context)?;
    follower.converge(&writer.state)?;
    writer.set("many", count, "first").await?;
    follower.converge(&writer.state)?;
    writer.set("many", count / 2, "second").await?;
    for i in count / 3..count / 2 + 10 {
        writer.remove(&format!("many/{i}")).await?;
    }
    follower.converge(&writer.state)?;
    writer.clear().await?;
    writer.set("many", 20, "first").await?;
    follower.converge(&writer.state)?;
    writer.clear().await?;
    follower.converge(&writer.state)
}

/// A watcher in a process that is stopped misses nothing that is still so when it goes on, and keeps no writer waiting
/// (W7).
async fn stopped_process(context: Context) -> Outcome {
    let mut writer = Writer::new(&context).await?;
    for scope in ["stays", "goes", "changes"] {
        writer.set(scope, 20, "before").await?;
    }
    let mut follower = Follower::start(&context)?;
    follower.converge(&writer.state)?;
    for round in 0..context.rounds(3) {
        follower.child.stop()?;
        let written = Arc::clone(&writer.written);
        let changes = change(&mut writer, round);
        context.steadily("a write beside a process that is stopped", &written, changes).await??;
        follower.child.resume()?;
        follower.converge(&writer.state)?;
    }
    writer.set("live", 10, "after").await?;
    follower.converge(&writer.state)
}

async fn change(writer: &mut Writer, round: usize) -> Outcome {
    if round % 3 == 2 {
        writer.clear().await?;
    }
    for i in 0..10 {
        writer.remove(&format!("goes/{i}")).await?;
    }
    for again in 0..10 {
        writer.set("changes", 50, &format!("{round} {again}")).await?;
    }
    writer.set("goes", 5, &format!("back in {round}")).await
}
