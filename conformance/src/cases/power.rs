//! A10, I7, X1 and L4 on a disk that loses power: whatever was not synced is forgotten, whole or in part.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use futures_util::{TryStreamExt, future::try_join3};
use serde::{Deserialize, Serialize};
use store_api::{AtomicWrite, Durability, Event, Init, Key, TestAndSet};
use tokio::{sync::watch, time::timeout};

use crate::{
    case::{Case, case},
    cases::killed::{KILLS, Kills, cut_off, ensure_worked},
    child::{hear, say},
    context::{Context, Instance, key},
    disk::Keep,
    failure::{Failure, Outcome, ensure, ensure_eq},
    fnv::fnv1a,
    luck::Hopes,
    operations::{number, value},
    roles::{Cue, Role, role},
    work::{self, Batches, Clears, Entries, Names, Reopenings, STEP, Synced, Work},
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A10-a-power-loss-loses-nothing-acknowledged", [Entries, SurvivesPowerLoss], power_lost::<Entries>),
    case!("atomic/A10-a-power-loss-brings-back-nothing-cleared", [Entries, SurvivesPowerLoss], power_lost::<Clears>),
    case!("atomic/A10-what-was-synced-survives-a-power-loss", [Entries, Embedded, Reopens], power_lost::<Synced>),
    case!("atomic/A10-nothing-is-shown-that-is-not-synced", [Entries, SurvivesPowerLoss], shown_is_synced),
    case!(
        "atomic/A10-a-power-loss-amid-closing-and-opening-loses-nothing",
        [Entries, SurvivesPowerLoss],
        power_lost::<Reopenings>
    ),
    case!("index/I7-a-power-loss-leaves-whole-batches", [Content, SurvivesPowerLoss], power_lost::<Batches>),
    case!(
        "names/X1-a-power-loss-leaves-no-name-without-content",
        [Entries, Content, SurvivesPowerLoss],
        power_lost::<Names>
    ),
    case!(
        "handle/L4-a-store-opens-after-a-power-loss-while-it-was-opened",
        [Entries, SurvivesPowerLoss],
        power_lost_while_opening
    ),
];

pub(super) const ROLES: &[Role] = &[role!("synced", work::play::<Synced>), role!("tell", tell), role!("show", show)];

/// What is left of what was not synced: nothing, or a part.
fn keep(random: &mut fastrand::Rng) -> Keep {
    if random.bool() { Keep::None } else { Keep::Random { seed: random.u64(..) } }
}

/// Kills children at random moments of their work, and loses the power then.
async fn power_lost<W: Work>(context: Context) -> Outcome {
    let context = context.store_on_disk().await?;
    let mut random = context.random();
    let mut rounds = Vec::new();
    for number in context.rounds_for_a_while(KILLS, 2 * KILLS) {
        rounds.push(cut_off::<W>(&context, number, &mut random)?);
        // Few, since who is shown all may sync what it is shown.
        let (keep, shows) = (keep(&mut random), random.u8(..4) == 0);
        let looked_at = async {
            if shows && context.guarantees().durability == Durability::Power {
                stays(&context, keep).await?;
            } else {
                context.disk().lose_power(keep)?;
            }
            let instance = context.open_when_free(AFTER_A_LOSS).await?;
            // What earlier rounds left is looked at again at the end.
            W::check(&instance, &rounds[number..]).await?;
            instance.close().await.map_err(Failure::from)
        };
        looked_at.await.map_err(|failure| failure.within(format_args!("power loss {number}, {keep:?}")))?;
    }
    W::check(&context.open_when_free(AFTER_A_LOSS).await?, &rounds).await?;
    ensure_worked(&rounds)
}

const AFTER_A_LOSS: &str = "an open after a power loss";

/// All that a store shows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Everything {
    /// The entries, with a checksum of their values.
    entries: BTreeMap<String, u64>,
    /// The keys of the content.
    content: BTreeSet<String>,
}

impl Everything {
    async fn of(instance: &Instance) -> Outcome<Self> {
        let mut everything = Self { entries: BTreeMap::new(), content: BTreeSet::new() };
        if let Some(entries) = instance.atomic_write() {
            let all: Vec<_> = entries.entries(&Key::root()).try_collect().await?;
            everything.entries = all.iter().map(|(key, value)| (key.to_string(), fnv1a(0, value))).collect();
        }
        if let Some(content) = instance.indexable() {
            let all: Vec<_> = content.keys().try_collect().await?;
            everything.content = all.iter().map(|key| key.to_hash().to_string()).collect();
        }
        Ok(everything)
    }
}

/// Says all that the store shows, and keeps it open.
async fn tell(cue: Cue) -> Outcome {
    let everything = Everything::of(&cue.open().await?).await?;
    say(serde_json::to_string(&everything).map_err(Failure::harness)?);
    hear();
    Ok(())
}

/// Loses the power after another process has opened the store and shown it all, and demands that this is there: nothing
/// is shown that is not synced, whoever wrote it and whether it was acknowledged.
pub(super) async fn stays(context: &Context, keep: Keep) -> Outcome {
    let mut child = context.child("tell", &[])?;
    let told: Everything = serde_json::from_str(&child.line()?).map_err(Failure::harness)?;
    child.kill()?;
    context.disk().lose_power(keep)?;
    let instance = context.open_when_free(AFTER_A_LOSS).await?;
    let found = Everything::of(&instance).await?;
    instance.close().await?;
    let differs = told.entries.iter().find(|(key, sum)| found.entries.get(*key) != Some(*sum));
    ensure!(
        differs.is_none(),
        "A10: {} was shown, and is another or gone after a power loss",
        differs.map_or("", |(key, _)| key)
    );
    let beyond = found.entries.keys().find(|key| !told.entries.contains_key(*key));
    ensure!(
        beyond.is_none(),
        "A10: {} was shown as absent, and is there after a power loss",
        beyond.map_or("", |key| key)
    );
    ensure_eq!(found.content, told.content, "A10: the content that was shown before a power loss");
    Ok(())
}

fn counter() -> Key {
    key("counter")
}

/// The key of a mark, which is there before it is removed.
fn mark(number: impl Display) -> Key {
    key(format!("marks/{number}"))
}

/// A write that several clients make at once: the store may find the later of them to be none any more.
#[derive(Clone, Copy, Debug)]
enum Twice {
    /// Sets the counter.
    Set(u64),
    /// Sets the counter, and compares it with what it is then.
    Compare(u64),
    /// Removes a mark.
    Remove(u64),
}

impl Twice {
    async fn write(self, entries: &dyn AtomicWrite) -> store_api::Result<()> {
        match self {
            Self::Set(number) | Self::Compare(number) => entries.set(&counter(), value(number)).await,
            Self::Remove(number) => entries.remove(&mark(number)).await,
        }
    }

    /// The same again; whether it found, or left, what it wants.
    async fn write_again(self, entries: &dyn AtomicWrite) -> bool {
        let Self::Compare(number) = self else { return self.write(entries).await.is_ok() };
        let number = Some(value(number));
        entries.test_and_set(&counter(), number.clone(), number).await.is_ok_and(|compared| compared.is_applied())
    }

    /// Says what must survive.
    fn say(self) {
        match self {
            Self::Set(number) | Self::Compare(number) => say(number),
            Self::Remove(number) => say(format_args!("{REMOVED}{number}")),
        }
    }

    /// Lets one write, and others amid that; each says whether it was acknowledged.
    async fn make(self, entries: &Arc<dyn AtomicWrite>) -> Outcome<Counted> {
        let (made, is_made) = watch::channel(false);
        let others = PAUSES.map(|pause| tokio::spawn(self.make_again(Arc::clone(entries), is_made.clone(), pause)));
        let written = self.write(&**entries).await;
        made.send_replace(true);
        let mut amid = false;
        for other in others {
            amid |= other.await?;
        }
        Ok(match written {
            Ok(()) => {
                self.say();
                ControlFlow::Continue(())
            }
            Err(_) => ControlFlow::Break(if amid { STOPPED_AMID } else { STOPPED }),
        })
    }

    /// Writes after a pause, and for a last time once it was made. Whether that began amid the other write.
    async fn make_again(self, entries: Arc<dyn AtomicWrite>, mut made: watch::Receiver<bool>, pause: Duration) -> bool {
        let amid = timeout(pause, made.wait_for(|made| *made)).await.is_err();
        loop {
            let is_last = *made.borrow();
            if self.write_again(&*entries).await {
                self.say();
                break;
            }
            if is_last {
                break;
            }
            tokio::task::yield_now().await;
        }
        amid
    }
}

/// How long those wait that write the same: one may come too early to find it being written, another too late.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(5)];

/// Precedes the number of a mark whose removal was acknowledged.
const REMOVED: &str = "removed ";

/// How counting goes on, or ends: the line that says so.
type Counted = ControlFlow<&'static str>;

/// Counts to a number, together with other clients, and removes a mark with them.
async fn count_to(number: u64, entries: &Arc<dyn AtomicWrite>) -> Outcome<Counted> {
    if number.is_multiple_of(2) {
        return Twice::Set(number).make(entries).await;
    }
    if entries.set(&mark(number), value(number)).await.is_err() {
        return Ok(ControlFlow::Break(STOPPED));
    }
    let removed = Twice::Remove(number).make(entries).await?;
    if removed.is_break() { Ok(removed) } else { Twice::Compare(number).make(entries).await }
}

/// Counts up, beside those who look: each says a number that it was shown. Nothing else is in the store but marks.
async fn show(cue: Cue) -> Outcome {
    let instance = cue.open().await?;
    let (entries, counter) = (instance.entries(), counter());
    let from = number(entries.find(&counter).await?.as_ref())?;
    let mut watch = entries.watch_key(&counter, Init::Current).await?;
    let counting = async {
        let mut end = COUNTED;
        for number in (from + 1..).take(MOST) {
            // A sync that fails ends it.
            if let ControlFlow::Break(stopped) = count_to(number, &entries).await? {
                end = stopped;
                break;
            }
        }
        say(end);
        // Those who look go on.
        std::future::pending::<Outcome>().await
    };
    let reading = tokio::spawn(look(Arc::clone(&entries), counter.clone()));
    let watching = async {
        while let Some(event) = watch.next().await {
            if let Ok(Event::Changed { diff, .. }) = event {
                say(number(diff.new_value())?);
            }
        }
        Ok::<(), Failure>(())
    };
    try_join3(counting, async { reading.await? }, watching).await.map(drop)
}

/// Says that a write was refused, alone or amid the same by others, or that all numbers were made.
const STOPPED: &str = "stopped";
const STOPPED_AMID: &str = "stopped amid others";
const COUNTED: &str = "counted";
const ENDS: [&str; 3] = [STOPPED, STOPPED_AMID, COUNTED];

/// How often a sync is to fail amid a write that others make as well.
const STOPS: Hopes = Hopes { floor: 4, enough: 6, rounds: [8, 40] };

/// How many milliseconds the first sync takes that fails: long enough for what is not synced to be looked at.
const LATE: u64 = 20;

/// A sync that fails shows in so many numbers.
const MOST: usize = 400;

/// Reads a counter over and over, and compares it with what it is not.
async fn look(entries: Arc<dyn AtomicWrite>, counter: Key) -> Outcome {
    let mut last = 0;
    loop {
        let found = entries.find(&counter).await.ok().flatten();
        let mismatch = entries.test_and_set(&counter, Some(value("never")), None).await;
        let compared = match mismatch {
            Ok(TestAndSet::Mismatch { current }) => current,
            _ => None,
        };
        for shown in [found, compared].iter().flatten() {
            let shown = number(Some(shown))?;
            if shown > last {
                last = shown;
                say(shown);
            }
        }
        tokio::task::yield_now().await;
    }
}

/// What a `find`, a mismatch or a watch showed, or the next process that opened the store, is there after a power loss, at
/// whatever moment, and also where the sync failed; and so is what a write found done that was acknowledged for that.
async fn shown_is_synced(context: Context) -> Outcome {
    let context = context.store_on_disk().await?;
    let mut random = context.random();
    let luck = context.luck(STOPS);
    for round in luck.rounds() {
        let mut child = context.child("show", &[])?;
        let mut said = vec![child.line()?];
        // A next process that is shown all may sync what it is shown.
        let (fails, is_shown_next) = (round % 4 != 2, round % 4 == 0);
        let faults = context.disk().faults()?;
        if fails {
            // What was written stays unsynced, as where the power is lost before the sync is done.
            let after = random.usize(..20);
            context.disk().fail(format_args!("fsync EIO pages=dirty late={LATE} times=1 after={after}"))?;
            context.disk().fail(format_args!("fsync EIO pages=dirty after={after}"))?;
        }
        let lines = if fails { usize::MAX } else { random.usize(..100) };
        while said.len() <= lines && said.last().is_none_or(|line| !ENDS.contains(&line.as_str())) {
            said.push(child.line()?);
        }
        if !is_shown_next && said.iter().any(|line| line == STOPPED_AMID) {
            luck.meet();
        }
        said.extend(child.kill_after(0, &mut random, STEP)?);
        let ignored = said.iter().any(|line| line == COUNTED) && context.disk().faults()? > faults;
        ensure!(!ignored, "A10: {MOST} numbers were acknowledged, though a sync among them had failed");
        context.disk().mend()?;
        if is_shown_next {
            stays(&context, Keep::None).await?;
        } else {
            context.disk().lose_power(keep(&mut random))?;
        }
        let shown: u64 = said.iter().filter_map(|line| line.parse().ok()).max().unwrap_or(0);
        let instance = context.open_when_free(AFTER_A_LOSS).await?;
        let found = number(instance.entries().find(&counter()).await?.as_ref())?;
        ensure!(found >= shown, "A10: {shown} was shown, and after power loss {round} {found} is there");
        for removed in said.iter().filter_map(|line| line.strip_prefix(REMOVED)) {
            let found = instance.entries().find(&mark(removed)).await?;
            ensure!(found.is_none(), "A10: mark {removed} was removed, and is there after power loss {round}");
        }
        instance.close().await?;
    }
    luck.judge("syncs failed amid a write that others made as well")
}

/// Loses the power somewhere in an `open`: one that creates the store, and those that find what a writer left.
async fn power_lost_while_opening(context: Context) -> Outcome {
    let mut random = context.random();
    let (mut first, mut later) = Kills::of_first_and_later_opens(&context.store_on_disk().await?)?;
    for round in 0..context.rounds(3) {
        let context = first.in_a_first_open(&mut random, || context.store_on_disk()).await?;
        context.disk().lose_power(keep(&mut random))?;
        context.open_when_free("an open after a power loss in the first open").await?.close().await?;
        let said = [cut_off::<Entries>(&context, round, &mut random)?];
        for _ in 0..2 {
            context.disk().lose_power(keep(&mut random))?;
            later.in_an_open(&context, &mut random)?;
        }
        context.disk().lose_power(keep(&mut random))?;
        let instance = context.open_when_free("an open after power losses in later opens").await?;
        Entries::check(&instance, &said).await?;
        instance.close().await?;
    }
    Ok(())
}
