//! The objects of the entries: how one is read, and what was seen of it last.

use std::{fmt, mem, sync::Arc, time::Duration};

use backend_kit::offload_long;
use bytes::Bytes;
use object_store::PutPayload;
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use store_api::{Key, Result};
use tokio::time::Instant;

use crate::{
    client::{self, Client, Failure, Object, Version},
    frame::{Frame, MAX_LEN, TOMBSTONE_LEN, Writer, rotten},
    names,
};

/// How many bytes of entries are kept in memory, and how many entries are expected in them.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
const CACHE_ENTRIES: usize = 16 * 1024;
/// Into how many parts the cache is divided, each under a lock of its own. A value is cached that fits into one of
/// them, with what belongs to it: so none that is not its own. Requests take so long that nobody waits for a lock.
const CACHE_SHARDS: usize = CACHE_BYTES / client::OWNED_LEN;
/// How long what was seen is tried upon without a read. Longer would spare a read more often; but who finds that so many
/// others wrote since that an object does not name them all cannot tell whether it was one of them (A5).
const FRESH: Duration = Duration::from_secs(5);

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

    /// What the object holds; `None` where there is none, and where it rotted.
    pub(crate) fn frame(&self) -> Option<&Frame> {
        match self {
            Self::Kept { frame, .. } => Some(frame),
            Self::Nothing | Self::Rotten { .. } => None,
        }
    }

    pub(crate) fn is_rotten(&self) -> bool {
        matches!(self, Self::Rotten { .. })
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
    seen: Cache<Key, Seen, Weight>,
}

/// What was there at a time.
#[derive(Clone)]
struct Seen {
    state: Arc<State>,
    at: Instant,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Seen> for Weight {
    fn weight(&self, key: &Key, seen: &Seen) -> u64 {
        let frame = if let State::Kept { frame, .. } = &*seen.state { frame.weight() } else { 0 };
        (key.as_str().len() + 128 + frame) as u64
    }
}

impl Entries {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        let mut options = OptionsBuilder::new();
        options.shards(CACHE_SHARDS).estimated_items_capacity(CACHE_ENTRIES).weight_capacity(CACHE_BYTES as u64);
        let options = options.build().expect("both capacities are set");
        let hasher = DefaultHashBuilder::default();
        Self { client, seen: Cache::with_options(options, Weight, hasher, DefaultLifecycle::default()) }
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The entry's state at some time during the call.
    pub(crate) async fn read(&self, key: &Key) -> Result<Arc<State>> {
        self.read_until(key, self.client.until()).await
    }

    /// The same, tried again until a time.
    pub(crate) async fn read_until(&self, key: &Key, until: Instant) -> Result<Arc<State>> {
        let seen = self.seen.get(key).map(|seen| seen.state);
        let known = seen.as_ref().and_then(|state| state.version());
        match (self.ask(key, known, until).await?, seen) {
            (Some(state), _) | (None, Some(state)) => Ok(state),
            (None, None) => unreachable!("nothing is unchanged where no version was named"),
        }
    }

    /// The entry's state, or `None` when the object is of this version.
    pub(crate) async fn read_unless(&self, key: &Key, known: Option<&Version>) -> Result<Option<Arc<State>>> {
        self.ask(key, known, self.client.until()).await
    }

    async fn ask(&self, key: &Key, known: Option<&Version>, until: Instant) -> Result<Option<Arc<State>>> {
        let name = names::of_entry(key);
        let state = match self.client.get_unless(&name, known, MAX_LEN, until).await? {
            client::Seen::Unchanged => {
                self.confirm(key, known);
                return Ok(None);
            }
            client::Seen::Changed(object) => self.open(key, &name, object, until).await?,
            client::Seen::Missing => State::Nothing,
        };
        let state = Arc::new(state);
        self.note(key, &state);
        Ok(Some(state))
    }

    /// It was seen again.
    fn confirm(&self, key: &Key, version: Option<&Version>) {
        if let Some(seen) = self.seen.get(key)
            && seen.state.version() == version
        {
            self.note(key, &seen.state);
        }
    }

    async fn open(&self, key: &Key, name: &str, mut object: Object, until: Instant) -> Result<State> {
        let mut before: Option<Object> = None;
        while object.size <= MAX_LEN {
            if let Some(frame) = open_frame(key, &object.bytes).await? {
                return Ok(State::Kept { version: object.version, frame });
            }
            // Bytes that rotted are the same every time, and those that are garbled on their way are not.
            let is_rot = before.is_some_and(|before| {
                (&before.version, &before.bytes) == (&object.version, &object.bytes) || Instant::now() >= until
            });
            if is_rot {
                break;
            }
            let Some(again) = self.client.get(name, MAX_LEN).await? else { return Ok(State::Nothing) };
            before = Some(mem::replace(&mut object, again));
        }
        Ok(State::Rotten { version: object.version })
    }

    /// The size of the object, of which one byte is read; `None` where there is none.
    pub(crate) async fn size_of(&self, key: &Key) -> Result<Option<u64>> {
        let name = names::of_entry(key);
        match self.client.get_range(&name, 0..1).await {
            Ok(object) => Ok(object.map(|object| object.size)),
            // Of an object without bytes no range can be read: it rotted, which is for a read of it to tell (A12).
            Err(failure) => match self.client.head(&name).await? {
                Some(object) if object.size == 0 => Ok(Some(0)),
                _ => Err(failure.into()),
            },
        }
    }

    /// Writes the frame if the object is still the one that it follows.
    pub(crate) async fn put(&self, key: &Key, frame: PutPayload, over: &State) -> Result<Version, Failure> {
        let name = names::of_entry(key);
        match over.version() {
            None => self.client.create(&name, frame).await,
            Some(version) => self.client.replace(&name, frame, version).await,
        }
    }

    /// What a write may be tried upon without a read: what was seen of the entry a short while ago, or nothing where
    /// nothing is expected.
    pub(crate) fn guess(&self, key: &Key, expects_nothing: bool) -> Option<Arc<State>> {
        match self.seen.get(key) {
            Some(seen) => (seen.at.elapsed() <= FRESH).then_some(seen.state),
            None => expects_nothing.then(|| Arc::new(State::Nothing)),
        }
    }

    pub(crate) fn note(&self, key: &Key, state: &Arc<State>) {
        match **state {
            State::Kept { .. } => self.seen.insert(key.clone(), Seen { state: Arc::clone(state), at: Instant::now() }),
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
    let (key, bytes) = (key.clone(), bytes.clone());
    offload_long(bytes.len(), move || Frame::open(&key, &bytes).ok()).await
}

/// The bytes of a frame, summed off the async worker when the value is large.
pub(crate) async fn seal(key: &Key, frame: &Frame) -> Result<PutPayload> {
    let (key, frame) = (key.clone(), frame.clone());
    offload_long(frame.weight(), move || frame.seal(&key)).await
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("cached", &self.seen.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use store_api::{AtomicWrite, Backend, EntryRead};

    use super::*;
    use crate::S3Options;

    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn what_is_cached_holds_its_own_bytes_and_what_is_too_long_for_it_is_not_cached() {
        let bucket = Arc::new(InMemory::new());
        let open = || S3Options::over(Arc::clone(&bucket) as _).open();
        let (writer, reader) = (open().await.unwrap(), open().await.unwrap());
        let large = Bytes::from(vec![b'x'; 8 * MIB]);
        let key = Key::new("k").unwrap();
        for (len, is_cached) in [(MIB, true), (MIB + 1, true), (3 * MIB, true), (4 * MIB, false), (5 * MIB, false)] {
            writer.atomic_write().unwrap().set(&key, large.slice(..len)).await.unwrap();
            assert_eq!(reader.atomic_write().unwrap().find(&key).await.unwrap().unwrap().len(), len);
            for store in [&writer, &reader] {
                let seen = store.instance.entries.guess(&key, false);
                let value = seen.as_ref().and_then(|state| state.value().unwrap());
                assert_eq!(value.map(Bytes::len), is_cached.then_some(len));
                assert!(value.is_none_or(|value| !large.as_ptr_range().contains(&value.as_ptr())), "{len}");
            }
        }
    }
}
