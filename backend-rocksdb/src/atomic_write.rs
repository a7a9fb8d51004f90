//! The entries, as their handles need them.

use std::sync::Arc;

use backend_kit::{Context, EntryStore, Gate, Hub, Page, Scope, Test, frame, offload, range_below};
use bytes::Bytes;
use rocksdb::{DBRawIterator, Snapshot};
use store_api::{Init, Key, Result, TestAndSet, Watch};

use crate::{
    Instance, ROCKSDB,
    database::{Lease, Space, ended},
    error::malformed,
    writer::Write,
};

/// How many keys, and how many bytes of values, a page of a stream has at the most.
const PAGE_KEYS: usize = 1024;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How far a stream has come.
#[derive(Clone, Default)]
pub(crate) enum Cursor {
    #[default]
    Start,
    /// Behind this key.
    Behind(Key),
}

impl EntryStore for Instance {
    const CONTEXT: Context = ROCKSDB;

    type Cursor = Cursor;

    fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    async fn has(self: &Arc<Self>, key: &Key) -> Result<bool> {
        Ok(self.read(Space::Entries, key.as_str().as_bytes(), |_| Ok(())).await?.is_some())
    }

    async fn find(self: &Arc<Self>, key: &Key) -> Result<Option<Bytes>> {
        let own = key.clone();
        let take = move |frame: &[u8]| open_frame(&own, frame).map(Bytes::copy_from_slice);
        self.read(Space::Entries, key.as_str().as_bytes(), take).await
    }

    async fn write(self: &Arc<Self>, key: &Key, test: Test, set: Option<Bytes>) -> Result<TestAndSet> {
        let long = test.is_long(set.as_ref());
        self.committer.write_sized(Write::Entry { key: key.clone(), test, set }, long).await
    }

    async fn clear(self: &Arc<Self>) -> Result<()> {
        // With watches it reads what they cover.
        self.committer.enqueue(Write::Clear).await.map(drop)
    }

    async fn page_of_keys(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<Key, Cursor>> {
        offload(move || page(&self.database.lease()?, &under, &from, |key, _| (Ok(key.clone()), 0))).await?
    }

    async fn page_of_entries(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<(Key, Bytes), Cursor>> {
        let item = |key: &Key, frame: &[u8]| {
            let value = open_frame(key, frame).map(|value| (key.clone(), Bytes::copy_from_slice(value)));
            (value, frame.len())
        };
        offload(move || page(&self.database.lease()?, &under, &from, item)).await?
    }

    async fn watch(self: &Arc<Self>, handle: &Arc<Gate>, scope: Scope, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        let (instance, handle) = (Arc::clone(self), Arc::clone(handle));
        // A group may be syncing, and holds the order meanwhile.
        offload(move || register(&instance, &handle, &scope, init)).await?
    }
}

fn register(
    instance: &Arc<Instance>,
    handle: &Arc<Gate>,
    scope: &Scope,
    init: Init<Vec<(Key, Bytes)>>,
) -> Result<Watch> {
    let lease = instance.database.lease()?;
    let prepared = instance.hub.prepare(handle, scope.clone(), init)?;
    let order = instance.database.hold_order();
    let priming = prepared.register()?;
    if !priming.wants_current_state() {
        return Ok(priming.finish(Arc::clone(instance)));
    }
    // The state at this number: what is published behind it has a higher one.
    let now = lease.rocksdb().latest_sequence_number();
    let then = lease.rocksdb().snapshot();
    drop(order);
    let [own, below] = rows_of(&lease, Some(&then), scope);
    for mut rows in [own, below].into_iter().flatten() {
        while let Some((key, frame)) = rows.item() {
            let key = key_of(key)?;
            let value = open_frame(&key, frame).map_err(|error| error.with_key(&key))?;
            priming.offer(&key, now, Bytes::copy_from_slice(value));
            rows.next();
        }
        ended(&rows)?;
    }
    Ok(priming.finish(Arc::clone(instance)))
}

/// The rows of a scope, as they were then or are: that of its own path, and those below it.
pub(crate) fn rows_of<'l>(
    lease: &'l Lease<'_>,
    then: Option<&Snapshot<'_>>,
    scope: &Scope,
) -> [Option<DBRawIterator<'l>>; 2] {
    let own = own_row(lease, then, scope.path());
    let below = match scope {
        Scope::Key(_) => None,
        Scope::Under(under) => {
            let (start, end) = bounds_below(under);
            Some(lease.range_at(then, Space::Entries, &start, end.as_deref()))
        }
    };
    [own, below]
}

/// The row of a key alone, where it can have one.
fn own_row<'l>(lease: &'l Lease<'_>, then: Option<&Snapshot<'_>>, key: &Key) -> Option<DBRawIterator<'l>> {
    if key.is_root() {
        return None;
    }
    let start = key.as_str().as_bytes();
    // The least that is greater.
    let end = [start, &[0]].concat();
    Some(lease.range_at(then, Space::Entries, start, Some(&end)))
}

/// From where on, and up to where, the keys below a path are.
fn bounds_below(under: &Key) -> (Vec<u8>, Option<Vec<u8>>) {
    use std::ops::Bound::{Excluded, Included, Unbounded};

    let (start, end) = range_below(under);
    let start = match start {
        Included(start) | Excluded(start) => start.into(),
        Unbounded => Vec::new(),
    };
    let end = match end {
        Included(end) | Excluded(end) => Some(end.into()),
        Unbounded => None,
    };
    (start, end)
}

fn page<T>(
    lease: &Lease<'_>,
    under: &Key,
    from: &Cursor,
    item: impl Fn(&Key, &[u8]) -> (Result<T>, usize),
) -> Result<Page<T, Cursor>> {
    let mut page = Page { items: Vec::new(), next: None };
    let (mut start, end) = bounds_below(under);
    match from {
        Cursor::Start => {
            if let Some(rows) = own_row(lease, None, under) {
                page.items.extend(rows.value().map(|frame| item(under, frame).0));
                ended(&rows)?;
            }
        }
        Cursor::Behind(last) => start = [last.as_str().as_bytes(), &[0]].concat(),
    }
    let mut rows = lease.range(Space::Entries, &start, end.as_deref());
    let mut bytes = 0;
    while let Some((key, frame)) = rows.item() {
        let key = key_of(key)?;
        let (found, len) = item(&key, frame);
        page.items.push(found.map_err(|error| error.with_key(&key)));
        bytes += len;
        if page.items.len() >= PAGE_KEYS || bytes >= PAGE_BYTES {
            page.next = Some(Cursor::Behind(key));
            return Ok(page);
        }
        rows.next();
    }
    ended(&rows)?;
    Ok(page)
}

/// A key as it is stored.
pub(crate) fn key_of(bytes: &[u8]) -> Result<Key> {
    let path = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    Key::new(path).map_err(|_| malformed())
}

/// The value in a frame of this key (A12).
pub(crate) fn open_frame<'f>(key: &Key, frame: &'f [u8]) -> Result<&'f [u8]> {
    frame::open(key.as_str().as_bytes(), frame)
}
