//! A1, X1, W11, W5 and L4 among several processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store_api::{AtomicWrite, ContentKey, Diff, EntryReadExt, ErrorKind, Event, Init, Key};

use crate::{
    Settings,
    case::{Case, case},
    child::{Child, hear, say, wait_to_go},
    clients,
    context::{Context, key},
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    histories,
    history::Recorder,
    operations::{increment, insist, number, set_all, value},
    remote::{self, Remote},
    roles::{Cue, Role, role},
    work::{Names, STEP, STOPPED, Work},
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A1-processes-lose-no-increment", [Entries, SharedProcesses], no_increment_is_lost),
    case!("atomic/A1-histories-of-several-processes", [Entries, SharedProcesses], recorded),
    case!(
        "atomic/A1-processes-that-are-killed-lose-no-increment",
        [Entries, SharedProcesses, SurvivesKill],
        increments_amid_kills
    ),
    case!(
        "atomic/A1-histories-of-processes-that-are-killed",
        [Entries, SharedProcesses, SurvivesKill],
        recorded_amid_kills
    ),
    case!("names/X1-another-process-finds-what-a-name-leads-to", [Entries, Content, SharedProcesses], names_of_another),
    case!("watch/W11-another-process-is-told", [Entries, SharedProcesses], another_process_is_told),
    case!("watch/W5-a-process-that-was-stopped-catches-up", [Entries, SharedProcesses], stopped_process),
    case!("handle/L4-another-process-is-told-that-it-is-in-use", [LoneProcess, Reopens], in_use),
];

pub(super) const ROLES: &[Role] =
    &[role!("increment", count_up), role!("serve", remote::serve), role!("follow", follow), role!("hold", hold)];

const PROCESSES: usize = 5;

/// Where some of them are killed, and how many are.
const MANY: usize = 8;
const DOOMED: usize = 4;

fn counter() -> Key {
    key("counter")
}

async fn no_increment_is_lost(context: Context) -> Outcome {
    let increments = context.rounds(15);
    let children = let_go(&context, PROCESSES, increments)?;
    let mut all: Vec<String> = Vec::new();
    for child in children {
        all.extend(child.finish()?);
    }
    let count = number(context.open().await?.entries().find(&counter()).await?.as_ref())?;
    let due = (PROCESSES * increments) as u64;
    // That no two made the same number of it says which one is lost; the counter itself, that none is.
    let mut made = all.iter().map(|line| line.parse::<u64>().map_err(Failure::harness)).collect::<Outcome<Vec<_>>>()?;
    made.sort_unstable();
    let twice = made.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(twice.is_none(), "A1: two processes made {} of the counter", twice.map_or(0, |pair| pair[0]));
    ensure_eq!(count, due, "A1: the counter that {PROCESSES} processes incremented {increments} times each");
    Ok(())
}

/// Starts processes that increment the counter so many times each, from the same moment on.
fn let_go(context: &Context, processes: usize, increments: usize) -> Outcome<Vec<Child>> {
    let start = |_| context.child("increment", &[&increments.to_string()]);
    let mut children = (0..processes).map(start).collect::<Outcome<Vec<Child>>>()?;
    children.iter_mut().try_for_each(Child::until_ready)?;
    children.iter_mut().try_for_each(Child::go)?;
    Ok(children)
}

/// Of processes that increment a counter some are killed at random moments, while the rest goes on: each number was made
/// once, and those that nobody told of are no more than were killed.
async fn increments_amid_kills(context: Context) -> Outcome {
    let mut random = context.random();
    let increments = context.rounds(15);
    let mut made = BTreeSet::new();
    let mut killed = 0;
    for _ in 0..context.rounds(2) {
        let mut doomed = let_go(&context, MANY, increments)?;
        let rest = doomed.split_off(DOOMED);
        // All count at once: whose turn comes first is killed first, or it would have come to its end before that.
        let mut moments: Vec<usize> = doomed.iter().map(|_| random.usize(..increments)).collect();
        moments.sort_unstable();
        let mut lines = Vec::new();
        for (child, said) in doomed.into_iter().zip(moments) {
            let cut_off = child.cut_off_after(said, &mut random, STEP)?;
            killed += u64::from(cut_off.killed);
            lines.extend(cut_off.lines);
        }
        for child in rest {
            lines.extend(child.finish()?);
        }
        for line in lines {
            let number: u64 = line.parse().map_err(Failure::harness)?;
            ensure!(made.insert(number), "A1: two processes made {number} of the counter");
        }
    }
    let count =
        number(context.open_when_free("an open after kills").await?.entries().find(&counter()).await?.as_ref())?;
    let (last, told) = (made.last().copied().unwrap_or(0), made.len() as u64);
    ensure!(count >= last, "A10: {last} was made of the counter before a process was killed, and it is {count}");
    ensure!(
        count - told <= killed,
        "A1: the counter is {count} after {told} increments that were told of, and {killed} kills"
    );
    if killed == 0 {
        return Err(Failure::inconclusive("each process had come to its end before it was killed"));
    }
    Ok(())
}

async fn count_up(cue: Cue) -> Outcome {
    let instance = cue.open().await?;
    let increments: usize = cue.number()?;
    wait_to_go();
    for _ in 0..increments {
        say(increment(&*instance.entries(), &counter(), 1).await?);
    }
    instance.close().await?;
    Ok(())
}

/// What several processes, and this one, were told is what one store would have told them.
async fn recorded(context: Context) -> Outcome {
    let mut random = context.random();
    let keys = [key("a"), key("b")];
    let start = |_| Remote::new(context.child("serve", &[])?).map(Arc::new);
    let remotes = (0..3).map(start).collect::<Outcome<Vec<_>>>()?;
    let recorder = Recorder::new();
    let mut stores: Vec<Arc<dyn AtomicWrite>> = vec![context.open().await?.entries()];
    stores.extend(remotes.iter().map(|remote| Arc::clone(remote) as _));
    let clients = stores.into_iter().map(|entries| {
        let (mut client, keys, random) = (recorder.client(), keys.clone(), random.fork());
        let operations = context.rounds(60);
        async move { histories::act(&mut client, &*entries, &keys, random, operations).await }
    });
    let ended = clients::all(clients).await;
    remotes.iter().try_for_each(|remote| remote.ended())?;
    ended?;
    histories::linearizable(recorder)
}

/// The same while the processes are killed at random moments, and others take their places.
async fn recorded_amid_kills(context: Context) -> Outcome {
    let mut random = context.random();
    let keys = [key("a"), key("b")];
    let recorder = Recorder::new();
    let operations = context.rounds(10);
    let clients = (0..MANY).map(|_| {
        let (mut client, keys, mut random) = (recorder.client(), keys.clone(), random.fork());
        let context = context.clone();
        async move {
            let doomed = Remote::new(context.child("serve", &[])?)?;
            let acted = histories::act(&mut client, &doomed, &keys, random.fork(), random.usize(..operations)).await;
            doomed.answered(acted)?;
            let kill = doomed.kill_within(STEP.mul_f64(random.f64()));
            // It ends with an error: what was asked last has an outcome that nobody knows.
            let ended = histories::act(&mut client, &doomed, &keys, random.fork(), usize::MAX).await;
            kill.join().map_err(|_| Failure::harness("the thread that kills panicked"))??;
            doomed.was_killed(ended)?;
            let next = Remote::new(context.child("serve", &[])?)?;
            let acted = histories::act(&mut client, &next, &keys, random.fork(), operations).await;
            next.answered(acted)
        }
    });
    clients::all(clients).await?;
    histories::linearizable(recorder)
}

/// While another process moves names, what each leads to is there.
async fn names_of_another(context: Context) -> Outcome {
    let instance = context.open().await?;
    let entries = instance.entries();
    let mut child = context.child(Names::ROLE, &["0"])?;
    for _ in 0..context.rounds(40) {
        // Each line is a name that has moved, and another one may be about to.
        if child.line()? == STOPPED {
            return Err(Failure::inconclusive("the store could not answer the other process"));
        }
        for name in entries.list_sorted(&key("names")).await? {
            let Some(named) = entries.find(&name).await? else { continue };
            let named = std::str::from_utf8(&named).ok().and_then(|text| text.parse::<ContentKey>().ok());
            let named = named.ok_or_else(|| Failure::broken(format_args!("A1: {name} has a value that nobody set")))?;
            let found = instance.content().find(&named).await?;
            ensure!(found.is_some(), "X1: {name}, set by another process, leads to content that is not there");
            let indexed = instance.content().index(&named.to_hash()).await?;
            ensure!(
                indexed.is_some(),
                "X1: `index` does not know the content that {name}, set by another process, names"
            );
        }
    }
    child.kill().map(drop)
}

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
            Ok(Event::Changed { key, diff: Diff::Added(new) }) => Told::Added(key.to_string(), text(&new)),
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

/// Opens the store for as long as the case likes, and says how that went.
async fn hold(cue: Cue) -> Outcome {
    match cue.try_open().await {
        Ok(instance) => {
            say(OPEN);
            hear();
            instance.close().await?;
        }
        Err(error) => say(format_args!("{:?}", error.kind())),
    }
    Ok(())
}

const OPEN: &str = "open";

/// A store that one process can have open is refused to others, until it is closed or its process is gone.
async fn in_use(context: Context) -> Outcome {
    let here = context.open().await?;
    let mut refused = context.child("hold", &[])?;
    ensure_eq!(refused.line()?, format!("{:?}", ErrorKind::InUse), "L4: an open in another process");
    refused.finish()?;
    here.close().await?;
    let mut holder = context.child("hold", &[])?;
    ensure_eq!(holder.line()?, OPEN, "L4: an open in another process after the close here");
    expect_error!(context.try_open(&Settings::default()).await, InUse, "L4: an open while another process has it");
    holder.go()?;
    holder.finish()?;
    context.open().await?.close().await?;
    let mut killed = context.child("hold", &[])?;
    ensure_eq!(killed.line()?, OPEN, "L4: another open in another process");
    killed.kill()?;
    context.open_when_free("L4: an open after the holder was killed").await?.close().await?;
    Ok(())
}
