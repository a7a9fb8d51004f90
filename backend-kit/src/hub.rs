//! The watch hub: takes changes from where they commit, and tells them to the watches that cover them.
//!
//! It knows no store. Whoever commits feeds it, per key, an unbroken chain: the state before each change is the one after
//! the change fed before. So a watch needs a record only of the keys that changed since it began, and one that is
//! registered at the current state costs nothing in proportion to the store.

mod watch;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Waker,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use store_api::{Error, ErrorKind, Init, Key, Result, Watch, WatchId};

use self::watch::{Events, WatchState};
use crate::{
    Gate,
    sync::{AtomicUsize, Ordering, RwLock, fence},
};

type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A change of one entry, as it was committed or observed.
#[derive(Clone)]
pub struct Change {
    /// The key of the entry.
    pub key: Key,
    /// Grows with each change of the key, from 1, also across its removal. It puts a change and what was
    /// [offered](Priming::offer) in their order: what is not newer than the last is dropped.
    pub seq: u64,
    /// The state before: the `new` of the key's previous change, where there was one.
    pub old: Old,
    /// The state after; `None` is absent.
    pub new: Option<Bytes>,
}

// Values are the application's secrets: their sizes are shown (E2).
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("key", &self.key)
            .field("seq", &self.seq)
            .field("old", &self.old)
            .field("new", &Old::from(self.new.clone()))
            .finish()
    }
}

/// The state of an entry before a change.
#[derive(Clone, PartialEq, Eq)]
pub enum Old {
    /// There was none.
    Absent,
    /// There was one, with this value where it is known.
    Present(Option<Bytes>),
}

impl From<Option<Bytes>> for Old {
    fn from(value: Option<Bytes>) -> Self {
        value.map_or(Self::Absent, |value| Self::Present(Some(value)))
    }
}

impl fmt::Debug for Old {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Present(None) => f.write_str("Present(?)"),
            Self::Present(Some(value)) => write!(f, "Present({} bytes)", value.len()),
        }
    }
}

/// What a watch covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One entry.
    Key(Key),
    /// The entries at and below a path (W12).
    Under(Key),
}

impl Scope {
    /// Whether an entry of this key belongs to it.
    #[must_use]
    pub fn covers(&self, key: &Key) -> bool {
        match self {
            Self::Key(own) => own == key,
            Self::Under(scope) => scope.covers(key),
        }
    }

    /// The path that it is about.
    #[must_use]
    pub fn path(&self) -> &Key {
        match self {
            Self::Key(path) | Self::Under(path) => path,
        }
    }
}

/// The watches of a store.
///
/// Whoever feeds it keeps three rules:
///
/// - A change is applied, then [`is_watched`](Self::is_watched) is asked, then it is [published](Self::publish). Where no
///   watch is registered meanwhile, it may be asked before.
/// - Changes of one key are published in their order, as an unbroken chain: the state before each is the one after the
///   one before it. An absent key is forgotten once it is told, so a late older change of it would be told as a new one.
/// - What [`Wakers`] hold is woken when no lock is held.
#[derive(Default)]
pub struct Hub {
    /// How many watch, or are about to. What lets a commit without watches pay one atomic load.
    interested: AtomicUsize,
    registry: RwLock<Registry>,
}

#[derive(Default)]
struct Registry {
    watches: HashMap<WatchId, Registered>,
    by_key: HashMap<Key, Vec<Arc<WatchState>>>,
    by_scope: HashMap<Key, Vec<Arc<WatchState>>>,
    generation: u64,
}

struct Registered {
    scope: Scope,
    /// The gate of the handle that it belongs to.
    handle: Arc<Gate>,
    state: Arc<WatchState>,
}

impl Hub {
    /// A hub without watches.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether anybody watches. Ask after the commit was applied, and publish if so.
    ///
    /// Either this sees a watch's interest, or the commit was applied before that watch took its baseline: the commit
    /// applies, fences and loads; the watch shows its interest as it is [prepared](Self::prepare), fences, and reads the
    /// store.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        fence(Ordering::SeqCst);
        self.interested.load(Ordering::Relaxed) != 0
    }

    /// Whether a [registered](Prepared::register) watch covers this key: for a store that reads the state before a change
    /// only where it is told.
    ///
    /// It may be asked before the change is applied only where no watch is registered from then on until the change is
    /// published: the store holds a lock that it registers watches with.
    #[must_use]
    pub fn covers(&self, key: &Key) -> bool {
        self.registry.read().covering(key).next().is_some()
    }

    /// Shows that a watch is about to be registered.
    fn interest(self: &Arc<Self>) -> Interest {
        self.interested.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Interest { hub: Arc::clone(self) }
    }

    /// Tells a change to the watches that cover it. Changes of one key must come in their order.
    ///
    /// It takes locks for moments only, and runs no foreign code: wake what it returns when the locks of the store are
    /// released.
    pub fn publish(&self, change: &Change) -> Wakers {
        self.registry.read().covering(&change.key).filter_map(|watch| watch.record(change)).collect()
    }

    /// Moves when something is no longer watched.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.registry.read().generation
    }

    /// What is watched, each scope once.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        let registry = self.registry.read();
        let keys = registry.by_key.keys().cloned().map(Scope::Key);
        keys.chain(registry.by_scope.keys().cloned().map(Scope::Under)).collect()
    }

    /// What is watched, without what another scope covers: nothing is in two of them.
    #[must_use]
    pub fn outermost_scopes(&self) -> Vec<Scope> {
        let registry = self.registry.read();
        let covered =
            |path: &Key, own: usize| path.ancestors().skip(own).any(|above| registry.by_scope.contains_key(above));
        let keys = registry.by_key.keys().filter(|key| !covered(key, 0)).cloned().map(Scope::Key);
        keys.chain(registry.by_scope.keys().filter(|path| !covered(path, 1)).cloned().map(Scope::Under)).collect()
    }

    /// Tells the watches that cover a key that its entry could not be read: an `Err` item, after which they go on.
    pub fn fault_of(&self, key: &Key, error: &Error) -> Wakers {
        self.registry.read().covering(key).filter_map(|watch| watch.fault_of(key, error)).collect()
    }

    /// Tells the watches inside a scope of a passing fault there: an `Err` item, after which they go on (W10).
    pub fn fault_within(&self, scope: &Scope, error: &Error) -> Wakers {
        let registry = self.registry.read();
        let inside = registry.watches.values().filter(|watch| scope.covers(watch.scope.path()));
        inside.filter_map(|watch| watch.state.fault(error)).collect()
    }

    /// Tells every watch of a passing fault: an `Err` item, after which it goes on (W10).
    pub fn fault(&self, error: &Error) -> Wakers {
        self.registry.read().watches.values().filter_map(|watch| watch.state.fault(error)).collect()
    }

    /// Registers a watch of a handle: changes that are published from here on are recorded for it. See [`Priming`] for
    /// the rest.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the given state has a key outside the scope, or one twice. `Closed` when the handle is.
    pub fn register(
        self: &Arc<Self>,
        handle: &Arc<Gate>,
        scope: Scope,
        init: Init<Vec<(Key, Bytes)>>,
    ) -> Result<Priming> {
        self.prepare(handle, scope, init)?.register()
    }

    /// What of a [registration](Self::register) takes time in proportion to the given state, or is refused without a look
    /// at the store: for a store that is read before the registration, or whose writes wait for it. From here on the hub
    /// [is watched](Self::is_watched).
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the given state has a key outside the scope, or one twice.
    pub fn prepare(
        self: &Arc<Self>,
        handle: &Arc<Gate>,
        scope: Scope,
        init: Init<Vec<(Key, Bytes)>>,
    ) -> Result<Prepared> {
        let known = match init {
            Init::Current => None,
            Init::Known(entries) => Some(known_state(&scope, entries)?),
        };
        let state = Arc::new(WatchState::new(known));
        let watch = Registered { scope, handle: Arc::clone(handle), state };
        Ok(Prepared { interest: self.interest(), watch })
    }

    /// Ends a watch of this handle; an id that is stale or of another handle does nothing (W9).
    pub fn unwatch(&self, handle: &Arc<Gate>, id: WatchId) {
        let removed = {
            let mut registry = self.registry.write();
            let own = registry.watches.get(&id).is_some_and(|watch| Arc::ptr_eq(&watch.handle, handle));
            if own { registry.remove(id) } else { None }
        };
        removed.and_then(|watch| watch.state.end(None)).into_iter().collect::<Wakers>().wake();
    }

    /// Ends the watches of handles whose gate is closed, with one `Err(Closed)` each, and no others (W10). Call it
    /// behind the closing of a handle or an instance.
    pub fn end_closed(&self) {
        let ended: Vec<_> = {
            let mut registry = self.registry.write();
            let closed = registry.watches.iter().filter(|(_, watch)| watch.handle.is_closed());
            let ids: Vec<_> = closed.map(|(id, _)| *id).collect();
            ids.into_iter().filter_map(|id| registry.remove(id)).collect()
        };
        ended.iter().filter_map(|watch| watch.state.end(Some(Error::closed()))).collect::<Wakers>().wake();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("interested", &self.interested.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

impl Registry {
    fn covering<'r>(&'r self, key: &'r Key) -> impl Iterator<Item = &'r Arc<WatchState>> {
        let by_scope = key.ancestors().filter_map(|scope| self.by_scope.get(scope));
        self.by_key.get(key).into_iter().chain(by_scope).flatten()
    }

    fn insert(&mut self, id: WatchId, watch: Registered) {
        let (index, path) = self.index(&watch.scope);
        index.entry(path).or_default().push(Arc::clone(&watch.state));
        self.watches.insert(id, watch);
    }

    fn remove(&mut self, id: WatchId) -> Option<Registered> {
        let watch = self.watches.remove(&id)?;
        let (index, path) = self.index(&watch.scope);
        if let Some(states) = index.get_mut(&path) {
            states.retain(|state| !Arc::ptr_eq(state, &watch.state));
            if states.is_empty() {
                index.remove(&path);
                self.generation += 1;
            }
        }
        Some(watch)
    }

    fn index(&mut self, scope: &Scope) -> (&mut HashMap<Key, Vec<Arc<WatchState>>>, Key) {
        match scope {
            Scope::Key(key) => (&mut self.by_key, key.clone()),
            Scope::Under(under) => (&mut self.by_scope, under.clone()),
        }
    }
}

/// The known state of one key, as a watch of that key takes it.
#[must_use]
pub fn known_entry(key: &Key, init: Init<Option<Bytes>>) -> Init<Vec<(Key, Bytes)>> {
    match init {
        Init::Current => Init::Current,
        Init::Known(value) => Init::Known(value.map(|value| (key.clone(), value)).into_iter().collect()),
    }
}

fn known_state(scope: &Scope, entries: Vec<(Key, Bytes)>) -> Result<HashMap<Key, Bytes>> {
    let refuse = |key: &Key, why: &'static str| Err(Error::new(ErrorKind::InvalidInput, why).with_key(key));
    let mut known = HashMap::with_capacity_and_hasher(entries.len(), RandomState::default());
    for (key, value) in entries {
        if !scope.covers(&key) || key.is_root() {
            return refuse(&key, "the known state has an entry that the watch does not cover");
        }
        if known.contains_key(&key) {
            return refuse(&key, "the known state has an entry twice");
        }
        known.insert(key, value);
    }
    Ok(known)
}

/// Keeps a hub watched until dropped.
#[derive(Debug)]
struct Interest {
    hub: Arc<Hub>,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.hub.interested.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Removes its watch from the hub when dropped.
struct Registration {
    id: WatchId,
    interest: Interest,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let removed = self.interest.hub.registry.write().remove(self.id);
        // What the watch held is freed here, with no lock held.
        drop(removed);
    }
}

/// A watch before its registration.
pub struct Prepared {
    interest: Interest,
    watch: Registered,
}

impl Prepared {
    /// Registers it: changes that are published from here on are recorded for it.
    ///
    /// # Errors
    ///
    /// `Closed` when the handle is.
    pub fn register(self) -> Result<Priming> {
        let Self { interest, watch } = self;
        let (id, hub) = (WatchId::unique(), Arc::clone(&interest.hub));
        let (handle, state) = (Arc::clone(&watch.handle), Arc::clone(&watch.state));
        hub.registry.write().insert(id, watch);
        let priming = Priming { registration: Registration { id, interest }, state };
        // Behind the insertion: a close that came before it ended no such watch, one that comes behind finds it.
        handle.check()?;
        Ok(priming)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("scope", &self.watch.scope).finish_non_exhaustive()
    }
}

/// A watch between its registration and its first event. Dropped, it was never there.
///
/// For a watch that began with a known state, offer it the current state of each entry in its scope, read after the
/// registration, in any order, while changes go on being published; then [`finish`](Self::finish).
pub struct Priming {
    registration: Registration,
    state: Arc<WatchState>,
}

impl Priming {
    /// Whether the current state must be offered: the watch was given a known one.
    #[must_use]
    pub fn wants_current_state(&self) -> bool {
        self.state.is_priming()
    }

    /// An entry as it was read from the store after the registration, with the sequence number of its last change.
    pub fn offer(&self, key: &Key, seq: u64, value: Bytes) {
        self.state.offer(key, seq, value);
    }

    /// An entry that was there when the watch was registered, although the changes before said otherwise: it could not
    /// be read. What it held is not known, and what comes next is a change. It is for a watch that began at the current
    /// state, before the next change of the key is published.
    pub fn begins_with(&self, key: &Key) {
        self.state.begins_with(key);
    }

    /// Entries of the known state that were neither offered nor changed are gone.
    ///
    /// An absence has no sequence number, so the changes that the reads may have seen must have been published by then:
    /// one that follows late is told, in a legal chain, although the absence was newer (W4).
    ///
    /// The watch keeps `store` alive, so that it is told of changes for as long as it is held.
    pub fn finish<S: Send + Sync + 'static>(self, store: Arc<S>) -> Watch {
        self.state.finish_priming();
        Watch::new(self.registration.id, Events::new(self.state, self.registration, store))
    }
}

impl fmt::Debug for Priming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Priming").field("id", &self.registration.id).finish_non_exhaustive()
    }
}

/// The tasks that wait for what was published. Dropped, they are woken too: a publisher that failed halfway leaves nobody
/// waiting.
#[derive(Debug, Default)]
#[must_use = "they are to be woken, when no lock of the store is held"]
pub struct Wakers(Vec<Waker>);

impl Wakers {
    /// Wakes them. Call it when no lock of the store is held: a waker may run any code. One that panics harms neither
    /// the others nor the caller (W8).
    pub fn wake(self) {
        drop(self);
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        for waker in self.0.drain(..) {
            // The panic hook has reported it, and it is nobody else's.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

impl Extend<Waker> for Wakers {
    fn extend<I: IntoIterator<Item = Waker>>(&mut self, wakers: I) {
        self.0.extend(wakers);
    }
}

impl Extend<Wakers> for Wakers {
    fn extend<I: IntoIterator<Item = Wakers>>(&mut self, wakers: I) {
        self.0.extend(wakers.into_iter().flat_map(|mut wakers| std::mem::take(&mut wakers.0)));
    }
}

impl FromIterator<Waker> for Wakers {
    fn from_iter<I: IntoIterator<Item = Waker>>(wakers: I) -> Self {
        Self(wakers.into_iter().collect())
    }
}

#[cfg(all(test, irminsul_loom))]
mod model;

#[cfg(all(test, not(irminsul_loom)))]
mod tests;
