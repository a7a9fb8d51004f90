//! A store inside another's: its entries lie below a prefix, its content is the other's. What a store does is left to
//! the one outside.

#![deny(clippy::missing_trait_methods)]

mod content;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    future::{join_all, ready},
    stream,
};

use crate::{
    AtomicWrite, Backend, Effect, EntryRead, EntryStream, Error, ErrorKind, Event, Guarantees, Indexable, Init, Key,
    KeyStream, Result, TestAndSet, Watch, WatchId,
};

use self::content::Holding;

/// How many removals of a `clear` are under way together: enough for a store that syncs in groups.
const CLEARED_TOGETHER: usize = 64;

/// A store whose entries are those of another store below a prefix, and whose content is the other's.
///
/// # Behavior
///
/// - Keys are the prefixed store's own, in events, streams and errors too. The entry of the other store at the prefix
///   itself is not part of it: the root is a scope, not an entry (K3).
/// - The longest key is 255 bytes less the prefix and a `/`; a longer one is `InvalidKey` (K1).
/// - `clear` lists and removes key by key, only below the prefix (A8); content stays. When it fails midway, its effect
///   is `Unknown`.
/// - The guarantees are those of the other store; `sync` syncs, and `check` checks, all of it.
/// - `close` closes every handle that came from this view; handles taken later are closed from the start. The other
///   store stays open for whoever shares it. Clones are one view.
///
/// ```
/// use irminsul::{Key, Prefixed, prelude::*};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> irminsul::Result<()> {
/// let store = irminsul::open("mem:").await?;
/// let tenant = Prefixed::new(store.clone(), Key::new("tenants/42")?);
/// tenant.atomic_write().expect("mem has entries").set(&Key::new("name")?, "Ada".into()).await?;
///
/// let whole = store.atomic_write().expect("mem has entries");
/// assert_eq!(whole.find(&Key::new("tenants/42/name")?).await?.unwrap(), "Ada");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Prefixed {
    inner: Arc<dyn Backend>,
    prefix: Key,
    given_out: Arc<Mutex<GivenOut>>,
}

/// The handles that a view gave out, to be closed with it.
#[derive(Default)]
struct GivenOut {
    entries: Handles<dyn AtomicWrite>,
    content: Handles<dyn Indexable>,
}

struct Handles<T: ?Sized> {
    open: Vec<Weak<T>>,
    /// Whether the view is closed; it then gives out `closed`.
    is_closed: bool,
    closed: Option<Arc<T>>,
}

impl<T: ?Sized> Handles<T> {
    fn give_out(&mut self, open: impl FnOnce() -> Option<Arc<T>>) -> Option<Arc<T>> {
        if self.is_closed {
            return self.closed.clone();
        }
        let handle = open()?;
        if self.open.len() == self.open.capacity() {
            self.open.retain(|handle| handle.strong_count() > 0);
        }
        self.open.push(Arc::downgrade(&handle));
        Some(handle)
    }

    /// Gives out `closed` from here on, unless there is such already. What comes back is to be closed.
    fn close(&mut self, closed: Option<Arc<T>>) -> Vec<Arc<T>> {
        if !self.is_closed {
            self.is_closed = true;
            self.closed = closed;
        }
        self.open.iter().filter_map(Weak::upgrade).chain(self.closed.clone()).collect()
    }
}

impl<T: ?Sized> Default for Handles<T> {
    fn default() -> Self {
        Self { open: Vec::new(), is_closed: false, closed: None }
    }
}

impl Prefixed {
    /// The store below `prefix` of another one. With the root as prefix it is all of it.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, prefix: Key) -> Self {
        Self { inner: backend, prefix, given_out: Arc::default() }
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &Key {
        &self.prefix
    }

    fn ensure_open(&self, operation: &'static str) -> Result<()> {
        if self.given_out().entries.is_closed { Err(Error::closed().with_operation(operation)) } else { Ok(()) }
    }

    fn given_out(&self) -> MutexGuard<'_, GivenOut> {
        self.given_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Prefixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefixed").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for Prefixed {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        let inner = self.given_out().entries.give_out(|| self.inner.atomic_write())?;
        Some(Arc::new(Entries { inner, below: Below { prefix: self.prefix.clone() } }))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        let inner = self.given_out().content.give_out(|| self.inner.indexable())?;
        Some(Arc::new(Holding::new(inner)))
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }

    async fn sync(&self) -> Result<()> {
        self.ensure_open("sync")?;
        self.inner.sync().await
    }

    async fn check(&self) -> Result<()> {
        self.ensure_open("check")?;
        self.inner.check().await
    }

    // Each call closes all handles, so that one whose future was dropped halfway can be made up for.
    async fn close(&self) -> Result<()> {
        let entries = self.given_out().entries.close(self.inner.atomic_write());
        let content = self.given_out().content.close(self.inner.indexable());
        let mut outcome = Ok(());
        for handle in entries {
            outcome = outcome.and(handle.close().await);
        }
        for handle in content {
            outcome = outcome.and(handle.close().await);
        }
        // Writes that nobody waits for any longer have landed when this returns (A9).
        match self.inner.sync().await {
            Err(error) if error.kind() != ErrorKind::Closed => outcome.and(Err(error)),
            _ => outcome,
        }
    }
}

/// A handle on the entries.
struct Entries {
    inner: Arc<dyn AtomicWrite>,
    below: Below,
}

/// The way between the keys of the prefixed store and those of the one outside.
#[derive(Clone)]
struct Below {
    prefix: Key,
}

impl Below {
    /// The scope outside of a scope inside.
    fn scope(&self, key: &Key) -> Result<Key> {
        self.prefix.join_key(key).map_err(|_| self.too_long(key))
    }

    fn too_long(&self, key: &Key) -> Error {
        let longest = Key::MAX_LEN.saturating_sub(self.prefix.as_str().len() + 1);
        let len = key.as_str().len();
        let message = format!("a key of {len} bytes is longer than the {longest} that the prefix leaves: shorten it");
        Error::new(ErrorKind::InvalidKey, message).with_key(key)
    }

    /// The entry outside of an entry inside. The root is an entry on neither side: the store outside says what that
    /// means for the operation.
    fn entry(&self, key: &Key) -> Result<Key> {
        if key.is_root() { Ok(key.clone()) } else { self.scope(key) }
    }

    /// The key inside of an entry outside, or `None` for the one at the prefix itself.
    fn key(&self, key: Key) -> Option<Key> {
        if self.prefix.is_root() {
            return Some(key);
        }
        key.strip_prefix(&self.prefix).filter(|key| !key.is_root())
    }

    fn key_value(&self, (key, value): (Key, Bytes)) -> Option<(Key, Bytes)> {
        Some((self.key(key)?, value))
    }

    fn event(&self, event: Event) -> Option<Event> {
        match event {
            Event::Changed { key, diff } => Some(Event::Changed { key: self.key(key)?, diff }),
            other => Some(other),
        }
    }

    /// What is left of a stream's item inside.
    fn item<T>(&self, item: Result<T>, inside: fn(&Self, T) -> Option<T>) -> Option<Result<T>> {
        match item {
            Ok(item) => inside(self, item).map(Ok),
            Err(error) if error.kind() == ErrorKind::Corrupt && error.key() == Some(self.prefix.as_str()) => None,
            Err(error) => Some(Err(self.error(error))),
        }
    }

    /// The same error about the key inside.
    fn error(&self, error: Error) -> Error {
        if self.prefix.is_root() {
            return error;
        }
        let key = error.key().and_then(|key| Key::new(key).ok()).and_then(|key| key.strip_prefix(&self.prefix));
        match key {
            Some(key) => error.with_key_replaced(key),
            None => error,
        }
    }
}

#[async_trait]
impl EntryRead for Entries {
    async fn mem(&self, key: &Key) -> Result<bool> {
        let outside = self.below.entry(key)?;
        self.inner.mem(&outside).await.map_err(|error| self.below.error(error))
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        let outside = self.below.entry(key)?;
        self.inner.find(&outside).await.map_err(|error| self.below.error(error))
    }

    fn list(&self, under: &Key) -> KeyStream {
        match self.below.scope(under) {
            Ok(outside) => Box::pin(self.inside(self.inner.list(&outside), Below::key)),
            Err(error) => Box::pin(stream::once(ready(Err(error)))),
        }
    }

    fn entries(&self, under: &Key) -> EntryStream {
        match self.below.scope(under) {
            Ok(outside) => Box::pin(self.inside(self.inner.entries(&outside), Below::key_value)),
            Err(error) => Box::pin(stream::once(ready(Err(error)))),
        }
    }

    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        let outside = self.below.scope(under)?;
        let init = match init {
            Init::Current => Init::Current,
            Init::Known(entries) => {
                let outside = |(key, value)| Ok((self.below.entry(&key)?, value));
                Init::Known(entries.into_iter().map(outside).collect::<Result<_>>()?)
            }
        };
        self.watch_inside(self.inner.watch(&outside, init).await)
    }

    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        let outside = self.below.entry(key)?;
        self.watch_inside(self.inner.watch_key(&outside, init).await)
    }

    async fn unwatch(&self, id: WatchId) -> Result<()> {
        self.inner.unwatch(id).await
    }
}

#[async_trait]
impl AtomicWrite for Entries {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        let outside = self.below.entry(key)?;
        self.inner.set(&outside, value).await.map_err(|error| self.below.error(error))
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        let outside = self.below.entry(key)?;
        self.inner.test_and_set(&outside, test, set).await.map_err(|error| self.below.error(error))
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        let outside = self.below.entry(key)?;
        self.inner.remove(&outside).await.map_err(|error| self.below.error(error))
    }

    async fn clear(&self) -> Result<()> {
        let mut groups = self.list(&Key::root()).chunks(CLEARED_TOGETHER);
        let mut applied = false;
        while let Some(keys) = groups.next().await {
            let outcomes = join_all(keys.into_iter().map(async |key| self.remove(&key?).await)).await;
            applied |= outcomes.iter().any(|outcome| match outcome {
                Ok(()) => true,
                Err(error) => error.effect() == Effect::Unknown,
            });
            if let Some(error) = outcomes.into_iter().find_map(Result::err) {
                return Err(if applied { error.with_effect(Effect::Unknown) } else { error });
            }
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl Entries {
    fn watch_inside(&self, watch: Result<Watch>) -> Result<Watch> {
        let watch = watch.map_err(|error| self.below.error(error))?;
        Ok(Watch::new(watch.id(), self.inside(watch, Below::event)))
    }

    /// A stream of the store outside, with what is inside and under its keys there. It holds the handle, so that it ends
    /// when the view is closed.
    fn inside<T, S>(&self, items: S, inside: fn(&Below, T) -> Option<T>) -> impl Stream<Item = Result<T>> + use<T, S>
    where
        S: Stream<Item = Result<T>>,
    {
        let (handle, below) = (Arc::clone(&self.inner), self.below.clone());
        items.filter_map(move |item| {
            let _ = &handle;
            ready(below.item(item, inside))
        })
    }
}
