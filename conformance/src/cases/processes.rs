//! A1, X1 and L4 among several processes; their watches are in `watch_processes`.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use store_api::{AtomicWrite, ContentKey, EntryReadExt, ErrorKind, Key};

use crate::{
    Settings,
    case::{Case, Pace, case},
    child::{Child, hear, say, wait_to_go},
    clients,
    context::{Context, key},
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    histories,
    history::Recorder,
    luck::Hopes,
    operations::{increment_beside_others, number},
    patience::TICK,
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
    case!("handle/L4-another-process-is-told-that-it-is-in-use", [LoneProcess, Reopens], in_use),
];

pub(super) const ROLES: &[Role] = &[role!("increment", count_up), role!("serve", remote::serve), role!("hold", hold)];

const PROCESSES: usize = 5;

/// Where some of them are killed, and how many are.
const MANY: usize = 8;
const DOOMED: usize = 4;

fn counter() -> Key {
    key("counter")
}

/// How often another process is to come between the read and the write of an increment. Where one compare-and-set in a hundred
/// is a check and, a moment later, a set, others come between these as often: 300 miss it with a chance of 5 %, and as many
/// as are enough with one of 0.004 %. On few cores hardly any come between, as long as no process is stopped there.
const MEETINGS: Hopes = Hopes { floor: 300, enough: 1_000, rounds: [1, 1_000] };

/// How many increments each process makes in the first round, and how many at most. They are doubled behind a round that is
/// brief: a fast store is through with a few before another process has its turn.
const INCREMENTS: [usize; 2] = [15, 480];
const BRIEF: Duration = Duration::from_millis(500);

async fn no_increment_is_lost(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let luck = context.luck_at(Pace::Processes, MEETINGS.of_clients(2));
    let mut made = BTreeSet::new();
    let [mut increments, most] = INCREMENTS;
    for _ in luck.rounds() {
        let began = Instant::now();
        for child in let_go(&context, PROCESSES, increments, Tell::ByAndBy)? {
            let others = take_in(&mut made, &child.finish()?)?;
            (0..others).for_each(|_| luck.meet());
        }
        let count = number(entries.find(&counter()).await?.as_ref())?;
        // That no two made the same number of it says which one is lost; the counter itself, that none is.
        ensure_eq!(count, made.len() as u64, "A1: the counter that {PROCESSES} processes incremented so many times");
        if began.elapsed() < BRIEF {
            increments = most.min(2 * increments);
        }
    }
    luck.judge("increments had another process between their read and their write")
}

/// Takes in the numbers that a process made of the counter, each of which nobody else made. How often another process came
/// between its reads and its writes.
fn take_in(made: &mut BTreeSet<u64>, lines: &[String]) -> Outcome<usize> {
    let mut others = 0;
    for line in lines {
        let (number, between) = line.split_once(' ').ok_or_else(|| Failure::harness("an increment in one word"))?;
        let number: u64 = number.parse().map_err(Failure::harness)?;
        ensure!(made.insert(number), "A1: two processes made {number} of the counter");
        others += between.parse::<usize>().map_err(Failure::harness)?;
    }
    Ok(others)
}

/// When a process says what it made of the counter.
#[derive(Clone, Copy)]
enum Tell {
    /// Behind each increment: whoever kills it knows all that it was told was done.
    Each,
    /// Some at a time: while it says something it meets nobody.
    ByAndBy,
}

const BY_AND_BY: &str = "by and by";

/// Starts processes that increment the counter so many times each, from the same moment on.
fn let_go(context: &Context, processes: usize, increments: usize, tell: Tell) -> Outcome<Vec<Child>> {
    let increments = increments.to_string();
    let arguments = match tell {
        Tell::Each => vec![&*increments],
        Tell::ByAndBy => vec![&*increments, BY_AND_BY],
    };
    let start = |_| context.child("increment", &arguments);
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
        let mut doomed = let_go(&context, MANY, increments, Tell::Each)?;
        let rest = doomed.split_off(DOOMED);
        // All count at once: whose turn comes first is killed first, or it would have come to its end before that.
        let mut moments: Vec<usize> = doomed.iter().map(|_| random.usize(..increments)).collect();
        moments.sort_unstable();
        for (child, said) in doomed.into_iter().zip(moments) {
            let cut_off = child.cut_off_after(said, &mut random, STEP)?;
            killed += u64::from(cut_off.killed);
            take_in(&mut made, &cut_off.lines)?;
        }
        for child in rest {
            take_in(&mut made, &child.finish()?)?;
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
    let silence = if cue.arguments.iter().any(|tell| tell == BY_AND_BY) { TICK } else { Duration::ZERO };
    wait_to_go();
    let (mut made, mut said) = (Vec::new(), Instant::now());
    for _ in 0..increments {
        let (number, others) = increment_beside_others(&*instance.entries(), &counter(), 1).await?;
        made.push(format!("{number} {others}"));
        if said.elapsed() >= silence {
            made.drain(..).for_each(say);
            said = Instant::now();
        }
    }
    made.into_iter().for_each(say);
    instance.close().await?;
    Ok(())
}

/// How many operations are to begin while another of the same key is under way.
const OVERLAPS: Hopes = Hopes { floor: 100, enough: 500, rounds: [1, 20] };

/// What several processes, and this one, were told is what one store would have told them.
async fn recorded(context: Context) -> Outcome {
    let mut random = context.random();
    let start = |_| Remote::new(context.child("serve", &[])?).map(Arc::new);
    let remotes = (0..3).map(start).collect::<Outcome<Vec<_>>>()?;
    let mut stores: Vec<Arc<dyn AtomicWrite>> = vec![context.open().await?.entries()];
    stores.extend(remotes.iter().map(|remote| Arc::clone(remote) as _));
    let luck = context.luck_at(Pace::Processes, OVERLAPS);
    for round in luck.rounds() {
        let keys = [key(format!("{round}/a")), key(format!("{round}/b"))];
        let recorder = Recorder::new();
        let clients = stores.iter().cloned().map(|entries| {
            let (mut client, keys, random) = (recorder.client(), keys.clone(), random.fork());
            async move { histories::act(&mut client, &*entries, &keys, random, 60).await }
        });
        let ended = clients::all(clients).await;
        remotes.iter().try_for_each(|remote| remote.ended())?;
        ended?;
        let overlaps = histories::overlaps_of_linearizable(recorder)?;
        (0..overlaps).for_each(|_| luck.meet());
    }
    luck.judge("operations began while another of the same key was under way")
}

/// The same while the processes are killed at random moments, and others take their places.
async fn recorded_amid_kills(context: Context) -> Outcome {
    let mut random = context.random();
    for history in 0..context.rounds(3) {
        record_amid_kills(&context, [key(format!("{history}/a")), key(format!("{history}/b"))], &mut random).await?;
    }
    Ok(())
}

const OPERATIONS: usize = 15;

async fn record_amid_kills(context: &Context, keys: [Key; 2], random: &mut fastrand::Rng) -> Outcome {
    let recorder = Recorder::new();
    let clients = (0..MANY).map(|_| {
        let (mut client, keys, mut random) = (recorder.client(), keys.clone(), random.fork());
        let context = context.clone();
        async move {
            let doomed = Remote::new(context.child("serve", &[])?)?;
            let acted = histories::act(&mut client, &doomed, &keys, random.fork(), random.usize(..OPERATIONS)).await;
            doomed.answered(acted)?;
            let kill = doomed.kill_within(STEP.mul_f64(random.f64()));
            // It ends with an error: what was asked last has an outcome that nobody knows.
            let ended = histories::act(&mut client, &doomed, &keys, random.fork(), usize::MAX).await;
            kill.join().map_err(|_| Failure::harness("the thread that kills panicked"))??;
            doomed.was_killed(ended)?;
            let next = Remote::new(context.child("serve", &[])?)?;
            let acted = histories::act(&mut client, &next, &keys, random.fork(), OPERATIONS).await;
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
