//! The entries, as their handles need them.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use backend_kit::{Context, EntryStore, Gate, Hub, Page, Scope, Test};
use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    future::{Either, ready, select},
    stream::{self, BoxStream},
};
use store_api::{Effect, Error, ErrorKind, Init, Key, Result, TestAndSet, Watch};

use tokio::sync::oneshot;

use crate::{
    Instance,
    client::{Client, Listed},
    entries::is_live,
    names,
    places::Places,
    tasks::to_the_end,
};

/// How many requests a call has under way.
pub(crate) const CONCURRENCY: usize = 16;
/// How many keys, and how many bytes of values, a page of a stream has at the most.
const PAGE_KEYS: usize = 1000;
const PAGE_ENTRIES: usize = 256;
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// How many objects are looked at for a page: between two pages who waits for it can think again.
const PAGE_LISTED: usize = 10_000;

/// How far a stream has come.
#[derive(Default)]
pub(crate) enum Cursor {
    #[default]
    Start,
    /// The rest of a listing. It holds nothing of the object store between two pages.
    Rest(Live),
}

/// The keys of entries that are there, with the sizes of their objects, and `None` for each object that is none of them.
type Live = BoxStream<'static, Result<Option<(Key, u64)>>>;

impl Instance {
    /// The entries at and below a path, as one pass over the listing finds them. It ends with the instance: a listing may
    /// have no end.
    async fn live(self: &Arc<Self>, under: &Key) -> Result<Live> {
        let below = self.entries.client().list(&names::of_scope(under));
        let (client, gate) = (Arc::clone(self.entries.client()), Arc::clone(&self.gate));
        let below = below.map(move |listed| -> Result<_> {
            gate.check()?;
            Ok(live_entry(&client, &listed?))
        });
        // The scope's own entry lies beside what is below it.
        let own = if under.is_root() { None } else { self.entries.size_of(under).await? };
        let own = own.filter(|&size| is_live(size)).map(|size| Ok(Some((under.clone(), size))));
        Ok(stream::iter(own).chain(below).boxed())
    }

    /// Some entries that are there, and how the listing goes on.
    async fn next_live(
        self: &Arc<Self>,
        under: &Key,
        from: Cursor,
        most: usize,
    ) -> Result<(Vec<(Key, u64)>, Option<Cursor>)> {
        let mut live = match from {
            Cursor::Start => self.live(under).await?,
            Cursor::Rest(live) => live,
        };
        let (mut found, mut bytes) = (Vec::new(), 0_u64);
        for _ in 0..PAGE_LISTED {
            let Some(listed) = live.try_next().await? else { return Ok((found, None)) };
            let Some((key, size)) = listed else { continue };
            bytes = bytes.saturating_add(size);
            found.push((key, size));
            if found.len() == most || bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok((found, Some(Cursor::Rest(live))))
    }

    /// Removes all entries, or gives the first error: then no removal begins any more, and those that are under way end,
    /// since the watches are told of each by its answer.
    async fn remove_all(self: Arc<Self>) -> Result<()> {
        let live = self.live(&Key::root()).await?;
        let clearing = Clearing { places: Places::new(CONCURRENCY), has_failed: AtomicBool::new(false) };
        let remove = async |listed: Result<Option<(Key, u64)>>| {
            let removed = self.remove_listed(listed, &clearing).await;
            clearing.has_failed.fetch_or(removed.is_err(), Ordering::Relaxed);
            removed
        };
        let until_failed = live.take_while(|_| ready(!clearing.has_failed()));
        let removals = until_failed.map(remove).buffer_unordered(CONCURRENCY);
        let all = removals.fold(Ok(()), |before: Result<()>, removed| ready(before.and(removed)));
        all.await.map_err(some_removed)
    }

    /// Removes an entry as a listing showed it. A removal reads the value.
    async fn remove_listed(&self, listed: Result<Option<(Key, u64)>>, clearing: &Clearing) -> Result<()> {
        let Some((key, size)) = listed? else { return Ok(()) };
        let _places = clearing.places.take(size).await;
        if clearing.has_failed() {
            return Ok(());
        }
        let patience = self.client.until();
        let _turn = self.turn(&key, patience).await?;
        self.write_entry(&key, &Test::Any, None, patience).await.map(drop)
    }
}

/// What the removals of all entries share.
struct Clearing {
    places: Places,
    /// No other begins.
    has_failed: AtomicBool,
}

impl Clearing {
    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }
}

/// The error of a removal of all entries, of which some may be gone.
fn some_removed(error: Error) -> Error {
    if !error.is_retryable() {
        return error.with_effect(Effect::Unknown);
    }
    let message = "not all entries could be removed; read what is there before you try again";
    Error::new(error.kind(), message).with_effect(Effect::Unknown).with_source(error)
}

/// A listing that begins with some entries, and goes on as it would.
fn unread_first(unread: impl Iterator<Item = (Key, u64)> + Send + 'static, next: Option<Cursor>) -> Live {
    let unread = stream::iter(unread.map(Some).map(Ok));
    match next {
        Some(Cursor::Rest(live)) => unread.chain(live).boxed(),
        Some(Cursor::Start) | None => unread.boxed(),
    }
}

/// The entry that a listed object holds, if it is live. What is not ours is passed over, and said so.
fn live_entry(client: &Client, listed: &Listed) -> Option<(Key, u64)> {
    let key = entry_of(client, listed)?;
    is_live(listed.size).then_some((key, listed.size))
}

/// The key of a listed object. What is not ours is passed over, and said so.
pub(crate) fn entry_of(client: &Client, listed: &Listed) -> Option<Key> {
    let key = names::key_of(&listed.name);
    if key.is_none() {
        client.tell_foreign(listed);
    }
    key
}

impl EntryStore for Instance {
    type Cursor = Cursor;

    fn context(&self) -> Context {
        self.context
    }

    fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    async fn has(self: &Arc<Self>, key: &Key) -> Result<bool> {
        // The empty path has no object, and its name none of an entry (K3).
        if key.is_root() { Ok(false) } else { Ok(self.entries.size_of(key).await?.is_some_and(is_live)) }
    }

    async fn find(self: &Arc<Self>, key: &Key) -> Result<Option<Bytes>> {
        if key.is_root() {
            return Ok(None);
        }
        Ok(self.entries.read(key).await?.value()?.cloned())
    }

    async fn write(self: &Arc<Self>, key: &Key, test: Test, set: Option<Bytes>) -> Result<TestAndSet> {
        let under_way = self.detached.begin()?;
        // Its place is taken here: a write that began later does not overtake it, whether or not its future is dropped.
        let patience = self.client.until();
        let turn = self.turn(key, patience);
        let (instance, key) = (Arc::clone(self), key.clone());
        let (_awaited, given_up) = oneshot::channel::<Infallible>();
        let write = async move {
            // A write that is given up before its turn has come does not happen.
            let _turn = match select(given_up, pin!(turn)).await {
                Either::Left(_) => return Err(Error::new(ErrorKind::Other, "nobody waits for the write")),
                Either::Right((turn, _)) => turn?,
            };
            instance.write_entry(&key, &test, set, patience).await
        };
        to_the_end(&self.runtime, under_way, write).await
    }

    async fn clear(self: &Arc<Self>) -> Result<()> {
        let under_way = self.detached.begin()?;
        to_the_end(&self.runtime, under_way, Arc::clone(self).remove_all()).await
    }

    async fn page_of_keys(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<Key, Cursor>> {
        let (live, next) = self.next_live(&under, from, PAGE_KEYS).await?;
        Ok(Page { items: live.into_iter().map(|(key, _)| Ok(key)).collect(), next })
    }

    async fn page_of_entries(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<(Key, Bytes), Cursor>> {
        let (live, next) = self.next_live(&under, from, PAGE_ENTRIES).await?;
        let read = async |(key, _)| {
            let found = match self.entries.read(&key).await {
                Ok(state) => state.value().map(Option::<&Bytes>::cloned),
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => Err(error),
            };
            // What was removed since the listing is not told.
            Ok(found.map_err(|error| error.with_key(&key)).transpose().map(|value| value.map(|value| (key, value))))
        };
        let mut unread = live.into_iter();
        let (mut items, mut bytes) = (Vec::new(), 0);
        // Values may be longer than the listing said.
        while bytes < PAGE_BYTES && unread.len() > 0 {
            let some = stream::iter(unread.by_ref().take(CONCURRENCY)).map(&read).buffered(CONCURRENCY);
            let some: Vec<_> = some.try_collect().await?;
            items.extend(some.into_iter().flatten());
            bytes = items.iter().flatten().map(|(_, value): &(Key, Bytes)| value.len() as u64).sum();
        }
        let next = if unread.len() == 0 { next } else { Some(Cursor::Rest(unread_first(unread, next))) };
        Ok(Page { items, next })
    }

    async fn watch(self: &Arc<Self>, handle: &Arc<Gate>, scope: Scope, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        let priming = self.observer.register(handle, scope, init, &self.runtime).await?;
        Ok(priming.finish(Arc::clone(self)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
    use store_api::{AtomicWrite, Backend, EntryRead};

    use super::*;
    use crate::S3Options;

    #[tokio::test]
    async fn a9_a_write_that_waits_for_its_turn_takes_it_unpolled_and_not_when_it_was_dropped() {
        let store = S3Options::over(Arc::new(InMemory::new())).open().await.unwrap();
        let entries = store.atomic_write().unwrap();
        let key = Key::new("k").unwrap();
        entries.set(&key, "before".into()).await.unwrap();
        let turn = store.instance.turns.take(&key).await;
        let puts = store.requests().put;
        let mut kept = Box::pin(entries.set(&key, "kept".into()));
        let mut dropped = Box::pin(entries.set(&key, "dropped".into()));
        assert!(poll!(&mut kept).is_pending() && poll!(&mut dropped).is_pending());
        drop(dropped);
        drop(turn);
        entries.set(&key, "last".into()).await.unwrap();
        assert_eq!(store.requests().put - puts, 2);
        kept.await.unwrap();
        assert_eq!(entries.find(&key).await.unwrap(), Some("last".into()));
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_page_ends_behind_many_objects_that_are_no_entries() {
        let bucket = Arc::new(InMemory::new());
        let store = S3Options::over(Arc::clone(&bucket) as _).open().await.unwrap();
        let entries = store.atomic_write().unwrap();
        let key = Key::new("z").unwrap();
        entries.set(&key, "value".into()).await.unwrap();
        for i in 0..=PAGE_LISTED {
            bucket.put(&Path::from(format!("entries/foreign{i}")), "x".into()).await.unwrap();
        }
        let first = Arc::clone(&store.instance).page_of_keys(Key::root(), Cursor::default()).await.unwrap();
        assert!(first.items.is_empty() && first.next.is_some());
        let listed: Vec<Key> = entries.list(&Key::root()).try_collect().await.unwrap();
        assert_eq!(listed, [key]);
    }
}
