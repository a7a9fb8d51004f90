//! The entries, as their handles need them.

use std::sync::Arc;

use backend_kit::{Context, EntryStore, Gate, Hub, Page, Scope, Test, frame, offload, range_below};
use bytes::Bytes;
use rocksdb::{DBRawIterator, ReadOptions, Snapshot};
use store_api::{Init, Key, Result, TestAndSet, Watch};

use crate::{
    Instance, ROCKSDB,
    database::{Lease, Space, ended, for_page, in_passing, in_passing_at},
    error::malformed,
    writer::Write,
};

/// How many keys a page of a stream has at the most, and how many bytes are read for it.
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
        offload(move || page(&self.database.lease()?, &under, from, |key, _| Ok(key.clone()))).await?
    }

    async fn page_of_entries(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<(Key, Bytes), Cursor>> {
        let item =
            |key: &Key, frame: &[u8]| open_frame(key, frame).map(|value| (key.clone(), Bytes::copy_from_slice(value)));
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
    let own = own_row(lease, in_passing_at(then), scope.path());
    let below = match scope {
        Scope::Key(_) => None,
        Scope::Under(under) => {
            let (start, end) = bounds_below(under);
            Some(lease.range(in_passing_at(then), Space::Entries, &start, end.as_deref()))
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
    let mut rows = lease.range(in_passing(), Space::Entries, &start, end.as_deref());
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
fn own_row<'l>(lease: &'l Lease<'_>, options: ReadOptions, key: &Key) -> Option<DBRawIterator<'l>> {
    if key.is_root() {
        return None;
    }
    let start = key.as_str().as_bytes();
    Some(lease.range(options, Space::Entries, start, Some(&behind(start))))
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
    item: impl Fn(&Key, &[u8]) -> Result<T>,
) -> Result<Page<T, Cursor>> {
    let item = |key: &Key, frame: &[u8]| item(key, frame).map_err(|error| error.with_key(key));
    let mut page = Page { items: Vec::new(), next: None };
    let (mut bytes, is_first) = (0, from.is_none());
    let (mut start, end) = bounds_below(under);
    match from {
        None => {
            if let Some(rows) = own_row(lease, for_page(is_first), under) {
                page.items.extend(rows.value().map(|frame| item(under, frame)));
                bytes += rows.value().map_or(0, <[u8]>::len);
                ended(&rows)?;
            }
        }
        Some(last) => start = behind(&last),
    }
    let mut rows = lease.range(for_page(is_first), Space::Entries, &start, end.as_deref());
    while let Some((name, frame)) = rows.item() {
        lease.check_open()?;
        page.items.push(key_of(name).and_then(|key| item(&key, frame)));
        bytes += frame.len();
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
    use rocksdb::properties::BLOCK_CACHE_USAGE;
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
        let listed = page_of_keys(&lease, None).map(drop);
        assert_eq!(listed.unwrap_err().kind(), ErrorKind::Closed);
    }

    fn page_of_keys(lease: &Lease<'_>, from: Cursor) -> Result<Page<Key, Cursor>> {
        page(lease, &Key::root(), from, |key, _| Ok(key.clone()))
    }

    /// Sets entries of values that do not compress, closes the store, and opens it again: nothing is in memory.
    async fn store_of(directory: &TempDir, entries: usize, value_len: usize) -> Rocksdb {
        let options = RocksdbOptions::new(directory.path().join("store")).sync(false);
        let store = options.clone().open().await.unwrap();
        for number in 0..entries {
            let mut value = vec![0; value_len];
            fastrand::fill(&mut value);
            let key = Key::new(format!("{number:06}")).unwrap();
            store.atomic_write().unwrap().set(&key, value.into()).await.unwrap();
        }
        store.close().await.unwrap();
        options.open().await.unwrap()
    }

    #[tokio::test]
    async fn a_page_of_keys_reads_no_more_than_its_bytes() {
        let directory = TempDir::new().unwrap();
        let store = store_of(&directory, 6, PAGE_BYTES / 4).await;
        let lease = store.instance.database.lease().unwrap();
        let first = page_of_keys(&lease, None).unwrap();
        assert_eq!(first.items.len(), 4);
        let second = page_of_keys(&lease, first.next.unwrap()).unwrap();
        assert!(second.items.len() == 2 && second.next.is_none(), "{second:?}");
    }

    #[tokio::test]
    async fn what_is_scanned_does_not_take_the_place_of_what_is_read_again() {
        let directory = TempDir::new().unwrap();
        let store = store_of(&directory, 2 * PAGE_KEYS, 1024).await;
        let lease = store.instance.database.lease().unwrap();
        let cached = || lease.rocksdb().property_int_value(BLOCK_CACHE_USAGE).unwrap().unwrap();
        let unread = cached();
        let first = page_of_keys(&lease, None).unwrap();
        let read = cached();
        assert!(read > unread, "the first page is kept: {read}");
        let second = page_of_keys(&lease, first.next.unwrap()).unwrap();
        assert_eq!(second.items.len(), PAGE_KEYS);
        assert_eq!(cached(), read);
        let snapshot = lease.rocksdb().snapshot();
        for mut rows in rows_of(&lease, &snapshot, &Scope::Under(Key::root())).into_iter().flatten() {
            while rows.valid() {
                rows.next();
            }
        }
        assert_eq!(cached(), read);
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
