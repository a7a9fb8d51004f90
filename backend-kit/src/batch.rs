//! A batch that is buffered until it commits, so that it holds no lock of the store while it is open (I7).

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::poll_fn,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use foldhash::fast::RandomState;
use store_api::{
    Append, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, Error, ErrorKind, HashFunction, Result,
};

use crate::{Addition, Context, Gate, OFFLOAD_LEN, Page, Pages, false_value, sync::Mutex};

/// How many [bytes](Addition::bytes) the additions of a batch may have together unless told otherwise: 256 MiB.
pub const DEFAULT_BATCH_LIMIT: usize = 256 * 1024 * 1024;

const KEYS_PER_PAGE: usize = 256;

/// What a [`BufferedBatch`] is committed to: a handle on an indexable store.
#[async_trait]
pub trait BatchTarget: ContentRead + 'static {
    /// Who is named in errors.
    fn context(&self) -> Context;

    /// Stores all of it at one instant, whole or not at all, also across a crash (I7).
    async fn commit(&self, additions: Vec<Addition>) -> Result<()>;
}

/// A batch over any store that can take many values at one instant.
pub struct BufferedBatch<S> {
    store: S,
    gate: Arc<Gate>,
    verify: bool,
    limit: usize,
    /// `None` once it ended.
    own: Mutex<Option<Own>>,
}

#[derive(Default)]
struct Own {
    additions: HashMap<ContentHash, Addition, RandomState>,
    bytes: usize,
}

impl<S: BatchTarget> BufferedBatch<S> {
    /// An empty batch over `store`, which ends with `handle`. Its additions together may have `limit`
    /// [bytes](Addition::bytes); values read from it are checked against their hash if `verify` says so.
    pub fn new(store: S, handle: &Arc<Gate>, limit: usize, verify: bool) -> Self {
        Self { store, gate: handle.child(), verify, limit, own: Mutex::new(Some(Own::default())) }
    }

    async fn append(&self, given: Option<ContentHash>, value: Bytes) -> Result<ContentKey> {
        self.gate.check()?;
        let function = self.hash_function();
        let addition = Addition::of(function, given, value).await?;
        let hash = addition.hash;
        // Of two values under one hash the true one stays (I4). Which that is may take long to tell: nobody waits for it.
        if let Some(doubtful) = self.insert(addition)?
            && crate::hash(function, &doubtful.value).await? == hash
        {
            self.insert(Addition { trusted: true, ..doubtful })?;
        }
        Ok(hash.into())
    }

    /// Takes a value in, unless the batch has the same one or the true one. It comes back where the batch has another one
    /// under its hash, and it may be the true one.
    fn insert(&self, addition: Addition) -> Result<Option<Addition>> {
        let mut own = self.own.lock();
        let own = own.as_mut().ok_or_else(Error::closed)?;
        let replaced = match own.additions.get(&addition.hash) {
            Some(present) if present.trusted || is_same(present, &addition) => return Ok(None),
            Some(_) if !addition.trusted => return Ok(Some(addition)),
            Some(present) => present.bytes(),
            None => 0,
        };
        let bytes = own.bytes - replaced + addition.bytes();
        if bytes > self.limit {
            return Err(Error::new(
                ErrorKind::ValueTooLarge,
                format!(
                    "the batch would hold {bytes} bytes, and {} are allowed; commit it, and begin another",
                    self.limit
                ),
            ));
        }
        own.bytes = bytes;
        own.additions.insert(addition.hash, addition);
        Ok(None)
    }

    fn own(&self, hash: &ContentHash) -> Result<Option<Addition>> {
        self.gate.check()?;
        let own = self.own.lock();
        Ok(own.as_ref().ok_or_else(Error::closed)?.additions.get(hash).cloned())
    }

    /// The batch's own value, verified where the store verifies (I6).
    async fn own_value(&self, hash: &ContentHash) -> Result<Option<Bytes>> {
        let Some(own) = self.own(hash)? else { return Ok(None) };
        if self.verify && !own.trusted && crate::hash(self.hash_function(), &own.value).await? != own.hash {
            return Err(false_value());
        }
        Ok(Some(own.value))
    }

    /// Ends the batch, and takes what it held.
    fn end(&self) -> Result<Vec<Addition>> {
        self.gate.check()?;
        let own = self.own.lock().take().ok_or_else(Error::closed)?;
        self.gate.close();
        Ok(own.additions.into_values().collect())
    }
}

#[async_trait]
impl<S: BatchTarget> ContentRead for BufferedBatch<S> {
    fn hash_function(&self) -> HashFunction {
        self.store.hash_function()
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        let hash = key.to_hash();
        match self.own(&hash).map_err(self.store.context().at("mem", hash))? {
            Some(_) => Ok(true),
            None => self.store.mem(key).await,
        }
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        let hash = key.to_hash();
        match self.own_value(&hash).await.map_err(self.store.context().at("find", hash))? {
            None => self.store.find(key).await,
            own => Ok(own),
        }
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        match self.own(hash).map_err(self.store.context().at("index", hash))? {
            Some(_) => Ok(Some((*hash).into())),
            None => self.store.index(hash).await,
        }
    }

    /// The batch's own keys, then those of the store that are not among them.
    fn keys(&self) -> ContentKeyStream {
        let own: HashSet<ContentHash> =
            self.own.lock().as_ref().map(|own| own.additions.keys().copied().collect()).unwrap_or_default();
        let start = Keys::Own(own, self.store.keys());
        Box::pin(Pages::new(self.store.context(), "keys", Arc::clone(&self.gate), start, Keys::page))
    }
}

/// Whether two values are seen to be equal without a long look.
fn is_same(one: &Addition, other: &Addition) -> bool {
    one.value.len() <= OFFLOAD_LEN && one.value == other.value
}

/// Where the keys of a batch are read from.
enum Keys {
    Own(HashSet<ContentHash>, ContentKeyStream),
    Store(HashSet<ContentHash>, ContentKeyStream),
}

impl Keys {
    /// The batch's own keys are the first page; the store's follow, without those.
    async fn page(self) -> Result<Page<ContentKey, Self>> {
        match self {
            Self::Own(own, store) => Ok(Page {
                items: own.iter().map(|hash| Ok((*hash).into())).collect(),
                next: Some(Self::Store(own, store)),
            }),
            Self::Store(own, mut store) => {
                let mut items = Vec::new();
                while items.len() < KEYS_PER_PAGE {
                    match poll_fn(|cx| store.as_mut().poll_next(cx)).await {
                        Some(Ok(key)) if own.contains(&key.to_hash()) => {}
                        Some(item) => items.push(item),
                        None => return Ok(Page { items, next: None }),
                    }
                }
                Ok(Page { items, next: Some(Self::Store(own, store)) })
            }
        }
    }
}

#[async_trait]
impl<S: BatchTarget> Append for BufferedBatch<S> {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.append(None, value).await.map_err(self.store.context().on("add"))
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.append(Some(hash), value).await.map_err(self.store.context().at("unsafe_add", hash))
    }
}

#[async_trait]
impl<S: BatchTarget> Batch for BufferedBatch<S> {
    async fn commit(&self) -> Result<()> {
        let additions = self.end().map_err(self.store.context().on("commit"))?;
        if additions.is_empty() { Ok(()) } else { self.store.commit(additions).await }
    }

    async fn abort(&self) -> Result<()> {
        self.end().map(drop).map_err(self.store.context().on("abort"))
    }
}

impl<S> fmt::Debug for BufferedBatch<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedBatch").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(irminsul_loom)))]
mod tests;
