//! L2 under load: handles and watches come and go, futures are dropped, and whoever stays notices nothing of it, also when
//! that has gone on for long: nothing is left behind that piles up, neither in an instance that stays open nor behind
//! those that were closed.

mod held;

use std::{thread, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use store_api::{AtomicWrite, Indexable, Init, Key, Watch};
use tokio::{runtime::Builder, task::block_in_place};

use crate::{
    case::{Case, case},
    child::{Child, hear, say_step},
    clients::all,
    context::{Context, Instance, key},
    failure::{Failure, Outcome},
    histories::{act, linearizable, pass_over},
    history::{Client, Recorder},
    memory::expect_told,
    operations::{insist, poll_then_drop, value},
    patience::soon,
    roles::{Cue, Role, role},
};

use self::held::{Held, Judge, Least};

pub(super) const CASES: &[Case] =
    &[case!("handle/L2-what-comes-and-goes-leaves-nothing-behind", [Entries, Embedded], flat)];

pub(super) const ROLES: &[Role] = &[role!("load", load)];

const CLIENTS: u64 = 4;

/// What each client does in a window: so many turns with writes, and so many without, which cost little.
const WRITING: u64 = 25;
const READING: u64 = 250;

const TURNS: u64 = CLIENTS * (WRITING + READING);

/// Shorter than a tick: threads of the runtime that have nothing to do are gone when it is counted.
const KEEP_ALIVE: Duration = Duration::from_millis(10);

/// What the child is told: to load the store that it has open, or to close it and open it again. It says each time what it
/// holds then.
const WINDOW: &str = "window";
const CLOSE: &str = "close";

/// Loads the store in a process of its own, and compares what that holds in the end with what it held first.
async fn flat(context: Context) -> Outcome {
    expect_told()?;
    let patience = u64::try_from(context.patience().as_millis()).unwrap_or(u64::MAX);
    let mut child = context.child("load", &[&patience.to_string()])?;
    let mut judge = Judge::new(context.rounds(2));
    let judged = open_and_closed(&mut judge, &mut child);
    if let Some(growth) = judge.growth() {
        context.grew(growth);
    }
    judged?;
    child.kill().map(drop)
}

/// With one instance that stays open, and with one for each window.
fn open_and_closed(judge: &mut Judge, child: &mut Child) -> Outcome {
    judge.ensure_flat("with its store open", || held(child, WINDOW))?;
    held(child, CLOSE)?;
    judge.ensure_flat("with its store closed again", || {
        held(child, WINDOW)?;
        held(child, CLOSE)
    })
}

/// What the child holds when it has done as it is told.
fn held(child: &mut Child, told: &str) -> Outcome<Held> {
    child.tell(told)?;
    serde_json::from_str(&child.line()?).map_err(Failure::harness)
}

/// Opens the store, and loads it as often as it is told to; and again.
async fn load(cue: Cue) -> Outcome {
    let patience = Duration::from_millis(cue.number()?);
    let mut random = fastrand::Rng::with_seed(cue.seed);
    let mut closed = Least::default();
    loop {
        in_runtime_of_its_own(open_and_load(&cue, patience, &mut random))?;
        closed.say().await?;
    }
}

/// With a runtime whose threads are gone behind it: how many it has for what blocks is its own choice.
fn in_runtime_of_its_own(future: impl Future<Output = Outcome> + Send) -> Outcome {
    let run = || {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_keep_alive(KEEP_ALIVE).enable_all().build();
        runtime.map_err(Failure::harness)?.block_on(future)
    };
    let ended = block_in_place(|| thread::scope(|scope| scope.spawn(run).join()));
    ended.unwrap_or_else(|panic| Err(Failure::of_panic(&*panic)))
}

/// Opens the store and closes it again, when it is told to.
async fn open_and_load(cue: &Cue, patience: Duration, random: &mut fastrand::Rng) -> Outcome {
    let instance = cue.open().await?;
    // What came late before the close would be an entry that no history explains.
    let entries = instance.entries();
    insist(|| entries.clear()).await?;
    let mut open = Least::default();
    for number in 0_u64.. {
        if hear() != WINDOW {
            break;
        }
        window(&instance, number, patience, random).await?;
        open.say().await?;
    }
    Ok(instance.close().await?)
}

/// What was recorded is linearizable, and each turn came to its end; nothing is left in the store but what may come late.
async fn window(instance: &Instance, number: u64, patience: Duration, random: &mut fastrand::Rng) -> Outcome {
    let recorder = Recorder::new();
    let clients = (0..CLIENTS).map(|client| {
        let (instance, random) = (instance.clone(), random.fork());
        let (own, client) = (key(format!("own/{client}")), recorder.client());
        let client = Loader { instance, client, random, own, window: number };
        async move { client.act(patience).await }
    });
    all(clients).await?;
    let entries = instance.entries();
    insist(|| entries.clear()).await?;
    linearizable(recorder)
}

/// What a client does.
struct Loader {
    instance: Instance,
    client: Client,
    random: fastrand::Rng,
    /// The key that it alone sets.
    own: Key,
    window: u64,
}

impl Loader {
    async fn act(mut self, patience: Duration) -> Outcome {
        const WHAT: &str = "the end of a client's turn under load";
        for turn in 0..WRITING {
            soon(patience, WHAT, self.write(turn)).await??;
            say_step();
        }
        for _ in 0..READING {
            soon(patience, WHAT, self.read()).await??;
        }
        say_step();
        Ok(())
    }

    /// With a handle of its own, which is closed, or only dropped.
    async fn write(&mut self, turn: u64) -> Outcome {
        let entries = self.instance.entries();
        // Few of the operations that may still come meet on one key: a history of many has no end. One of another window
        // has no history.
        let keys = ["few", "many"].map(|values| key(format!("{}/{}/{values}", self.window, turn / 3)));
        act(&mut self.client, &*entries, &keys, self.random.fork(), 3).await?;
        let times = self.random.usize(1..5);
        let dropped = act(&mut self.client, &*entries, &keys, self.random.fork(), 1);
        poll_then_drop(dropped, times).await.transpose()?;
        let mut watch = self.watch(&*entries).await?;
        pass_over(entries.set(&self.own, long(self.random.u64(..))).await)?;
        self.end(&*entries, &mut watch).await?;
        self.read_in_part(&*entries).await;
        if let Some(content) = self.instance.indexable() {
            self.add(&*content).await?;
        }
        if self.random.bool() { Ok(entries.close().await?) } else { Ok(()) }
    }

    /// The same without a write, and so without a wait for a disk.
    async fn read(&mut self) -> Outcome {
        let entries = self.instance.entries();
        let mut watch = self.watch(&*entries).await?;
        self.end(&*entries, &mut watch).await?;
        self.read_in_part(&*entries).await;
        if let Some(content) = self.instance.indexable() {
            let batch = content.begin().await?;
            batch.add(long(0)).await?;
            if self.random.bool() {
                pass_over(batch.abort().await)?;
            }
        }
        if self.random.bool() { Ok(entries.close().await?) } else { Ok(()) }
    }

    /// Starts a watch of any kind.
    async fn watch(&mut self, entries: &dyn AtomicWrite) -> Outcome<Watch> {
        Ok(match self.random.u32(..3) {
            0 => entries.watch(&Key::root(), Init::Current).await?,
            1 => entries.watch(&Key::root(), Init::Known(Vec::new())).await?,
            _ => entries.watch_key(&self.own, Init::Current).await?,
        })
    }

    /// Reads some of a watch, and ends it, or leaves that to its end.
    async fn end(&mut self, entries: &dyn AtomicWrite, watch: &mut Watch) -> Outcome {
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
