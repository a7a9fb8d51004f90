//! A7: what a list has while the store goes on changing, and that it holds up nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{AtomicWrite, ContentKey, EntryRead, EntryReadExt, IndexedExt, Key};

use crate::{
    case::{Case, case},
    clients::beside,
    context::{Context, Instance, key},
    failure::{Failure, Outcome, ensure, ensure_eq},
    luck::Hopes,
    operations::{insist, set_all, until_answered, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A7-a-long-list-is-whole", [Entries], long_list),
    case!("atomic/A7-a-list-amid-changes-has-what-was-there-and-nothing-else", [Entries], amid_changes),
    case!(
        "atomic/A7-a-list-amid-changes-by-another-instance-has-what-was-there-and-nothing-else",
        [Entries, SharedInstances],
        amid_changes_by_another_instance
    ),
    case!("atomic/A7-a-half-read-list-holds-up-no-write", [Entries], half_read),
    case!("atomic/A7-a-half-read-list-still-has-what-stayed", [Entries], half_read_and_finished),
    case!("atomic/A7-the-keys-of-much-content-are-whole", [Content], many_contents),
    case!("atomic/A7-content-keys-amid-adds-have-what-was-there-and-nothing-else", [Content], contents_amid_adds),
    case!("atomic/A7-half-read-content-keys-hold-up-no-add", [Content], half_read_contents),
];

/// How many keys stay while others come and go: more than a backend reads at a time.
const STAYING: usize = 2_000;

/// Between the keys that stay, so many come and go.
const PASSING: usize = 200;

fn staying() -> Vec<(Key, Bytes)> {
    (0..STAYING).map(|i| (key(format!("all/{i}/stays")), value(i))).collect()
}

fn passing(i: usize) -> Key {
    key(format!("all/{}/passes", i % PASSING * (STAYING / PASSING)))
}

async fn long_list(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let all: Vec<(Key, Bytes)> = (0..3_000).map(|i| (key(format!("{}/{i}", i % 13)), value(i))).collect();
    set_all(&*entries, all.clone()).await?;
    let due: BTreeSet<(Key, Bytes)> = all.into_iter().collect();
    let keys: Vec<Key> = due.iter().map(|(key, _)| key.clone()).collect();
    ensure_eq!(entries.list_sorted(&Key::root()).await?, keys, "the list of many keys");
    ensure_eq!(entries.entries_sorted(&Key::root()).await?, Vec::from_iter(due), "many entries");
    let below: Vec<Key> = keys.into_iter().filter(|listed| key("7").covers(listed)).collect();
    ensure_eq!(entries.list_sorted(&key("7")).await?, below, "the list of one path among many");
    Ok(())
}

/// The time between two instants of a [`Clock`].
type Span = (u64, u64);

/// Instants, in the order in which they happen.
#[derive(Default)]
struct Clock(AtomicU64);

impl Clock {
    fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel)
    }

    /// Does something, and tells when: its first instant is before it began, its last one after it ended.
    async fn span<T>(&self, act: impl Future<Output = Outcome<T>>) -> Outcome<(T, Span)> {
        let began = self.now();
        Ok((act.await?, (began, self.now())))
    }
}

/// An entry from when it was set until it was removed, and the spans of both calls.
#[derive(Clone)]
struct Life {
    value: Bytes,
    set: Span,
    /// Of an entry that was not removed: later than anything.
    removed: Span,
}

const NEVER: Span = (u64::MAX, u64::MAX);

impl Life {
    /// Whether it was there all through.
    fn covers(&self, (began, ended): Span) -> bool {
        self.set.1 < began && ended < self.removed.0
    }

    /// Whether it can have been there at any instant.
    fn touches(&self, (began, ended): Span) -> bool {
        self.set.0 < ended && began < self.removed.1
    }
}

type Lives = BTreeMap<Key, Vec<Life>>;

/// What a list gave, with values where it was one of entries, and when.
struct Listing {
    items: Vec<(Key, Option<Bytes>)>,
    span: Span,
}

/// Sets and removes passing keys until told to stop, so that some are there at any time.
async fn keep_changing(entries: Arc<dyn AtomicWrite>, clock: Arc<Clock>, over: Arc<AtomicBool>) -> Outcome<Lives> {
    let mut lives = Lives::new();
    for i in 0.. {
        if over.load(Ordering::Acquire) {
            break;
        }
        let (k, set_to) = (passing(i * 7), value(i));
        let ((), set) = clock.span(insist(|| entries.set(&k, set_to.clone()))).await?;
        lives.entry(k).or_default().push(Life { value: set_to, set, removed: NEVER });
        // By other steps than it sets them: 5 keys are there at a time.
        let Some(k) = i.checked_sub(5).map(|i| passing(i * 7)) else { continue };
        let ((), removed) = clock.span(insist(|| entries.remove(&k))).await?;
        if let Some(life) = lives.get_mut(&k).and_then(|lives| lives.last_mut()) {
            life.removed = removed;
        }
    }
    Ok(lives)
}

async fn list(entries: &dyn EntryRead, clock: &Clock, under: &Key, with_values: bool) -> Outcome<Listing> {
    let listing = async {
        if with_values {
            let all: Vec<_> = insist(|| entries.entries(under).try_collect()).await?;
            return Ok(all.into_iter().map(|(key, value): (Key, Bytes)| (key, Some(value))).collect());
        }
        let all: Vec<_> = insist(|| entries.list(under).try_collect()).await?;
        Ok(all.into_iter().map(|key| (key, None)).collect())
    };
    let (items, span) = clock.span(listing).await?;
    Ok(Listing { items, span })
}

/// How many lists are to have changes in their time.
const AMID_CHANGES: Hopes = Hopes { floor: 6, enough: 30, rounds: [6, 60] };

impl Listing {
    /// Whether somebody else looked at the clock in its time.
    fn is_amid_changes(&self) -> bool {
        let (began, ended) = self.span;
        ended - began > 1
    }

    fn judge(self, lives: &Lives) -> Outcome {
        let listed = self.items.len();
        let items: BTreeMap<Key, Option<Bytes>> = self.items.into_iter().collect();
        ensure_eq!(items.len(), listed, "keys that are listed, counted once each");
        for (k, listed) in &items {
            let of_key = lives.get(k).map(Vec::as_slice).unwrap_or_default();
            let mut possible = of_key.iter().filter(|life| life.touches(self.span)).peekable();
            ensure!(possible.peek().is_some(), "{} is listed and was absent all through", shown(k));
            let Some(listed) = listed else { continue };
            let known = possible.any(|life| life.value == *listed);
            ensure!(known, "{} is listed with {}, which it was at no time of it", shown(k), shown(listed));
        }
        for (k, of_key) in lives {
            let stayed = of_key.iter().any(|life| life.covers(self.span));
            ensure!(!stayed || items.contains_key(k), "{} was there all through and is not listed", shown(k));
        }
        Ok(())
    }
}

async fn amid_changes(context: Context) -> Outcome {
    let instance = context.open().await?;
    lists_amid_changes(&context, &instance, &instance).await
}

async fn amid_changes_by_another_instance(context: Context) -> Outcome {
    let (one, two) = (context.open().await?, context.open().await?);
    lists_amid_changes(&context, &one, &two).await
}

/// Lists over and over while entries come and go, and judges each list by what was there in its time.
async fn lists_amid_changes(context: &Context, reader: &Instance, writer: &Instance) -> Outcome {
    let (clock, over) = (Arc::new(Clock::default()), Arc::new(AtomicBool::new(false)));
    let ((), set) = clock.span(set_all(&*writer.entries(), staying())).await?;
    let changing = beside(keep_changing(writer.entries(), Arc::clone(&clock), Arc::clone(&over))).await?;
    let luck = context.luck(AMID_CHANGES);
    let lists = async {
        let entries = reader.entries();
        let mut lists = Vec::new();
        for round in luck.rounds() {
            let under = [Key::root(), key("all")][round / 2 % 2].clone();
            let list = list(&*entries, &clock, &under, round % 2 == 0).await?;
            if list.is_amid_changes() {
                luck.meet();
            }
            lists.push(list);
        }
        Ok::<_, Failure>(lists)
    };
    let lists = lists.await;
    over.store(true, Ordering::Release);
    let mut lives = changing.await??;
    lives.extend(staying().into_iter().map(|(key, value)| (key, vec![Life { value, set, removed: NEVER }])));
    lists?.into_iter().try_for_each(|list| list.judge(&lives))?;
    luck.judge("lists had changes begin or end in their time")
}

async fn half_read(context: Context) -> Outcome {
    /// How many keys are left for `clear`, which may take an answer for each.
    const FEW: usize = 20;
    let instance = context.open().await?;
    let entries = instance.entries();
    set_all(&*entries, staying()).await?;
    let (mut keys, mut both) = (entries.list(&Key::root()), entries.entries(&key("all")));
    ensure!(keys.next().await.transpose()?.is_some(), "a list of nothing where there is much");
    ensure!(both.next().await.transpose()?.is_some(), "entries of nothing where there is much");
    let writes = || async {
        let k = key("all/0/stays");
        entries.set(&k, value("set")).await?;
        ensure!(entries.test_and_set(&k, Some(value("set")), None).await?.is_applied(), "it was just set");
        entries.remove(&key("all/1/stays")).await?;
        Ok(instance.sync().await?)
    };
    context.soon("writes beside half-read lists", until_answered(writes)).await??;
    let removed = AtomicUsize::new(0);
    let removes = stream::iter(staying()).skip(FEW).map(|(k, _)| {
        let (entries, removed) = (&entries, &removed);
        async move {
            until_answered(|| async { Ok(entries.remove(&k).await?) }).await?;
            removed.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Failure>(())
        }
    });
    let removes = removes.buffer_unordered(64).try_collect::<()>();
    context.steadily("removes beside half-read lists", &removed, removes).await??;
    let clear = until_answered(|| async { Ok(entries.clear().await?) });
    context.soon("a `clear` beside half-read lists", clear).await??;
    ensure_eq!(entries.list_sorted(&Key::root()).await?, [], "the keys after a `clear`");
    drop((keys, both));
    Ok(())
}

async fn half_read_and_finished(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    set_all(&*entries, staying()).await?;
    set_all(&*entries, (0..PASSING).step_by(2).map(|i| (passing(i), value(i)))).await?;
    let mut list = entries.list(&Key::root());
    let mut listed = Vec::from_iter(list.next().await.transpose()?);
    for i in (0..PASSING).step_by(2) {
        entries.remove(&passing(i)).await?;
    }
    set_all(&*entries, (1..PASSING).step_by(2).map(|i| (passing(i), value(i)))).await?;
    listed.extend(list.try_collect::<Vec<_>>().await?);
    let distinct: BTreeSet<&Key> = listed.iter().collect();
    ensure_eq!(distinct.len(), listed.len(), "keys that are listed, counted once each");
    for (k, _) in staying() {
        ensure!(distinct.contains(&k), "{} was there all through and is not listed", shown(&k));
    }
    Ok(())
}

async fn many_contents(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let batched = content.batch(|batch| async move {
        stream::iter(0..3_000).then(|i| batch.add(value(i))).try_collect::<BTreeSet<_>>().await
    });
    let due = batched.await?;
    let listed: Vec<ContentKey> = content.keys().try_collect().await?;
    ensure_eq!(listed.len(), due.len(), "how many keys are listed");
    ensure!(
        listed.into_iter().collect::<BTreeSet<_>>() == due,
        "the keys that are listed are not those that were added"
    );
    Ok(())
}

async fn contents_amid_adds(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let add = |i: usize| {
        let content = Arc::clone(&content);
        async move { insist(|| content.add(value(i))).await }
    };
    let adds = |range| stream::iter(range).map(add).buffer_unordered(16).try_collect::<BTreeSet<ContentKey>>();
    let before = content.batch(|batch| async move {
        stream::iter(0..3_000).then(|i| batch.add(value(i))).try_collect::<BTreeSet<_>>().await
    });
    let before = before.await?;
    let mut keys = content.keys();
    let first = keys.next().await.transpose()?;
    let (rest, during) = tokio::join!(keys.try_collect::<Vec<_>>(), adds(3_000..3_300));
    let listed: Vec<ContentKey> = first.into_iter().chain(rest?).collect();
    let distinct: BTreeSet<ContentKey> = listed.iter().copied().collect();
    ensure_eq!(distinct.len(), listed.len(), "keys that are listed, counted once each");
    ensure_eq!(before.difference(&distinct).count(), 0, "how many keys that were there are missing");
    let during = during?;
    let foreign = distinct.difference(&before).filter(|key| !during.contains(key)).count();
    ensure_eq!(foreign, 0, "how many keys are of nothing that was added");
    Ok(())
}

async fn half_read_contents(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    content
        .batch(
            |batch| async move { stream::iter(0..2_000).then(|i| batch.add(value(i))).try_collect::<Vec<_>>().await },
        )
        .await?;
    let mut keys = content.keys();
    ensure!(keys.next().await.transpose()?.is_some(), "no keys where there are many");
    let adds = || async {
        content.add(value("more")).await?;
        content.batch(|batch| async move { batch.add(value("batched")).await }).await?;
        Ok(instance.sync().await?)
    };
    context.soon("adds beside half-read keys", until_answered(adds)).await??;
    Ok(())
}
