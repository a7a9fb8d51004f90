//! Writing packs. What is added while an upload is under way goes into the next one together: nobody waits for company.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
};

use backend_kit::{Addition, UnderWay, offload_long};
use object_store::PutPayload;
use store_api::{ContentHash, ContentKey, Effect, Error, ErrorKind, HashFunction, Result};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Packs,
    format::{self, Index},
    name::PackName,
    place::Place,
    run::place_in,
    view::WINDOW,
};
use crate::{
    client::{FailureKind, back_off},
    tasks::to_the_end,
};

/// No pack of what was added one by one has more values.
const PACK_VALUES: usize = 8192;

/// How many uploads are under way at most. A second one begins where what waits fills a pack.
const UPLOADS: usize = 4;

/// How often a pack is written that is late (see [`WINDOW`]).
const NAMES: usize = 4;

/// The single additions that wait for a pack.
pub(super) struct Queue {
    /// What waits is divided into packs of so many bytes. One longer value is a pack by itself.
    pack: usize,
    waiting: Vec<Waiting>,
    /// What they take in memory.
    bytes: usize,
    /// More bytes than these are looked through for those whose futures were dropped.
    swept: usize,
    uploads: usize,
}

struct Waiting {
    addition: Addition,
    reply: oneshot::Sender<Result<ContentKey>>,
    /// Until it is answered.
    _under_way: UnderWay,
}

impl Waiting {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.addition.value.len()
    }
}

impl Queue {
    pub(super) fn new(pack: usize) -> Self {
        Self { pack, waiting: Vec::new(), bytes: 0, swept: 0, uploads: 0 }
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes();
        self.waiting.push(waiting);
        if self.bytes > self.swept {
            self.sweep();
            self.swept = 2 * self.bytes.max(self.pack);
        }
    }

    /// Forgets those whose futures were dropped: they are not stored, as if they had never been called (A9).
    fn sweep(&mut self) {
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        self.bytes = self.waiting.iter().map(Waiting::bytes).sum();
    }

    /// What the next upload takes, if one is to begin.
    fn take(&mut self) -> Option<Vec<Waiting>> {
        let full = self.bytes >= self.pack || self.waiting.len() >= PACK_VALUES;
        let begins = self.uploads == 0 || (full && self.uploads < UPLOADS);
        if !begins {
            return None;
        }
        self.sweep();
        if self.waiting.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.bytes();
            bytes <= self.pack
        };
        let count = self.waiting.iter().take(PACK_VALUES).take_while(fits).count().max(1);
        let taken: Vec<Waiting> = self.waiting.drain(..count).collect();
        self.bytes -= taken.iter().map(Waiting::bytes).sum::<usize>();
        self.uploads += 1;
        Some(taken)
    }
}

/// Ends an upload, also when it panics.
struct Upload(Arc<Packs>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.queue().uploads -= 1;
        self.0.begin_uploads();
    }
}

impl Packs {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a value (I1, I4). One that this instance knows to be there costs no request.
    pub(crate) async fn add(self: &Arc<Self>, addition: Addition) -> Result<ContentKey> {
        let addition = if addition.trusted {
            addition
        } else {
            let hash = self.hash;
            offload_long(addition.value.len(), move || checked(hash, addition)).await?
        };
        if let Some(place) = self.present(&addition) {
            return Ok(place.to_key(&addition.hash));
        }
        let under_way = self.detached.begin()?;
        let (reply, answer) = oneshot::channel();
        self.queue().push(Waiting { addition, reply, _under_way: under_way });
        self.begin_uploads();
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Stores all of it with one PUT, whole or not at all (I7).
    pub(crate) async fn commit(self: &Arc<Self>, additions: Vec<Addition>) -> Result<()> {
        let packs = Arc::clone(self);
        let missing = offload_long(bytes(&additions), move || packs.missing(additions)).await?;
        if missing.is_empty() {
            return Ok(());
        }
        if missing.len() > format::MAX_VALUES {
            let message = format!("a batch has at most {} values; commit it, and begin another", format::MAX_VALUES);
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        let packs = Arc::clone(self);
        let under_way = self.detached.begin()?;
        to_the_end(&self.runtime, under_way, async move { packs.write(&Arc::new(missing)).await.map(drop) }).await
    }

    /// What has to be written.
    fn missing(&self, additions: Vec<Addition>) -> BTreeMap<ContentHash, Addition> {
        let checked = additions.into_iter().map(|addition| checked(self.hash, addition));
        let missing = checked.filter(|addition| self.present(addition).is_none());
        missing.map(|addition| (addition.hash, addition)).collect()
    }

    /// Where the value lies, if it need not be written.
    fn present(&self, addition: &Addition) -> Option<Place> {
        self.view().find_shared(&addition.hash).filter(|place| place.sound || !addition.trusted)
    }

    fn begin_uploads(self: &Arc<Self>) {
        while let Some(waiting) = { self.queue().take() } {
            let upload = Upload(Arc::clone(self));
            self.runtime.spawn(async move { upload.0.upload(waiting).await });
        }
    }

    async fn upload(self: &Arc<Self>, waiting: Vec<Waiting>) {
        let mut additions: BTreeMap<ContentHash, Addition> = BTreeMap::new();
        for Waiting { addition, .. } in &waiting {
            let kept = additions.entry(addition.hash).or_insert_with(|| addition.clone());
            if addition.trusted && !kept.trusted {
                *kept = addition.clone();
            }
        }
        let written = self.write(&Arc::new(additions)).await;
        for Waiting { addition, reply, _under_way } in waiting {
            let place = |index: &Index| place_in(index, &addition.hash).expect("it is in the pack");
            let key = written.as_ref().map(|index| place(index).to_key(&addition.hash)).map_err(Error::clone);
            // Whose future was dropped does not wait for it.
            let _ = reply.send(key);
        }
    }

    /// Writes a pack, and returns when everyone will find it.
    async fn write(self: &Arc<Self>, additions: &Arc<BTreeMap<ContentHash, Addition>>) -> Result<Index> {
        let patience = self.patience();
        self.list_first(patience).await?;
        let unknown = |error: Error| error.with_effect(Effect::Unknown);
        for names in 0..NAMES {
            let name = PackName::new(self.view().next_epoch(additions.keys()))?;
            let put = async {
                let (payload, index) = seal(name, additions).await?;
                self.put(&name.object(), payload, patience).await.map(|()| index)
            };
            let index = put.await.map_err(|error| if names == 0 { error } else { unknown(error) })?;
            if !self.is_late(name, patience).await.map_err(unknown)? {
                self.learn(name, Arc::clone(&index)).await.map_err(unknown)?;
                self.merge_if_due();
                return Ok(index);
            }
        }
        let late = "others write packs faster than this one can be written; add the values again";
        Err(Error::new(ErrorKind::Unavailable, late).with_effect(Effect::Unknown))
    }

    /// Whether others may miss a pack that was written (see [`WINDOW`]).
    async fn is_late(&self, pack: PackName, patience: Instant) -> Result<bool> {
        // Half a window earlier than need be, so that who hardly ever lists learns of later epochs in time.
        let (from, end) = (pack.epoch.saturating_add(WINDOW / 2), pack.epoch.saturating_add(WINDOW));
        let beyond = self.list_from(from, end, patience).await?;
        let Some(latest) = beyond.iter().map(|(pack, _)| pack.epoch).max() else { return Ok(false) };
        self.view().raise_top(latest);
        if latest <= end {
            return Ok(false);
        }
        // How far the others are is told by few names, behind the floor of the root.
        let _turn = self.turn(patience).await?;
        self.list_packs().await?;
        Ok(true)
    }

    /// Creates an object of a name that is used once. The name settles what an answer leaves open: what is there by this
    /// name is this object. It is tried again until `patience` ends.
    pub(super) async fn put(&self, object: &str, payload: PutPayload, patience: Instant) -> Result<()> {
        let mut effect = Effect::NotApplied;
        let mut attempt = 1;
        loop {
            let Err(failure) = self.client.create(object, payload.clone()).await else { return Ok(()) };
            match failure.kind {
                // It is there, or a request for it is under way and was answered with a conflict.
                FailureKind::Refused | FailureKind::Conflict => {
                    effect = Effect::Unknown;
                    let there = self.client.head(object).await.map_err(|failure| failure.into_error(effect))?;
                    if there.is_some() {
                        return Ok(());
                    }
                }
                FailureKind::Ambiguous => effect = Effect::Unknown,
                FailureKind::NotSent => {}
                _ => return Err(failure.into_error(effect)),
            }
            if Instant::now() >= patience {
                return Err(failure.into_error(effect));
            }
            back_off(attempt).await;
            attempt += 1;
        }
    }
}

/// The object of a pack, made off the async worker where that takes long.
async fn seal(name: PackName, additions: &Arc<BTreeMap<ContentHash, Addition>>) -> Result<(PutPayload, Index)> {
    let (bytes, additions) = (bytes(additions.values()), Arc::clone(additions));
    offload_long(bytes, move || format::seal(name, &additions)).await
}

fn bytes<'a>(additions: impl IntoIterator<Item = &'a Addition>) -> usize {
    additions.into_iter().map(Addition::bytes).sum()
}

/// Says of an addition whether its value has the hash.
fn checked(function: HashFunction, addition: Addition) -> Addition {
    let trusted = addition.trusted || function.hash(&addition.value) == addition.hash;
    Addition { trusted, ..addition }
}

fn ended() -> Error {
    Error::new(ErrorKind::Other, "the upload ended early; add the value again").with_effect(Effect::Unknown)
}
