//! How the watches of this instance hear of changes: its own as they are written, others' by asking the object store
//! again and again.
//!
//! The mirror keeps, of each watched key, the version that was told last. A listing that shows another version is only a
//! hint: it may be older than what is known by then. It is confirmed by a read that began behind the listing.

mod looks;
mod mirror;

use std::{
    future::ready,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backend_kit::{Gate, Hub, Priming, Scope, Wakers};
use bytes::Bytes;
use futures_util::{
    FutureExt, Stream, StreamExt, TryStreamExt,
    stream::{self, FuturesUnordered},
};
use store_api::{Error, ErrorKind, Init, Key, Result};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::{JoinHandle, yield_now},
    time::sleep,
};

use self::{
    looks::{Hint, Look, Looks},
    mirror::{Base, Mirror, Told},
};
use crate::{
    S3Options,
    atomic_write::{CONCURRENCY, entry_of},
    client::{Listed, Version},
    entries::{Entries, State, is_live},
    frame::Frame,
    names,
    places::Places,
};

/// How many listed objects are compared in a row.
const CHUNK: usize = 256;
/// How many places there are for looks at what listings show to have changed.
const PLACES: usize = 64;

pub(crate) struct Observer {
    entries: Arc<Entries>,
    hub: Arc<Hub>,
    poll: Duration,
    /// How many keys a scope may have.
    limit: u64,
    mirror: Mutex<Mirror>,
    poller: Mutex<Poller>,
    /// Of the looks at what listings show to have changed.
    places: Places,
    /// There is a key to confirm, or a first watch.
    nudge: Notify,
}

#[derive(Default)]
struct Poller {
    task: Option<JoinHandle<()>>,
    is_stopped: bool,
}

impl Observer {
    pub(crate) fn new(entries: Arc<Entries>, hub: Arc<Hub>, options: &S3Options) -> Self {
        Self {
            entries,
            hub,
            poll: options.poll,
            limit: options.watch_limit,
            mirror: Mutex::default(),
            poller: Mutex::default(),
            places: Places::new(PLACES),
            nudge: Notify::new(),
        }
    }

    /// Tells what this instance wrote, over an object of the version `replaced`.
    pub(crate) fn wrote(&self, key: &Key, state: &State, replaced: Option<&Version>) {
        if !self.hub.is_watched() {
            return;
        }
        let told = self.mirror().wrote(&self.hub, key, state, replaced);
        match told {
            Told::Wakers(wakers) => wakers.wake(),
            Told::Unclear => self.nudge.notify_one(),
        }
    }

    /// Begins a watch.
    ///
    /// The scope is looked at when the hub is watched already, so that a write of this instance is either seen or told;
    /// then the watch is registered under the mirror's lock. So its baseline is what the mirror has, which each key was
    /// at a time during the call, and what the mirror tells next is not in it (W1, W2). An entry that has changed and
    /// cannot be read would be in the baseline as it was before, or as absent: with one, no watch begins (A11).
    pub(crate) async fn register(
        self: &Arc<Self>,
        handle: &Arc<Gate>,
        scope: Scope,
        init: Init<Vec<(Key, Bytes)>>,
        runtime: &Handle,
    ) -> Result<Priming> {
        let prepared = self.hub.prepare(handle, scope.clone(), init)?;
        self.start_poller(runtime)?;
        let covering = Covering::begin(self, &scope);
        self.look(&scope).await?;
        let (priming, there) = {
            let mut mirror = self.mirror();
            mirror.is_known(&scope);
            let priming = prepared.register()?;
            let there = if priming.wants_current_state() {
                mirror.there(&scope)
            } else {
                mirror.there_untold(&scope).iter().for_each(|key| priming.begins_with(key));
                Vec::new()
            };
            (priming, there)
        };
        self.offer(&priming, there).await?;
        drop(covering);
        Ok(priming)
    }

    /// Offers a watch the current state, which is told to the others first.
    async fn offer(&self, priming: &Priming, there: Vec<Key>) -> Result<()> {
        let offer = |key: Key| async move {
            let state = self.read(&key).await.map_err(|error| error.with_key(&key))?;
            if let State::Kept { version, frame: Frame { value: Some(value), .. } } = &*state
                && let Some(number) = self.mirror().number(&key, version)
            {
                priming.offer(&key, number, value.clone());
            }
            // A watch that has to tell what rotted does not begin.
            state.value().map(drop).map_err(|error| error.with_key(&key))
        };
        stream::iter(there).map(Ok).try_for_each_concurrent(CONCURRENCY, offer).await
    }

    /// Tells how the entries of a scope differ from what the mirror has of them.
    async fn look(&self, scope: &Scope) -> Result<()> {
        let path = match scope {
            Scope::Key(key) => return self.look_at(key).await,
            Scope::Under(path) => path,
        };
        let own = if path.is_root() { None } else { Some((path.clone(), 0)) };
        self.confirm_all(own).await?;
        let mut hints = pin!(self.hints_below(path));
        while let Some(hints) = hints.try_next().await? {
            self.confirm_all(hints).await?;
        }
        self.mirror().passed(scope);
        Ok(())
    }

    /// Looks at entries of these sizes. One that cannot be read does not keep those beside it from being told: the
    /// watches hear of it.
    async fn confirm_all(&self, entries: impl IntoIterator<Item = (Key, u64)>) -> Result<()> {
        let places = &Places::new(CONCURRENCY);
        let confirm = |(key, size): (Key, u64)| async move {
            let _places = places.take(size).await;
            let looked = self.look_at(&key).await;
            looked.inspect_err(|error| self.failed(&Scope::Key(key), error))
        };
        let confirmed = stream::iter(entries).map(confirm).buffer_unordered(CONCURRENCY);
        confirmed.fold(Ok(()), |before: Result<()>, confirmed| ready(before.and(confirmed))).await
    }

    async fn look_at(&self, key: &Key) -> Result<()> {
        loop {
            let base = self.mirror().base(key);
            let read = self.entries.read_unless(key, base.known()).await.map_err(|error| error.with_key(key))?;
            if read.is_none_or(|state| self.tell(key, &state, &base)) {
                self.mirror().passed(&Scope::Key(key.clone()));
                return Ok(());
            }
        }
    }

    /// Reads an entry and tells what it is, if that is news.
    async fn read(&self, key: &Key) -> Result<Arc<State>> {
        loop {
            let base = self.mirror().base(key);
            let state = self.entries.read(key).await?;
            if self.tell(key, &state, &base) {
                return Ok(state);
            }
        }
    }

    /// Tells what was read, unless it may be older than what is known by then, so that it says nothing.
    fn tell(&self, key: &Key, state: &State, base: &Base) -> bool {
        let told = self.mirror().read(&self.hub, key, state, base);
        told.map(Wakers::wake).is_some()
    }

    /// The entries below a path that a listing shows otherwise than the mirror has them, some at a time, with their
    /// sizes.
    fn hints_below(&self, path: &Key) -> impl Stream<Item = Result<Vec<(Key, u64)>>> + Send {
        let listed = self.entries.client().list(&names::of_scope(path));
        let mut count = 0;
        listed.ready_chunks(CHUNK).map(move |chunk| {
            let chunk: Vec<_> = chunk.into_iter().collect::<Result<_, _>>()?;
            count += chunk.len() as u64;
            if count > self.limit { Err(too_many(self.limit)) } else { Ok(self.hints_among(&chunk)) }
        })
    }

    fn hints_among(&self, listed: &[Listed]) -> Vec<(Key, u64)> {
        let seen = listed.iter().filter_map(|listed| Some((entry_of(self.entries.client(), listed)?, listed)));
        let mut mirror = self.mirror();
        let mut is_hint = |key: &Key, version, is_there| !mirror.listed(key, version, is_there);
        let hints = seen.filter(|(key, listed)| is_hint(key, listed.version.as_ref(), is_live(listed.size)));
        hints.map(|(key, listed)| (key, listed.size)).collect()
    }

    fn failed(&self, what: &Scope, error: &Error) {
        let wakers = self.mirror().failed(&self.hub, what, error);
        wakers.wake();
    }

    fn start_poller(self: &Arc<Self>, runtime: &Handle) -> Result<()> {
        let mut poller = self.poller();
        if poller.is_stopped {
            return Err(Error::closed());
        }
        // The runtime that it ran in may be gone.
        if poller.task.as_ref().is_none_or(JoinHandle::is_finished) {
            let observer = Arc::clone(self);
            let task = runtime.spawn(async move { observer.run().await });
            if task.is_finished() {
                return Err(not_looking());
            }
            poller.task = Some(task);
        }
        self.nudge.notify_one();
        Ok(())
    }

    /// Looks again and again, while something is watched. A look that takes long, or fails, delays what it is about
    /// alone, as long as there are [places](Looks) for the others. The watches go on, and catch up when a fault has
    /// passed (W10).
    async fn run(&self) {
        let _running = Running(self);
        let (mut looks, mut is_timed) = (Looks::default(), false);
        let mut turns = FuturesUnordered::from_iter([self.nudged().boxed()]);
        while let Some(turn) = turns.next().await {
            let sets_timer = match turn {
                Turn::Nudged => {
                    turns.push(self.nudged().boxed());
                    !is_timed
                }
                Turn::Due => {
                    self.forget_unwatched().await;
                    looks.are_due(self.hub.outermost_scopes());
                    is_timed = self.hub.is_watched();
                    is_timed
                }
                Turn::Looked(look) => {
                    looks.end(look);
                    false
                }
            };
            if sets_timer {
                turns.push(self.due().boxed());
                is_timed = true;
            }
            looks.are_unclear(self.mirror().take_unclear());
            while let Some(look) = looks.begin() {
                turns.push(self.looked(look).boxed());
            }
        }
    }

    async fn nudged(&self) -> Turn {
        self.nudge.notified().await;
        Turn::Nudged
    }

    async fn due(&self) -> Turn {
        sleep(self.poll).await;
        Turn::Due
    }

    async fn looked(&self, look: Look) -> Turn {
        let looked = match &look.scope {
            Scope::Key(key) => self.look_at(key).await,
            Scope::Under(path) => self.look_below(path).await,
        };
        if let Err(error) = looked {
            self.failed(&look.scope, &error);
        }
        Turn::Looked(look)
    }

    /// Looks for what has changed below a path, and leaves it to looks of its own. The listing goes on as there are
    /// places for them: others may have changed millions.
    async fn look_below(&self, path: &Key) -> Result<()> {
        let mut hints = pin!(self.hints_below(path));
        while let Some(hints) = hints.try_next().await? {
            for (key, size) in hints {
                let places = Some(self.places.take(size).await);
                self.mirror().is_unclear(Hint { key, places });
                self.nudge.notify_one();
            }
        }
        self.mirror().passed(&Scope::Under(path.clone()));
        Ok(())
    }

    /// Forgets what is not watched any more: there may be millions of keys, and others wait for the mirror.
    async fn forget_unwatched(&self) {
        let over = self.mirror().forget_unwatched(&self.hub);
        for scope in over {
            let mut last = self.mirror().forget_keys(&scope, None);
            while let Some(key) = last {
                yield_now().await;
                last = self.mirror().forget_keys(&scope, Some(&key));
            }
        }
    }

    /// Ends the poller, without waiting for it. It only reads.
    pub(crate) fn stop(&self) -> Option<JoinHandle<()>> {
        let mut poller = self.poller();
        poller.is_stopped = true;
        let task = poller.task.take();
        if let Some(task) = &task {
            task.abort();
        }
        task
    }

    pub(crate) async fn close(&self) {
        let stopped = self.stop();
        if let Some(task) = stopped {
            // An error says that it was aborted.
            let _ = task.await;
        }
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poller(&self) -> MutexGuard<'_, Poller> {
        self.poller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the poller waits for.
enum Turn {
    /// There is something to look at, or a first watch.
    Nudged,
    /// All that is watched is to be looked at, whether or not the last look at it has ended.
    Due,
    /// A look has ended.
    Looked(Look),
}

/// Tells the watches when the poller ends and nobody has stopped it: they would hear of nothing, and not know.
struct Running<'o>(&'o Observer);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.0.poller().is_stopped {
            self.0.hub.fault(&not_looking()).wake();
        }
    }
}

fn not_looking() -> Error {
    Error::new(
        ErrorKind::Other,
        "others' changes are not looked for: the runtime that the store was opened in has ended; open the store again",
    )
}

fn too_many(limit: u64) -> Error {
    let message = format!(
        "a watch of an object store has at most {limit} objects in its scope, those of removed entries included; watch a \
         narrower one, or raise `watch_limit`"
    );
    Error::new(ErrorKind::Unsupported, message)
}

/// Keeps a scope in the mirror while a watch begins.
struct Covering<'o> {
    observer: &'o Observer,
    scope: &'o Scope,
}

impl<'o> Covering<'o> {
    fn begin(observer: &'o Observer, scope: &'o Scope) -> Self {
        observer.mirror().begin(scope);
        Self { observer, scope }
    }
}

impl Drop for Covering<'_> {
    fn drop(&mut self) {
        self.observer.mirror().end(self.scope);
    }
}

#[cfg(test)]
mod tests {
    use object_store::{
        memory::InMemory,
        throttle::{ThrottleConfig, ThrottledStore},
    };
    use store_api::{AtomicWrite, Backend, EntryRead, Event};
    use tokio::time::timeout;

    use super::*;

    /// In virtual time: to confirm what is unclear takes longer than a poll, and each time something is again.
    #[tokio::test(start_paused = true)]
    async fn w11_what_is_unclear_all_the_time_does_not_put_off_the_look_at_others_changes() {
        let bucket = InMemory::new();
        let config = ThrottleConfig { wait_get_per_call: Duration::from_millis(50), ..ThrottleConfig::default() };
        let bucket: Arc<dyn object_store::ObjectStore> = Arc::new(ThrottledStore::new(bucket, config));
        let open = || S3Options::over(Arc::clone(&bucket)).poll(Duration::from_millis(10)).open();
        let (mine, others) = (open().await.unwrap(), open().await.unwrap());
        let (key, other) = (Key::new("a").unwrap(), Key::new("b").unwrap());
        let mut watch = mine.atomic_write().unwrap().watch_key(&key, Init::Current).await.unwrap();
        let _beside = mine.atomic_write().unwrap().watch_key(&other, Init::Current).await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::CaughtUp);
        let observer = Arc::clone(&mine.instance.observer);
        let nudging = tokio::spawn(async move {
            loop {
                observer.mirror().is_unclear(Hint::of_own(other.clone()));
                observer.nudge.notify_one();
                sleep(Duration::from_millis(1)).await;
            }
        });
        others.atomic_write().unwrap().set(&key, "1".into()).await.unwrap();
        let told = timeout(Duration::from_mins(1), watch.next()).await.expect("it is told").unwrap().unwrap();
        assert!(matches!(told, Event::Changed { .. }), "{told:?}");
        nudging.abort();
    }
}
