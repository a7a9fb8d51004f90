//! The content of a store: values in packs, which are found by their footers, or by an index over them.
//!
//! A pack is one object, whose PUT is the commit. All else is made from the packs and can be made again: a
//! [`View`] in each instance, and in the store an index of [runs](run) below a [root](root::Root), so that a cold
//! instance reads no more than the root and the packs that it does not cover.
//!
//! | operation | requests |
//! |---|---|
//! | `add`, a batch, what is added at the same time | PUT of a pack, LIST beyond it (see [`view::WINDOW`]) |
//! | the first of them | besides, GET of the root and LIST |
//! | `add` of a value that is known | none |
//! | `find` | GET of the frame |
//! | `index` of what is known | none |
//! | `index` of what is not | a GET for each run, GET of the root, LIST, a GET for each new pack |
//!
//! In memory: 100 bytes for each of the last 1,048,576 places that were learned, as much again for those of the packs
//! that are not indexed (64 packs, or 65,536 values, until a merge is due), 6 MiB of blocks, and 150 MiB while a merge
//! goes on, or more for a batch of more than 1,048,576 values. A page of keys has 1,024 of each run.

mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub(crate) mod fuzzing;
mod keys;
mod merge;
mod name;
mod place;
mod root;
mod run;
mod runs;
mod upload;
mod view;

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backend_kit::{Detached, Gate, false_value, frame, offload_long};
use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    future::{Either, select},
    stream,
};
use store_api::{ContentHash, ContentKey, Error, ErrorKind, HashFunction, Result};
use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, Notify},
    time::{Instant, timeout_at},
};

use self::{
    format::{Index, Tail},
    merge::Merging,
    name::PackName,
    place::{Place, frame_key},
    root::Root,
    runs::Blocks,
    upload::Queue,
    view::View,
};
use crate::{
    S3Options,
    client::{Client, Failure, Seen, back_off},
    tasks::aside,
};

pub(crate) use self::{keys::Cursor, run::MAX_RECORDS};

/// How many requests of one operation are under way at a time.
const CONCURRENCY: usize = 8;

/// How many packs a listing may show: so many are written in a month without an index, at two in each second.
const MAX_PACKS: u64 = 1 << 22;

/// How often what arrives damaged is read, since it may have been damaged on its way.
const READINGS: usize = 3;

/// How many records are learned at a time: that takes less than a millisecond.
const RECORDS_AT_A_TIME: usize = 512;

/// What an instance needs for its content.
pub(crate) struct Packs {
    client: Arc<Client>,
    hash: HashFunction,
    verify: bool,
    /// How long requests without an answer are sent again.
    busy: Duration,
    view: Arc<Mutex<View>>,
    refreshing: Refreshing,
    blocks: Blocks,
    queue: Mutex<Queue>,
    merging: Merging,
    runtime: Handle,
    gate: Arc<Gate>,
    /// The gate was closed.
    closing: Notify,
    /// What the instance has under way: additions until they are answered, batches, merges.
    detached: Detached,
}

/// One refresh runs at a time. A caller that waited while another refresh began and succeeded needs none of its own.
///
/// The lock is held across requests, and so it is taken and waited for in [tasks](aside) alone: the future of a caller may
/// be kept and never be polled again, and would keep the lock that it was given.
#[derive(Debug, Default)]
struct Refreshing {
    begun: AtomicU64,
    /// Which was the last that succeeded.
    done: AsyncMutex<u64>,
}

/// What lies at a place.
enum Found {
    /// The value; whether it has the hash is told by the place.
    Value(Bytes),
    Damaged,
    Gone,
}

impl Packs {
    pub(crate) fn new(
        client: Arc<Client>,
        hash: HashFunction,
        options: &S3Options,
        runtime: Handle,
        gate: Arc<Gate>,
        detached: Detached,
    ) -> Self {
        Self {
            client,
            hash,
            verify: options.verify,
            busy: options.busy,
            view: Arc::default(),
            refreshing: Refreshing::default(),
            blocks: Blocks::default(),
            queue: Mutex::new(Queue::new(options.pack)),
            merging: Merging::new(options.run),
            runtime,
            gate,
            closing: Notify::new(),
            detached,
        }
    }

    /// Ends what looks for others' packs, once the gate is closed: to read all footers may take long.
    pub(crate) fn end_readings(&self) {
        self.closing.notify_waiters();
    }

    /// What is done in a [task](aside) for a caller, unless the gate is closed before.
    async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let packs = Arc::clone(self);
        let unless_closed = async move {
            // It hears of a close from here on, polled or not.
            let closing = packs.closing.notified();
            packs.gate.check()?;
            match select(pin!(closing), pin!(work)).await {
                Either::Left(_) => Err(Error::closed()),
                Either::Right((done, _)) => done,
            }
        };
        aside(&self.runtime, unless_closed).await?
    }

    /// The right to learn of packs, for a task that gives up at a time.
    async fn turn(&self, patience: Instant) -> Result<AsyncMutexGuard<'_, u64>> {
        let turn = timeout_at(patience, self.refreshing.done.lock()).await;
        turn.map_err(|_| Error::new(ErrorKind::Unavailable, "others' packs are being looked through; try again"))
    }

    /// When an operation that begins here gives up.
    fn patience(&self) -> Instant {
        Instant::now() + self.busy
    }

    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    /// The key of the value with this hash (I3). What this instance does not know is looked for once among what others
    /// have written since (X1).
    pub(crate) async fn index(self: &Arc<Self>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        Ok(self.locate(hash).await?.map(|place| place.to_key(hash)))
    }

    /// The value with a key's hash (I5, I6): one request where the locator is right.
    pub(crate) async fn find(self: &Arc<Self>, key: &ContentKey) -> Result<Option<Bytes>> {
        let hash = key.to_hash();
        let hinted = Place::of_key(key);
        if let Some(place) = hinted.filter(|place| place.sound)
            && let Found::Value(value) = self.read(&hash, place).await?
        {
            return Ok(Some(value));
        }
        let hinted = hinted.filter(|place| !place.sound);
        let patience = self.patience();
        loop {
            // A false value may have been repaired (I4), and the key may be that of another store.
            let known = self.locate(&hash).await?;
            let Some(place) = known.or(hinted) else { return Ok(None) };
            match self.read(&hash, place).await? {
                Found::Value(value) if place.sound || !self.verify => {
                    self.view().set_readable(&place);
                    return Ok(Some(value));
                }
                Found::Gone if known.is_none() => return Ok(None),
                // There may be a copy.
                Found::Damaged | Found::Gone
                    if known.is_some() && self.view().set_rotten(&hash, place) && Instant::now() < patience => {}
                _ => return Err(false_value()),
            }
        }
    }

    /// The best place of a value.
    async fn locate(self: &Arc<Self>, hash: &ContentHash) -> Result<Option<Place>> {
        self.look_up(hash).await?;
        if let Some(place) = self.view().find_whole(hash) {
            return Ok(Some(place));
        }
        self.refresh().await?;
        let was_damaged = self.has_damaged();
        let found = self.look_up(hash).await?;
        // A lookup that finds the index lost reads more packs.
        if found.is_none() && (was_damaged || self.has_damaged()) {
            return Err(corrupt(
                "the value is not found, and a pack is damaged or gone that may hold it; restore it from a copy",
            ));
        }
        Ok(found)
    }

    fn has_damaged(&self) -> bool {
        !self.view().damaged().is_empty()
    }

    /// The best place that is known without looking for what others have written.
    async fn look_up(self: &Arc<Self>, hash: &ContentHash) -> Result<Option<Place>> {
        if let Some(place) = self.view().find_whole(hash) {
            return Ok(Some(place));
        }
        let indexed = self.in_runs(hash).await?;
        let mut view = self.view();
        if let Some(indexed) = indexed {
            view.share([&indexed.pack]);
            view.remember(*hash, indexed);
        }
        // Where the index was lost, the packs were read in its place.
        Ok(view.find(hash))
    }

    async fn read(&self, hash: &ContentHash, place: Place) -> Result<Found> {
        for _ in 0..READINGS {
            match self.client.get_range(&place.pack.object(), place.range()).await {
                Ok(None) => return Ok(Found::Gone),
                Ok(Some(object)) => {
                    if let Some(value) = self.open_frame(hash, place, &object.bytes).await? {
                        return Ok(Found::Value(value));
                    }
                }
                Err(failure) => return self.read_of_short(place, failure).await,
            }
        }
        Ok(Found::Damaged)
    }

    /// A range behind the end is refused with an error that looks like a passing one.
    async fn read_of_short(&self, place: Place, failure: Failure) -> Result<Found> {
        match self.client.head(&place.pack.object()).await? {
            Some(object) if object.size < place.range().end => Ok(Found::Damaged),
            _ => Err(failure.into()),
        }
    }

    /// The value in a frame, unless it is damaged. A sound one is held against its hash, where the store verifies (I6).
    async fn open_frame(&self, hash: &ContentHash, place: Place, bytes: &Bytes) -> Result<Option<Bytes>> {
        let (hash, bytes, len) = (*hash, bytes.clone(), bytes.len());
        let function = (place.sound && self.verify).then_some(self.hash);
        let open = move || {
            let value = frame::open(&frame_key(&hash, place.sound), &bytes).ok()?;
            let is_true = function.is_none_or(|function| function.hash(value) == hash);
            is_true.then(|| bytes.slice_ref(value))
        };
        offload_long(len, open).await
    }

    /// Learns of all packs that were acknowledged before the call.
    async fn refresh(self: &Arc<Self>) -> Result<()> {
        let seen = self.refreshing.begun.load(Ordering::SeqCst);
        let packs = Arc::clone(self);
        self.aside(async move { packs.refresh_unless_begun_since(seen).await }).await
    }

    async fn refresh_unless_begun_since(self: &Arc<Self>, seen: u64) -> Result<()> {
        let mut done = self.refreshing.done.lock().await;
        if *done > seen {
            return Ok(());
        }
        let turn = self.refreshing.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.list_packs().await?;
        self.read_footers().await?;
        *done = turn;
        drop(done);
        self.merge_if_due();
        Ok(())
    }

    /// Learns the latest epoch, without reading any footer, for a task that writes.
    async fn list_first(&self, patience: Instant) -> Result<()> {
        if self.view().is_listed() {
            return Ok(());
        }
        let _turn = self.turn(patience).await?;
        if self.view().is_listed() { Ok(()) } else { self.list_packs().await }
    }

    /// Learns of the root, and of the names of the packs that it does not cover. One at a time.
    async fn list_packs(&self) -> Result<()> {
        self.read_root().await?;
        let (floor, top) = {
            let view = self.view();
            (view.floor(), view.top())
        };
        let packs = self.list_from(floor, u32::MAX, self.patience()).await?;
        self.view().set_listed(packs, top);
        Ok(())
    }

    /// The packs of an epoch and the later ones, with their sizes, up to the first that is found behind `enough`.
    async fn list_from(&self, epoch: u32, enough: u32, patience: Instant) -> Result<Vec<(PackName, u64)>> {
        let mut attempt = 1;
        loop {
            match self.list_once(epoch, enough).await {
                Err(failure) if failure.is_passing() && Instant::now() < patience => back_off(attempt).await,
                listed => return Ok(listed?),
            }
            attempt += 1;
        }
    }

    async fn list_once(&self, epoch: u32, enough: u32) -> Result<Vec<(PackName, u64)>, Failure> {
        let mut listed = self.client.list_behind(name::FOLDER, &PackName::before(epoch), MAX_PACKS);
        let mut packs = Vec::new();
        while let Some(object) = listed.next().await {
            let object = object?;
            let Some(pack) = PackName::of_object(&object.name) else {
                self.client.tell_foreign(&object);
                continue;
            };
            packs.push((pack, object.size));
            if pack.epoch > enough {
                break;
            }
        }
        Ok(packs)
    }

    async fn read_root(&self) -> Result<()> {
        let known = self.view().root_version().cloned();
        let mut seen = match &known {
            Some(version) => {
                self.client.get_unless(root::OBJECT, Some(version), root::MAX_LEN, self.client.until()).await?
            }
            None => self.read_whole_root().await?,
        };
        let mut readings = 1;
        loop {
            match seen {
                Seen::Unchanged => return Ok(()),
                Seen::Missing => {
                    self.view().lose_root();
                    return Ok(());
                }
                Seen::Changed(object) => {
                    let root = open_root(object.bytes).await?;
                    if root.is_some() || readings == READINGS {
                        self.view().set_root(object.version, root);
                        return Ok(());
                    }
                }
            }
            seen = self.read_whole_root().await?;
            readings += 1;
        }
    }

    async fn read_whole_root(&self) -> Result<Seen, Failure> {
        Ok(self.client.get(root::OBJECT, root::MAX_LEN).await?.map_or(Seen::Missing, Seen::Changed))
    }

    /// Reads the footers of the packs that were listed.
    async fn read_footers(&self) -> Result<()> {
        let unread = self.view().unread();
        let read = |(pack, size)| async move { Ok::<_, Error>((pack, self.read_footer(pack, size).await?)) };
        let mut footers = stream::iter(unread).map(read).buffer_unordered(CONCURRENCY);
        let mut damaged = BTreeSet::new();
        while let Some((pack, index)) = footers.try_next().await? {
            match index {
                Some(index) => self.learn(pack, index).await?,
                None => drop(damaged.insert(pack)),
            }
        }
        self.view().set_read(damaged);
        Ok(())
    }

    /// Learns the footer of a pack. It may have millions of values: the view is held for some of them at a time.
    async fn learn(&self, pack: PackName, index: Index) -> Result<()> {
        let view = Arc::clone(&self.view);
        offload_long(size_of_val(&*index), move || {
            for records in index.chunks(RECORDS_AT_A_TIME) {
                let mut view = lock(&view);
                for (hash, place) in records {
                    view.remember(*hash, *place);
                }
            }
            // Behind them: who comes meanwhile has the footer still to read.
            lock(&view).insert(pack, index);
        })
        .await
    }

    /// The footer; `None` where it is damaged, or gone with its pack: what it holds is not known then, and not absent.
    async fn read_footer(&self, pack: PackName, size: u64) -> Result<Option<Index>> {
        if size < format::MIN_LEN {
            return Ok(None);
        }
        let mut len = format::TAIL_LEN;
        for _ in 0..=READINGS {
            let Some(tail) = self.client.get_range(&pack.object(), size.saturating_sub(len)..size).await? else {
                return Ok(None);
            };
            match offload_long(tail.bytes.len(), move || format::open(pack, size, &tail.bytes)).await? {
                Tail::Index(index) => return Ok(Some(index)),
                Tail::Longer(needed) => len = needed,
                Tail::Damaged => {}
            }
        }
        Ok(None)
    }
}

async fn open_root(bytes: Bytes) -> Result<Option<Arc<Root>>> {
    offload_long(bytes.len(), move || Root::open(&bytes).map(Arc::new)).await
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
