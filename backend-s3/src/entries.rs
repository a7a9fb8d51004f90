//! The objects of the entries: how one is read, and what was seen of it last.

use std::{fmt, sync::Arc};

use backend_kit::{OFFLOAD_LEN, offload};
use bytes::Bytes;
use object_store::PutPayload;
use quick_cache::{Weighter, sync::Cache};
use store_api::{Key, Result};

use crate::{
    client::{Client, Failure, Object, Seen, Version},
    frame::{Frame, TOMBSTONE_LEN, Writer, rotten},
    names,
};

/// How many bytes of entries are kept in memory, and how many entries are expected in them.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
const CACHE_ENTRIES: usize = 16 * 1024;

/// An entry's object, as it was seen.
pub(crate) enum State {
    /// There is no object: the key was never set.
    Nothing,
    Kept {
        version: Version,
        frame: Frame,
    },
    /// Its bytes are no frame of its key.
    Rotten {
        version: Version,
    },
}

impl State {
    pub(crate) fn version(&self) -> Option<&Version> {
        match self {
            Self::Nothing => None,
            Self::Kept { version, .. } | Self::Rotten { version } => Some(version),
        }
    }

    /// The value of the entry; `Corrupt` when it rotted.
    pub(crate) fn value(&self) -> Result<Option<&Bytes>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Kept { frame, .. } => Ok(frame.value.as_ref()),
            Self::Rotten { .. } => Err(rotten()),
        }
    }

    /// The write that follows.
    pub(crate) fn next(&self, writer: Writer, value: Option<Bytes>) -> Result<Frame> {
        match self {
            Self::Nothing => Frame::first(writer, value),
            Self::Kept { frame, .. } => frame.next(writer, value),
            Self::Rotten { .. } => Frame::over_rot(writer, value),
        }
    }
}

/// The entries' objects, and a cache of what was seen of them. What is cached may be old: it spares a body that did not
/// change, and is what a write is tried upon, but answers nothing by itself (A1).
pub(crate) struct Entries {
    client: Arc<Client>,
    seen: Cache<Key, Arc<State>, Weight>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<State>> for Weight {
    fn weight(&self, key: &Key, state: &Arc<State>) -> u64 {
        let frame = if let State::Kept { frame, .. } = &**state { frame.weight() } else { 0 };
        (key.as_str().len() + 128 + frame) as u64
    }
}

impl Entries {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client, seen: Cache::with_weighter(CACHE_ENTRIES, CACHE_BYTES, Weight) }
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The entry's state at some time during the call.
    pub(crate) async fn read(&self, key: &Key) -> Result<Arc<State>> {
        let seen = self.seen.get(key);
        let known = seen.as_ref().and_then(|state| state.version());
        match (self.read_unless(key, known).await?, &seen) {
            (Some(state), _) => Ok(state),
            (None, Some(seen)) => Ok(Arc::clone(seen)),
            (None, None) => Ok(Arc::new(State::Nothing)),
        }
    }

    /// The same, or `None` when the object is of this version.
    pub(crate) async fn read_unless(&self, key: &Key, known: Option<&Version>) -> Result<Option<Arc<State>>> {
        let name = names::of_entry(key);
        let found = match known {
            Some(version) => self.client.get_unless(&name, version).await?,
            None => self.client.get(&name, None).await?.map_or(Seen::Missing, Seen::Changed),
        };
        let state = Arc::new(match found {
            Seen::Unchanged => return Ok(None),
            Seen::Changed(object) => self.open(key, &name, object).await?,
            Seen::Missing => State::Nothing,
        });
        self.note(key, &state);
        Ok(Some(state))
    }

    async fn open(&self, key: &Key, name: &str, object: Object) -> Result<State> {
        if let Some(frame) = open_frame(key, &object.bytes).await? {
            return Ok(State::Kept { version: object.version, frame });
        }
        // Bytes that were garbled on their way are well the second time.
        let Some(object) = self.client.get(name, None).await? else { return Ok(State::Nothing) };
        Ok(match open_frame(key, &object.bytes).await? {
            Some(frame) => State::Kept { version: object.version, frame },
            None => State::Rotten { version: object.version },
        })
    }

    /// The size of the object, of which one byte is read; `None` where there is none.
    pub(crate) async fn size_of(&self, key: &Key) -> Result<Option<u64>> {
        let object = self.client.get(&names::of_entry(key), Some(0..1)).await?;
        Ok(object.map(|object| object.size))
    }

    /// Writes the frame if the object is still the one that it follows.
    pub(crate) async fn put(&self, key: &Key, frame: PutPayload, over: &State) -> Result<Version, Failure> {
        let name = names::of_entry(key);
        match over.version() {
            None => self.client.create(&name, frame).await,
            Some(version) => self.client.replace(&name, frame, version).await,
        }
    }

    /// What was seen of the entry last, which may be old.
    pub(crate) fn seen(&self, key: &Key) -> Option<Arc<State>> {
        self.seen.get(key)
    }

    pub(crate) fn note(&self, key: &Key, state: &Arc<State>) {
        match **state {
            State::Kept { .. } => self.seen.insert(key.clone(), Arc::clone(state)),
            State::Nothing | State::Rotten { .. } => self.forget(key),
        }
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.seen.remove(key);
    }
}

/// Whether an object of this size holds a value.
pub(crate) fn is_live(size: u64) -> bool {
    size != TOMBSTONE_LEN as u64
}

async fn open_frame(key: &Key, bytes: &Bytes) -> Result<Option<Frame>> {
    if bytes.len() <= OFFLOAD_LEN {
        return Ok(Frame::open(key, bytes).ok());
    }
    let (key, bytes) = (key.clone(), bytes.clone());
    offload(move || Frame::open(&key, &bytes).ok()).await
}

/// The bytes of a frame, summed off the async worker when the value is large.
pub(crate) async fn seal(key: &Key, frame: &Frame) -> Result<PutPayload> {
    if frame.weight() <= OFFLOAD_LEN {
        return Ok(frame.seal(key));
    }
    let (key, frame) = (key.clone(), frame.clone());
    offload(move || frame.seal(&key)).await
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("cached", &self.seen.len()).finish_non_exhaustive()
    }
}
