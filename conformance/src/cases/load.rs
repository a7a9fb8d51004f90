//! L2 under load: handles and watches come and go, futures are dropped, and whoever stays notices nothing of it, also when
//! that has gone on for long: nothing is left behind that piles up.

use std::{fs, path::Path, thread, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use store_api::{AtomicWrite, Indexable, Init, Key};
use tokio::{runtime::Builder, task::block_in_place};

use crate::{
    case::{Case, case},
    child::say,
    clients::{all, poll_then_drop},
    context::{Context, Instance, key},
    failure::{Failure, Outcome, ensure},
    histories::{act, linearizable, pass_over},
    history::{Client, Recorder},
    operations::{insist, value},
    patience::soon,
    roles::{Cue, Role, role},
};

pub(super) const CASES: &[Case] =
    &[case!("handle/L2-what-comes-and-goes-leaves-nothing-behind", [Entries, Embedded], flat)];

pub(super) const ROLES: &[Role] = &[role!("load", load)];

/// How many windows are measured before those that have to be like the first: what is reserved once is there by then.
const WARM_UP: usize = 2;

/// How many at each end are compared: the best of the last with the worst of the first.
const COMPARED: usize = 2;

const CLIENTS: usize = 4;

/// By how much the memory may have grown: allocators keep what they may need again.
const MEMORY_KIB: u64 = 24 * 1024;

/// What a process has when its store is closed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Held {
    threads: u64,
    files: u64,
    memory_kib: u64,
}

impl Held {
    /// By this process.
    fn of_own() -> Outcome<Self> {
        let status = fs::read_to_string("/proc/self/status").map_err(Failure::harness)?;
        let memory =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        Ok(Self {
            threads: entries_in("/proc/self/task")?,
            files: entries_in("/proc/self/fd")?,
            memory_kib: memory.ok_or_else(|| Failure::harness("the system does not tell how much memory is used"))?,
        })
    }
}

fn entries_in(directory: &str) -> Outcome<u64> {
    Ok(fs::read_dir(directory).map_err(Failure::harness)?.count() as u64)
}

/// Loads the store in a process of its own, and compares what that holds in the end with what it held first.
async fn flat(context: Context) -> Outcome {
    if !Path::new("/proc/self/fd").exists() {
        return Err(Failure::untested("the system does not tell what a process holds"));
    }
    let windows = WARM_UP + 2 * COMPARED + context.rounds(2);
    // In each turn a handle comes and goes, and a watch.
    let turns = context.rounds(25);
    let arguments = [windows, turns, usize::try_from(context.patience().as_millis()).unwrap_or(usize::MAX)];
    let arguments = arguments.map(|argument| argument.to_string());
    let said = context.child("load", &arguments.each_ref().map(String::as_str))?.finish()?;
    let held: Vec<Held> =
        said.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>().map_err(Failure::harness)?;
    ensure_flat(&held[WARM_UP..])
}

/// Growth shows in each of the last windows, and a moment's more in some.
fn ensure_flat(held: &[Held]) -> Outcome {
    let of = |what: fn(&Held) -> u64| {
        let first = held.iter().take(COMPARED).map(what).max().unwrap_or(0);
        let last = held.iter().rev().take(COMPARED).map(what).min().unwrap_or(0);
        (first, last)
    };
    let grown = [
        ("threads", of(|held| held.threads), 0),
        ("open files", of(|held| held.files), 0),
        ("KiB of memory", of(|held| held.memory_kib), MEMORY_KIB),
    ];
    for (what, (first, last), allowed) in grown {
        ensure!(
            last <= first + allowed,
            "L2: a process that opens and closes has {last} {what} with its store closed, and had {first}"
        );
    }
    Ok(())
}

/// Loads the store window by window, and says after each what this process holds.
async fn load(cue: Cue) -> Outcome {
    let number = |argument: &String| argument.parse::<u64>().map_err(Failure::harness);
    let [windows, turns, patience] = &cue.arguments[..] else { return Err(Failure::harness("three arguments")) };
    let (turns, patience) = (number(turns)?, Duration::from_millis(number(patience)?));
    let mut random = fastrand::Rng::with_seed(cue.seed);
    for _ in 0..number(windows)? {
        in_runtime_of_its_own(window(&cue, turns, patience, &mut random))?;
        say(serde_json::to_string(&Held::of_own()?).map_err(Failure::harness)?);
    }
    Ok(())
}

/// With a runtime whose threads are gone behind it: how many it has for what blocks is its own choice.
fn in_runtime_of_its_own(future: impl Future<Output = Outcome> + Send) -> Outcome {
    let run = || {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::harness)?;
        runtime.block_on(future)
    };
    let ended = block_in_place(|| thread::scope(|scope| scope.spawn(run).join()));
    ended.unwrap_or_else(|panic| Err(Failure::of_panic(&*panic)))
}

/// Opens the store and closes it again. What was recorded meanwhile is linearizable, and each turn came to its end.
async fn window(cue: &Cue, turns: u64, patience: Duration, random: &mut fastrand::Rng) -> Outcome {
    let instance = cue.open().await?;
    let (entries, recorder) = (instance.entries(), Recorder::new());
    insist(|| entries.clear()).await?;
    let clients = (0..CLIENTS).map(|number| {
        let (instance, client, random) = (instance.clone(), recorder.client(), random.fork());
        let client = Loader { instance, client, random, number };
        async move { client.act(turns, patience).await }
    });
    all(clients).await?;
    instance.close().await?;
    linearizable(recorder)
}

/// What a client does.
struct Loader {
    instance: Instance,
    client: Client,
    random: fastrand::Rng,
    number: usize,
}

impl Loader {
    async fn act(mut self, turns: u64, patience: Duration) -> Outcome {
        for turn in 0..turns {
            soon(patience, "the end of a client's turn under load", self.turn(turn)).await??;
        }
        Ok(())
    }

    /// With a handle of its own, which is closed, or only dropped.
    async fn turn(&mut self, turn: u64) -> Outcome {
        let entries = self.instance.entries();
        // Few of the operations that may still come meet on one key: a history of many has no end.
        let keys = ["few", "many"].map(|values| key(format!("{}/{values}", turn / 3)));
        let own = key(format!("own/{}", self.number));
        act(&mut self.client, &*entries, &keys, self.random.fork(), 3).await?;
        let times = self.random.usize(1..5);
        let dropped = act(&mut self.client, &*entries, &keys, self.random.fork(), 1);
        poll_then_drop(dropped, times).await.transpose()?;
        self.watch(&*entries, &own).await?;
        self.read_in_part(&*entries).await;
        if let Some(content) = self.instance.indexable() {
            self.add(&*content).await?;
        }
        if self.random.bool() { Ok(entries.close().await?) } else { Ok(()) }
    }

    /// Has a watch that is told of a change, and ends or is dropped.
    async fn watch(&mut self, entries: &dyn AtomicWrite, own: &Key) -> Outcome {
        let mut watch = match self.random.u32(..3) {
            0 => entries.watch(&Key::root(), Init::Current).await?,
            1 => entries.watch(&Key::root(), Init::Known(Vec::new())).await?,
            _ => entries.watch_key(own, Init::Current).await?,
        };
        pass_over(entries.set(own, long(self.random.u64(..))).await)?;
        for _ in 0..self.random.usize(..4) {
            // Once: nothing more may come.
            poll_then_drop(watch.next(), 1).await;
        }
        if self.random.bool() { Ok(entries.unwatch(watch.id()).await?) } else { Ok(()) }
    }

    /// Begins to read everything, and lets it be.
    async fn read_in_part(&mut self, entries: &dyn AtomicWrite) {
        let mut all = entries.entries(&Key::root());
        for _ in 0..self.random.usize(..3) {
            poll_then_drop(all.next(), 2).await;
        }
    }

    /// Adds content that is there already most of the time, also in a batch that is left open.
    async fn add(&mut self, content: &dyn Indexable) -> Outcome {
        let value = long(self.random.u64(..20));
        let batch = content.begin().await?;
        batch.add(value.clone()).await?;
        match self.random.u32(..4) {
            0 => pass_over(batch.commit().await)?,
            1 => pass_over(batch.abort().await)?,
            2 => drop(batch),
            _ => pass_over(content.add(value).await.map(drop))?,
        }
        if self.random.bool() { Ok(content.close().await?) } else { Ok(()) }
    }
}

/// A value that shows in the memory where many are kept.
fn long(number: u64) -> Bytes {
    value(format_args!("{number:020}")).repeat(200).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    fn held(files: impl IntoIterator<Item = u64>) -> Vec<Held> {
        files.into_iter().map(|files| Held { threads: 5, files, memory_kib: 30_000 }).collect()
    }

    #[test]
    fn what_is_more_in_some_windows_is_no_growth() {
        for files in [[9, 9, 9, 9, 9, 9], [9, 12, 9, 9, 11, 12], [9, 9, 30, 30, 30, 9]] {
            ensure_flat(&held(files)).expect("it is flat");
        }
    }

    #[test]
    fn what_grows_is_told() {
        let grown = ensure_flat(&held(9..30)).expect_err("it grows");
        assert_eq!((grown.kind(), grown.to_string().contains("28 open files")), (Kind::Broken, true), "{grown}");
        let mut memory = held([9; 6]);
        memory.iter_mut().rev().take(COMPARED).for_each(|held| held.memory_kib += MEMORY_KIB + 1);
        assert!(ensure_flat(&memory).is_err());
    }
}
