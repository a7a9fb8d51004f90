//! L2 under load: handles and watches come and go, futures are dropped, and whoever stays notices nothing of it, also when
//! that has gone on for long: nothing is left behind that piles up, neither in an instance that stays open nor behind
//! those that were closed.

use std::{fs, path::Path, thread, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use store_api::{AtomicWrite, Indexable, Init, Key, Watch};
use tokio::{
    runtime::{Builder, Handle},
    task::block_in_place,
    time::sleep,
};

use crate::{
    Growth,
    case::{Case, case},
    child::{Child, hear, say},
    clients::all,
    context::{Context, Instance, key},
    failure::{Failure, Outcome},
    histories::{act, linearizable, pass_over},
    history::{Client, Recorder},
    operations::{insist, poll_then_drop, value},
    patience::{TICK, soon},
    roles::{Cue, Role, role},
};

pub(super) const CASES: &[Case] =
    &[case!("handle/L2-what-comes-and-goes-leaves-nothing-behind", [Entries, Embedded], flat)];

pub(super) const ROLES: &[Role] = &[role!("load", load)];

/// How many windows are measured before those that have to be like the first: what is reserved once is there by then.
const WARM_UP: usize = 2;

/// How many at each end are compared: the best of the last with the worst of the first.
const COMPARED: usize = 2;

/// In how many rows of windows something has to grow, one behind the other: what an engine fills by and by, such as a
/// pool, is full at some time.
const ROWS: usize = 5;

const CLIENTS: u64 = 4;

/// What each client does in a window: so many turns with writes, and so many without, which cost little.
const WRITING: u64 = 25;
const READING: u64 = 250;

const TURNS: u64 = CLIENTS * (WRITING + READING);

/// By how much the memory may have grown: allocators and engines keep what they may need again.
const MEMORY_KIB: u64 = 16 * 1024;

/// And by how much with each turn.
const TURN_BYTES: u64 = 256;

/// For so many ticks what a process holds may be more than before: threads and tasks that are to end take a moment.
const SETTLES: usize = 20;

/// Shorter than a tick: threads of the runtime that have nothing to do are gone when it is counted.
const KEEP_ALIVE: Duration = Duration::from_millis(10);

/// What the child is told: to load the store that it has open, or to close it and open it again. It says each time what it
/// holds then.
const WINDOW: &str = "window";
const CLOSE: &str = "close";

/// What a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    threads: u64,
    tasks: u64,
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
            tasks: Handle::current().metrics().num_alive_tasks() as u64,
            files: entries_in("/proc/self/fd")?,
            memory_kib: memory.ok_or_else(|| Failure::harness("the system does not tell how much memory is used"))?,
        })
    }

    /// What is counted one by one.
    fn counts(self) -> [u64; 3] {
        [self.threads, self.tasks, self.files]
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
    let patience = u64::try_from(context.patience().as_millis()).unwrap_or(u64::MAX);
    let mut child = context.child("load", &[&patience.to_string()])?;
    let mut judge = Judge { windows: 2 * COMPARED + context.rounds(2), growth: Growth::default() };
    let judged = judge.both(&mut child);
    context.grew(judge.growth);
    judged?;
    child.kill().map(drop)
}

/// What the child holds when it has done as it is told.
fn held(child: &mut Child, told: &str) -> Outcome<Held> {
    child.tell(told)?;
    serde_json::from_str(&child.line()?).map_err(Failure::harness)
}

/// Looks at rows of windows.
struct Judge {
    /// In a row.
    windows: usize,
    growth: Growth,
}

impl Judge {
    /// With one instance that stays open, and with one for each window.
    fn both(&mut self, child: &mut Child) -> Outcome {
        self.ensure_flat("with its store open", || held(child, WINDOW))?;
        held(child, CLOSE)?;
        self.ensure_flat("with its store closed again", || {
            held(child, WINDOW)?;
            held(child, CLOSE)
        })
    }

    /// Measures rows of windows until one shows no growth: only what grew in every row is a leak.
    fn ensure_flat(&mut self, when: &str, mut next: impl FnMut() -> Outcome<Held>) -> Outcome {
        (0..WARM_UP).try_for_each(|_| next().map(drop))?;
        let mut suspects: Vec<Compared> = Vec::new();
        let mut growth = Growth::default();
        for row in 0..ROWS {
            let held = (0..self.windows).map(|_| next()).collect::<Outcome<Vec<Held>>>()?;
            let compared = compared(&held);
            let [threads, tasks, files, memory_kib] = compared.map(Compared::growth);
            let turns = growth.turns + self.windows as u64 * TURNS;
            growth = Growth { turns, threads, tasks, files, memory_kib };
            let grows_again = |grown: &Compared| row == 0 || suspects.iter().any(|suspect| suspect.what == grown.what);
            suspects = compared.into_iter().filter(|compared| compared.is_growth() && grows_again(compared)).collect();
            if suspects.is_empty() {
                break;
            }
        }
        self.growth += growth;
        if suspects.is_empty() {
            return Ok(());
        }
        let grown: Vec<String> = suspects
            .iter()
            .map(|Compared { what, first, last, .. }| format!("{last} {what}, and had {first}"))
            .collect();
        Err(Failure::broken(format_args!(
            "L2: a process whose handles and watches came and went has, {when}, {}, {} turns before",
            grown.join("; "),
            (self.windows - COMPARED) as u64 * TURNS
        )))
    }
}

/// The first and the last windows of a row.
#[derive(Clone, Copy, Debug)]
struct Compared {
    what: &'static str,
    first: u64,
    last: u64,
    allowed: u64,
}

impl Compared {
    fn growth(self) -> u64 {
        self.last.saturating_sub(self.first)
    }

    fn is_growth(self) -> bool {
        self.growth() > self.allowed
    }
}

/// Growth shows in each of the last windows, and a moment's more in some.
fn compared(held: &[Held]) -> [Compared; 4] {
    type Of = fn(&Held) -> u64;

    let memory_kib = MEMORY_KIB + held.len() as u64 * TURNS * TURN_BYTES / 1024;
    let all: [(&str, Of, u64); 4] = [
        ("threads", |held| held.threads, 0),
        ("tasks", |held| held.tasks, 0),
        ("open files", |held| held.files, 0),
        ("KiB of memory", |held| held.memory_kib, memory_kib),
    ];
    all.map(|(what, of, allowed)| Compared {
        what,
        first: held.iter().take(COMPARED).map(of).max().unwrap_or(0),
        last: held.iter().rev().take(COMPARED).map(of).min().unwrap_or(0),
        allowed,
    })
}

/// The least that was counted so far.
#[derive(Default)]
struct Least(Option<[u64; 3]>);

impl Least {
    /// Says what this process holds, once that is no more than ever before; where it stays more, that.
    async fn say(&mut self) -> Outcome {
        let mut held = Held::of_own()?;
        for _ in 0..SETTLES {
            let before = held.counts();
            sleep(TICK).await;
            held = Held::of_own()?;
            let counts = held.counts();
            let is_least = self.0.is_none_or(|least| counts.iter().zip(least).all(|(count, least)| *count <= least));
            if is_least && counts == before {
                break;
            }
        }
        let counts = held.counts();
        let least = self.0.unwrap_or(counts);
        self.0 = Some(std::array::from_fn(|of| least[of].min(counts[of])));
        say(serde_json::to_string(&held).map_err(Failure::harness)?);
        Ok(())
    }
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
        }
        for _ in 0..READING {
            soon(patience, WHAT, self.read()).await??;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    const WINDOWS: usize = 6;

    fn with_files(files: u64) -> Held {
        Held { threads: 5, tasks: 0, files, memory_kib: 30_000 }
    }

    /// Of a process with so many open files behind each window.
    fn judged(files: impl IntoIterator<Item = u64>) -> (Outcome, Growth) {
        let mut files = files.into_iter();
        let mut judge = Judge { windows: WINDOWS, growth: Growth::default() };
        let judged = judge.ensure_flat("then", || Ok(with_files(files.next().expect("another window"))));
        (judged, judge.growth)
    }

    #[test]
    fn what_is_more_in_some_windows_is_no_growth() {
        for files in [[9, 9, 9, 9, 9, 9], [9, 12, 9, 9, 11, 12], [9, 9, 30, 30, 30, 9]] {
            judged([0; WARM_UP].into_iter().chain(files)).0.expect("it is flat");
        }
    }

    #[test]
    fn what_is_filled_once_is_no_growth_whenever_that_is() {
        for row in 1..ROWS {
            let grows = WARM_UP + row * WINDOWS - COMPARED;
            let files = (0..).map(|window| window.min(grows as u64));
            judged(files).0.expect("it is full");
        }
    }

    #[test]
    fn what_grows_on_is_told_and_measured() {
        let (judged, growth) = judged(10..);
        let judged = judged.expect_err("it grows");
        let message = judged.to_string();
        assert_eq!(judged.kind(), Kind::Broken);
        assert!(message.contains("40 open files, and had 37, 4400 turns before"), "{message}");
        assert_eq!((growth.files, growth.threads, growth.turns), (3, 0, (ROWS * WINDOWS) as u64 * TURNS));
    }

    #[test]
    fn memory_may_grow_with_the_turns_and_no_more() {
        let allowed = MEMORY_KIB + WINDOWS as u64 * TURNS * TURN_BYTES / 1024;
        let grown = |by: u64| {
            let mut held = [with_files(9); WINDOWS];
            held.iter_mut().rev().take(COMPARED).for_each(|held| held.memory_kib += by);
            compared(&held).into_iter().any(Compared::is_growth)
        };
        assert!(!grown(allowed) && grown(allowed + 1));
    }
}
