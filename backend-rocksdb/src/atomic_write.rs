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

/// Behind this row, whose key may be damaged.
type Cursor = Option<Vec<u8>>;

impl EntryStore for Instance {
    type Cursor = Cursor;

    fn context(&self) -> Context {
        ROCKSDB
    }

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
        self.committer.write(Write::Entry { key: key.clone(), test, set }).await
    }

    async fn clear(self: &Arc<Self>) -> Result<()> {
        // With watches it reads what they cover.
        self.committer.enqueue(Write::Clear).await.map(drop)
    }

    async fn page_of_keys(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<Key, Cursor>> {
        offload(move || page(&self.database.lease()?, &under, from, |key, _| (Ok(key.clone()), 0))).await?
    }

    async fn page_of_entries(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<(Key, Bytes), Cursor>> {
        let item = |key: &Key, frame: &[u8]| {
            let value = open_frame(key, frame).map(|value| (key.clone(), Bytes::copy_from_slice(value)));
            (value, frame.len())
        };
        offload(move || page(&self.database.lease()?, &under, from, item)).await?
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
    for mut rows in rows_of(&lease, &then, scope).into_iter().flatten() {
        while let Some((name, frame)) = rows.item() {
            lease.check_open()?;
            if let Ok(key) = key_of(name) {
                let value = open_frame(&key, frame).map_err(|error| error.with_key(&key))?;
                priming.offer(&key, now, Bytes::copy_from_slice(value));
            } else {
                pass_over();
            }
            rows.next();
        }
        ended(&rows)?;
    }
    Ok(priming.finish(Arc::clone(instance)))
}

/// A damaged key is nobody's, so that nobody's watch can tell of it; `list` does.
fn pass_over() {
    tracing::warn!("a key of the store is damaged");
}

/// The rows of a scope, as they were then: that of its own path, and those below it.
fn rows_of<'l>(lease: &'l Lease<'_>, then: &Snapshot<'_>, scope: &Scope) -> [Option<DBRawIterator<'l>>; 2] {
    let own = own_row(lease, Some(then), scope.path());
    let below = match scope {
        Scope::Key(_) => None,
        Scope::Under(under) => {
            let (start, end) = bounds_below(under);
            Some(lease.range_at(Some(then), Space::Entries, &start, end.as_deref()))
        }
    };
    [own, below]
}

/// Adds the names of the entries in a scope. What is read for them does not take the place of what is read for others.
pub(crate) fn names_in(lease: &Lease<'_>, scope: &Scope, names: &mut Vec<Key>) -> Result<()> {
    let path = scope.path();
    if !path.is_root() && lease.has_entry(path.as_str().as_bytes())? {
        names.push(path.clone());
    }
    let Scope::Under(under) = scope else { return Ok(()) };
    let (start, end) = bounds_below(under);
    let mut rows = lease.range_in_passing(Space::Entries, &start, end.as_deref());
    while let Some(name) = rows.key() {
        lease.check_open()?;
        match key_of(name) {
            Ok(key) => names.push(key),
            Err(_) => pass_over(),
        }
        rows.next();
    }
    ended(&rows)
}

/// The row of a key alone, where it can have one.
fn own_row<'l>(lease: &'l Lease<'_>, then: Option<&Snapshot<'_>>, key: &Key) -> Option<DBRawIterator<'l>> {
    if key.is_root() {
        return None;
    }
    let start = key.as_str().as_bytes();
    Some(lease.range_at(then, Space::Entries, start, Some(&behind(start))))
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
    from: Cursor,
    item: impl Fn(&Key, &[u8]) -> (Result<T>, usize),
) -> Result<Page<T, Cursor>> {
    let mut page = Page { items: Vec::new(), next: None };
    let (mut start, end) = bounds_below(under);
    match from {
        None => {
            if let Some(rows) = own_row(lease, None, under) {
                page.items.extend(rows.value().map(|frame| item(under, frame).0));
                ended(&rows)?;
            }
        }
        Some(last) => start = behind(&last),
    }
    let mut rows = lease.range(Space::Entries, &start, end.as_deref());
    let mut bytes = 0;
    while let Some((name, frame)) = rows.item() {
        let (found, len) = match key_of(name) {
            Ok(key) => {
                let (found, len) = item(&key, frame);
                (found.map_err(|error| error.with_key(&key)), len)
            }
            Err(error) => (Err(error), 0),
        };
        page.items.push(found);
        bytes += len;
        if page.items.len() >= PAGE_KEYS || bytes >= PAGE_BYTES {
            page.next = Some(Some(name.to_owned()));
            return Ok(page);
        }
        rows.next();
    }
    ended(&rows)?;
    Ok(page)
}

/// The least that is greater than the name of a row.
pub(crate) fn behind(name: &[u8]) -> Vec<u8> {
    [name, &[0]].concat()
}

/// A key as it is stored.
fn key_of(bytes: &[u8]) -> Result<Key> {
    let path = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    Key::new(path).map_err(|_| malformed())
}

/// The value in a frame of this key (A12).
pub(crate) fn open_frame<'f>(key: &Key, frame: &'f [u8]) -> Result<&'f [u8]> {
    frame::open(key.as_str().as_bytes(), frame)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use store_api::{AtomicWrite, Backend, Diff, EntryRead, ErrorKind, Event};
    use tempfile::TempDir;

    use super::*;
    use crate::{Rocksdb, RocksdbOptions};

    /// A store with the entries `a` and `b`, and a row between them whose key is none.
    async fn store_in(directory: &TempDir) -> Rocksdb {
        let store = RocksdbOptions::new(directory.path().join("store")).open().await.unwrap();
        let entries = store.atomic_write().unwrap();
        for path in ["a", "b"] {
            entries.set(&Key::new(path).unwrap(), "value".into()).await.unwrap();
        }
        let lease = store.instance.database.lease().unwrap();
        lease.rocksdb().put(b"a//b", frame::seal(b"a//b", b"value")).unwrap();
        drop(lease);
        store
    }

    #[tokio::test]
    async fn a12_a_damaged_key_is_told_and_hides_no_other() {
        let directory = TempDir::new().unwrap();
        let store = store_in(&directory).await;
        let entries = store.atomic_write().unwrap();
        let listed: Vec<_> = entries.list(&Key::root()).map(|key| key.map_err(|error| error.kind())).collect().await;
        assert_eq!(listed, [Ok(Key::new("a").unwrap()), Err(ErrorKind::Corrupt), Ok(Key::new("b").unwrap())]);
        let told: Vec<_> = entries.entries(&Key::root()).map(|entry| entry.is_ok()).collect().await;
        assert_eq!(told, [true, false, true]);
    }

    #[tokio::test]
    async fn l3_what_looks_at_a_whole_scope_gives_way_to_a_close() {
        let directory = TempDir::new().unwrap();
        let store = store_in(&directory).await;
        store.instance.database.start_closing();
        let known = Init::Known(Vec::new());
        let watch = store.atomic_write().unwrap().watch(&Key::root(), known).await.map(drop);
        assert_eq!(watch.unwrap_err().kind(), ErrorKind::Closed);
        let lease = store.instance.database.lease().unwrap();
        let named = names_in(&lease, &Scope::Under(Key::root()), &mut Vec::new());
        assert_eq!(named.unwrap_err().kind(), ErrorKind::Closed);
    }

    #[tokio::test]
    async fn a12_a_watch_passes_over_a_damaged_key() {
        let directory = TempDir::new().unwrap();
        let store = store_in(&directory).await;
        let mut watch = store.atomic_write().unwrap().watch(&Key::root(), Init::Known(Vec::new())).await.unwrap();
        for path in ["a", "b"] {
            let added = Event::Changed { key: Key::new(path).unwrap(), diff: Diff::Added { new: "value".into() } };
            assert_eq!(watch.next().await.unwrap().unwrap(), added);
        }
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::CaughtUp);
    }
}
