//! The entries, as their handles need them.

use std::{convert::Infallible, pin::pin, sync::Arc};

use backend_kit::{Context, EntryStore, Gate, Hub, Page, Scope, Test};
use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    future::{Either, select},
    stream::{self, BoxStream},
};
use store_api::{Effect, Error, ErrorKind, Init, Key, Result, TestAndSet, Watch};

use tokio::sync::oneshot;

use crate::{
    Instance, S3_CONTEXT,
    client::{Client, Listed},
    entries::is_live,
    names,
    tasks::to_the_end,
};

/// How many requests a call has under way.
pub(crate) const CONCURRENCY: usize = 16;
/// How many keys, and how many bytes of values, a page of a stream has at the most.
const PAGE_KEYS: usize = 1000;
const PAGE_ENTRIES: usize = 256;
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// How far a stream has come.
#[derive(Default)]
pub(crate) enum Cursor {
    #[default]
    Start,
    /// The rest of a listing. It holds nothing of the object store between two pages.
    Rest(Live),
}

/// The keys of entries that are there, with the sizes of their objects.
type Live = BoxStream<'static, Result<(Key, u64)>>;

impl Instance {
    /// The entries at and below a path, as one pass over the listing finds them.
    async fn live(self: &Arc<Self>, under: &Key) -> Result<Live> {
        let below = self.entries.client().list(&names::of_scope(under));
        let client = Arc::clone(self.entries.client());
        let live = move |listed: Listed| ready(Ok(live_entry(&client, &listed)));
        let below = below.map_err(Error::from).try_filter_map(live);
        // The scope's own entry lies beside what is below it.
        let own = if under.is_root() { None } else { self.entries.size_of(under).await? };
        let own = own.filter(|&size| is_live(size)).map(|size| Ok((under.clone(), size)));
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
        let mut found = Vec::new();
        let mut bytes = 0;
        while let Some((key, size)) = live.try_next().await? {
            bytes += size;
            found.push((key, size));
            if found.len() == most || bytes >= PAGE_BYTES {
                return Ok((found, Some(Cursor::Rest(live))));
            }
        }
        Ok((found, None))
    }

    async fn remove_all(self: Arc<Self>) -> Result<()> {
        let live = self.live(&Key::root()).await?;
        let remove = async |(key, _)| {
            let patience = self.client.until();
            let _turn = self.turn(&key, patience).await?;
            self.write_entry(&key, &Test::Any, None, patience).await.map(drop)
        };
        live.try_for_each_concurrent(CONCURRENCY, remove).await.map_err(some_removed)
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
    let unread = stream::iter(unread.map(Ok));
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
    const CONTEXT: Context = S3_CONTEXT;

    type Cursor = Cursor;

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
