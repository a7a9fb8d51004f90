//! W1 and W2: what is written beside the start of a watch is in its baseline, or told.

use std::{
    collections::BTreeSet,
    hint::spin_loop,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use store_api::{AtomicWrite, Key};

use crate::{
    case::{Case, case},
    clients::{Repeating, beside, both, over_and_over},
    context::{Context, Instance, key},
    failure::Outcome,
    following::{Follower, Scope, State},
    lock::lock,
    operations::{insist, set_all, value},
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W1-caught-up-is-behind-every-difference-amid-writes", [Entries], caught_up_amid_writes),
    case!("watch/W2-a-change-beside-the-start-is-in-the-baseline-or-told", [Entries], beside_the_start),
    case!(
        "watch/W2-another-instances-change-beside-the-start-is-in-the-baseline-or-told",
        [Entries, SharedInstances],
        beside_the_start_by_another_instance
    ),
    case!("watch/W2-one-change-beside-each-start-is-told", [Entries], one_beside_each_start),
    case!(
        "watch/W2-one-change-of-another-instance-beside-each-start-is-told",
        [Entries, SharedInstances],
        one_of_another_instance_beside_each_start
    ),
];

/// Writes in a row, so near to each other that whatever starts meanwhile meets one. Each key is set and, behind the
/// next, set again.
struct March {
    under: Key,
    writes: Vec<(Key, Bytes)>,
    begun: AtomicUsize,
    done: AtomicUsize,
}

impl March {
    /// How many keys it sets.
    const KEYS: usize = 32;

    fn under(path: &str) -> Self {
        let k = |i| key(format!("{path}/{i:02}"));
        let mut writes = vec![(k(0), value("first"))];
        for i in 1..Self::KEYS {
            writes.extend([(k(i), value("first")), (k(i - 1), value("second"))]);
        }
        writes.push((k(Self::KEYS - 1), value("second")));
        Self { under: key(path), writes, begun: AtomicUsize::new(0), done: AtomicUsize::new(0) }
    }

    async fn go(&self, entries: &dyn AtomicWrite) -> Outcome {
        for (key, value) in &self.writes {
            self.begun.fetch_add(1, Ordering::SeqCst);
            insist(|| entries.set(key, value.clone())).await?;
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// How many writes have begun.
    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// How many writes are acknowledged.
    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// The key that is about to be written.
    fn next_key(&self) -> &Key {
        &self.writes[self.begun().min(self.writes.len() - 1)].0
    }

    /// The entries once it is over.
    fn last(&self) -> State {
        self.writes.iter().cloned().collect()
    }

    /// What a key was after each of these numbers of writes.
    fn states_of(&self, key: &Key, after: RangeInclusive<usize>) -> Vec<Option<Bytes>> {
        let state = |writes: usize| self.writes[..writes].iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.clone());
        let mut states: Vec<_> = after.map(state).collect();
        states.dedup();
        states
    }
}

/// A writer that makes one march after the other.
struct Parade {
    marching: Repeating,
    current: Arc<Mutex<Arc<March>>>,
}

impl Parade {
    async fn start(writer: Arc<dyn AtomicWrite>, path: String) -> Outcome<Self> {
        let march = move |number| Arc::new(March::under(&format!("{path}/{number}")));
        let current = Arc::new(Mutex::new(march(0)));
        let publish = Arc::clone(&current);
        let next = move |number| {
            let mut current = lock(&publish);
            // The first one may have a watch already, which counts its writes.
            if number > 0 {
                *current = march(number);
            }
            let (writer, march) = (Arc::clone(&writer), Arc::clone(&current));
            async move { march.go(&*writer).await }
        };
        Ok(Self { marching: over_and_over(next).await?, current })
    }
}

/// A watch that was started while others marched.
struct Started {
    follower: Follower,
    scope: Scope,
    march: Arc<March>,
    /// The number of writes acknowledged before the start.
    before: usize,
    /// The number of writes begun when it was over; `None` for a watch that was given its baseline.
    after: Option<usize>,
}

impl Started {
    /// A watch of the march that is on: of all of it or of the key that is next, from nothing or from what is there.
    async fn amid(context: &Context, entries: &dyn AtomicWrite, march: Arc<March>, kind: usize) -> Outcome<Self> {
        let of_key = kind % 2 == 1;
        let scope = if of_key { Scope::Key(march.next_key().clone()) } else { Scope::Under(march.under.clone()) };
        let before = march.done();
        if kind % 4 < 2 {
            let follower = Follower::from_nothing(context, entries, &scope).await?;
            return Ok(Self { follower, scope, march, before, after: None });
        }
        let follower = Follower::amid_writes(context, entries, &scope).await?;
        let after = Some(march.begun());
        Ok(Self { follower, scope, march, before, after })
    }

    /// Reads until the last of each key is told that surely has to be, or of which anything was told.
    async fn read_what_is_due(&mut self) -> Outcome {
        let last = self.march.last();
        let Some(after) = self.after else { return self.follower.converge(&last).await };
        let due: BTreeSet<&Key> =
            self.march.writes[after..].iter().map(|(key, _)| key).filter(|key| self.scope.covers(key)).collect();
        let is_last = |follower: &Follower, key: &Key| follower.state().get(key) == last.get(key);
        let told = |follower: &Follower| {
            due.iter().all(|key| is_last(follower, key)) && follower.state().keys().all(|key| is_last(follower, key))
        };
        self.follower.until("W2: what changed after the start is told", told).await
    }

    /// Judges what was told of each key.
    fn judge(&self) -> Outcome {
        for (key, last) in self.march.last() {
            if !self.scope.covers(&key) {
                continue;
            }
            let course = self.march.states_of(&key, self.before..=self.march.writes.len());
            self.follower.expect_course(&key, &course)?;
            if let Some(after) = self.after {
                let possible = self.march.states_of(&key, self.before..=after);
                self.follower.expect_start(&key, &possible, Some(&last))?;
            }
        }
        Ok(())
    }
}

/// How many watches are started beside a parade before they are read.
const STARTS: usize = 200;

/// Starts watches beside a parade, one after the other.
///
/// The chance to miss: a gap in the start as long as a write is met by every start for which both threads have a core,
/// one of a tenth of it by one in ten. On an engine in memory a quick run makes thousands of starts, on one that syncs
/// each write some twenty, whose gaps are as long as its reads.
async fn start_beside_parades(context: &Context, watching: &Instance, writing: &Instance, handle: Handle) -> Outcome {
    for round in context.rounds_for_a_moment(1, 1_000) {
        let watcher = watching.entries();
        let writer = match handle {
            Handle::Same => Arc::clone(&watcher),
            Handle::Another => writing.entries(),
        };
        let parade = Parade::start(writer, format!("{handle:?}/{round}")).await?;
        let (of, current) = (context.clone(), Arc::clone(&parade.current));
        let starting = beside(async move {
            let mut all = Vec::new();
            for kind in of.rounds_for_a_moment(16, STARTS) {
                let march = Arc::clone(&*lock(&current));
                all.push(Started::amid(&of, &*watcher, march, kind).await?);
            }
            // The handle stays for as long as its watches do.
            Outcome::Ok((watcher, all))
        });
        let (_watcher, all) = starting.await?.await??;
        parade.marching.end().await?;
        for mut started in all {
            started.read_what_is_due().await?;
            started.judge()?;
        }
    }
    Ok(())
}

/// Whose handle writes beside the start of a watch.
#[derive(Clone, Copy, Debug)]
enum Handle {
    Same,
    Another,
}

async fn beside_the_start(context: Context) -> Outcome {
    let instance = context.open().await?;
    start_beside_parades(&context, &instance, &instance, Handle::Same).await?;
    start_beside_parades(&context, &instance, &instance, Handle::Another).await
}

async fn beside_the_start_by_another_instance(context: Context) -> Outcome {
    let (watching, writing) = (context.open().await?, context.open().await?);
    start_beside_parades(&context, &watching, &writing, Handle::Another).await
}

/// Starts watches of one key, each beside a single change, which no later one can make up for.
async fn start_beside_changes(
    context: &Context,
    rounds: impl Iterator<Item = usize>,
    watching: &Instance,
    writing: &Instance,
) -> Outcome {
    let (watcher, writer) = (watching.entries(), writing.entries());
    let k = key("k");
    let mut random = context.random();
    writer.set(&k, value(0)).await?;
    for round in rounds {
        let (old, new) = (value(round), value(round + 1));
        // A write takes less time than a start: it is to come at any moment of it, and right behind it.
        let spins = random.usize(..4_000);
        let scope = if round % 2 == 0 { Scope::Key(k.clone()) } else { Scope::everything() };
        let (watcher, at, of, before) =
            (Arc::clone(&watcher), k.clone(), context.clone(), [(k.clone(), old.clone())].into());
        let starting = async move {
            let known = Follower::known(&of, &*watcher, &scope, &before).await?;
            let current = Follower::amid_writes(&of, &*watcher, &scope).await?;
            Ok((known, current, watcher.find(&at).await?))
        };
        let (writer, at, set) = (Arc::clone(&writer), k.clone(), new.clone());
        let writing = async move {
            (0..spins).for_each(|_| spin_loop());
            insist(|| writer.set(&at, set.clone())).await
        };
        let ((mut known, mut current, then), ()) = both(starting, writing).await?;
        known.converge(&[(k.clone(), new.clone())].into()).await?;
        // What was not there yet when the start was over is not in its baseline.
        if then.as_ref() == Some(&old) {
            current.until("W2: the change beside the start is told", |current| !current.told(&k).is_empty()).await?;
            current.expect_start(&k, &[Some(old)], Some(&new))?;
        }
    }
    Ok(())
}

async fn one_beside_each_start(context: Context) -> Outcome {
    let instance = context.open().await?;
    start_beside_changes(&context, context.rounds_for_a_moment(60, 20_000), &instance, &instance).await
}

async fn one_of_another_instance_beside_each_start(context: Context) -> Outcome {
    let (watching, writing) = (context.open().await?, context.open().await?);
    start_beside_changes(&context, 0..context.rounds_across_instances(60), &watching, &writing).await
}

async fn caught_up_amid_writes(context: Context) -> Outcome {
    let instance = context.open().await?;
    let entries = instance.entries();
    let quiet = Scope::under("all/quiet");
    let entry = |i: usize, text: &str| (key(format!("all/quiet/{i:03}")), value(text));
    let given: State = (0..200).map(|i| entry(i, if i % 3 == 0 { "other" } else { "same" })).collect();
    let actual: State = (0..300).filter(|i| i % 7 != 0).map(|i| entry(i, "same")).collect();
    set_all(&*entries, actual.clone()).await?;
    for round in 0..context.rounds(3) {
        let march = Arc::new(March::under(&format!("all/busy/{round}")));
        let (known, watcher) = (given.clone(), instance.entries());
        let of = context.clone();
        let starting = async move {
            let mut follower = Follower::known(&of, &*watcher, &Scope::under("all"), &known).await?;
            follower.catch_up().await?;
            Ok(follower)
        };
        let (going, writer) = (Arc::clone(&march), Arc::clone(&entries));
        let (mut follower, ()) = both(starting, async move { going.go(&*writer).await }).await?;
        let caught_up = quiet.part_of(follower.state());
        if caught_up != actual {
            return Err(follower.blame("W1: `CaughtUp` before every difference to the known state was told"));
        }
        let marched = |follower: &Follower| march.last().iter().all(|(k, v)| follower.state().get(k) == Some(v));
        follower.until("W2: what was written beside the start", marched).await?;
    }
    Ok(())
}
