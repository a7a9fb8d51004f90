//! The entries, as their handles need them.

use std::sync::Arc;

use backend_kit::{Context, EntryStore, Gate, Hub, Page, Scope, Test, frame, offload};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use store_api::{Init, Key, Result, TestAndSet, Watch};

use crate::{
    Instance, SQLITE,
    error::malformed,
    readers::Found,
    schema::{key_of, key_range, open_frame},
    writer::Write,
};

/// How many keys, and how many bytes of values, a page of a stream has at the most.
const PAGE_KEYS: i64 = 1024;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Behind this row, whose key may be damaged.
type Cursor = Option<Vec<u8>>;

/// What a row gave, and how many bytes of value that is. An inner error is about that row.
struct Item<T> {
    item: Result<T>,
    bytes: usize,
}

fn read_page<T>(
    connection: &Connection,
    under: &Key,
    from: Option<&[u8]>,
    columns: &str,
    item: fn(&Row<'_>) -> rusqlite::Result<Item<T>>,
) -> rusqlite::Result<Page<T, Cursor>> {
    let mut page = Page { items: Vec::new(), next: None };
    let (mut start, end) = key_range(under);
    let mut compare = ">=";
    match from {
        None => {
            let mut own = connection.prepare_cached(&format!("SELECT {columns} FROM entries WHERE key = ?1"))?;
            page.items.extend(own.query_row([under.as_str().as_bytes()], item).optional()?.map(|own| own.item));
        }
        Some(last) => {
            last.clone_into(&mut start);
            compare = ">";
        }
    }
    let sql = format!("SELECT {columns} FROM entries WHERE key {compare} ?1 AND key < ?2 ORDER BY key LIMIT ?3");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params![start, end, PAGE_KEYS])?;
    let mut bytes = 0;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        let found = item(row)?;
        bytes += found.bytes;
        read += 1;
        page.items.push(found.item);
        if read == PAGE_KEYS || bytes >= PAGE_BYTES {
            let last = row.get_ref(0)?.as_bytes()?;
            // A key that rotted may lead back to what was read, again and again.
            if *last > *start {
                page.next = Some(Some(last.to_owned()));
            } else {
                page.items.push(Err(malformed()));
            }
            break;
        }
    }
    Ok(page)
}

fn key_item(row: &Row<'_>) -> rusqlite::Result<Item<Key>> {
    let key = row.get_ref(0).map(key_of)?;
    Ok(Item { item: key, bytes: 0 })
}

fn entry_item(row: &Row<'_>) -> rusqlite::Result<Item<(Key, Bytes)>> {
    let frame = row.get_ref(1)?;
    let bytes = frame.as_blob().map_or(0, <[u8]>::len);
    let item = key_of(row.get_ref(0)?).and_then(|key| {
        let value = open_frame(&key, frame).map(Bytes::copy_from_slice).map_err(|error| error.with_key(&key))?;
        Ok((key, value))
    });
    Ok(Item { item, bytes })
}

/// The value of an entry, unless it is longer than `limit`.
fn find(connection: &Connection, key: &Key, limit: i64) -> rusqlite::Result<Found<Option<Bytes>>> {
    // The length is known without the overflow pages that a long value fills.
    let sql = "SELECT CASE WHEN length(frame) <= ?2 THEN frame END FROM entries WHERE key = ?1";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![key.as_str().as_bytes(), limit])?;
    let Some(row) = rows.next()? else { return Ok(Found::Answer(Ok(None))) };
    Ok(match row.get_ref(0)?.as_blob_or_null() {
        Ok(None) => Found::TooLong,
        Ok(Some(frame)) => {
            let value = frame::open(key.as_str().as_bytes(), frame);
            Found::Answer(value.map(|value| Some(Bytes::copy_from_slice(value))))
        }
        Err(_) => Found::Answer(Err(malformed())),
    })
}

impl Instance {
    /// What is read in the rows of a scope.
    async fn page<T: Send + 'static>(
        self: Arc<Self>,
        under: Key,
        from: Cursor,
        columns: &'static str,
        item: fn(&Row<'_>) -> rusqlite::Result<Item<T>>,
    ) -> Result<Page<T, Cursor>> {
        let page = move |connection: &Connection, _| {
            Ok(Found::Answer(Ok(read_page(connection, &under, from.as_deref(), columns, item)?)))
        };
        self.readers.read_blocking(page).await
    }
}

impl EntryStore for Instance {
    type Cursor = Cursor;

    fn context(&self) -> Context {
        SQLITE
    }

    fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    async fn has(self: &Arc<Self>, key: &Key) -> Result<bool> {
        let key = key.clone();
        let exists = move |connection: &Connection, _| {
            let mut exists = connection.prepare_cached("SELECT 1 FROM entries WHERE key = ?1")?;
            Ok(Found::Answer(Ok(exists.exists([key.as_str().as_bytes()])?)))
        };
        self.readers.read(exists).await
    }

    async fn find(self: &Arc<Self>, key: &Key) -> Result<Option<Bytes>> {
        let key = key.clone();
        self.readers.read(move |connection: &Connection, limit| find(connection, &key, limit)).await
    }

    async fn write(self: &Arc<Self>, key: &Key, test: Test, set: Option<Bytes>) -> Result<TestAndSet> {
        Ok(self.committer.write(Write::Entry { key: key.clone(), test, set }).await?.verdict)
    }

    async fn clear(self: &Arc<Self>) -> Result<()> {
        self.committer.enqueue(Write::Clear).await.map(drop)
    }

    async fn page_of_keys(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<Key, Cursor>> {
        self.page(under, from, "key", key_item).await
    }

    async fn page_of_entries(self: Arc<Self>, under: Key, from: Cursor) -> Result<Page<(Key, Bytes), Cursor>> {
        self.page(under, from, "key, frame", entry_item).await
    }

    async fn watch(self: &Arc<Self>, handle: &Arc<Gate>, scope: Scope, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        let (instance, handle) = (Arc::clone(self), Arc::clone(handle));
        let register = move || {
            let priming = instance.observer.register(&handle, &scope, init)?;
            Ok(priming.finish(Arc::clone(&instance)))
        };
        offload(register).await?
    }
}
