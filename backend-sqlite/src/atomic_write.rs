//! The handle on the entries.

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use backend_kit::{
    Gate, OFFLOAD_LEN, Page, Pages, Scope, Test, check_entry_key, check_value, frame, known_entry, offload,
};
use bytes::Bytes;
use futures_core::Stream;
use rusqlite::{Connection, OptionalExtension, Row, params};
use store_api::{AtomicWrite, EntryRead, EntryStream, Init, Key, KeyStream, Result, TestAndSet, Watch, WatchId};

use crate::{
    Instance, SQLITE,
    error::malformed,
    readers::Found,
    schema::{key_of, key_range, open_frame},
    writer::{Write, Written, unexpected_answer},
};

/// How many keys, and how many bytes of values, a page of a stream has at the most.
const PAGE_KEYS: i64 = 1024;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

pub(crate) struct SqliteAtomicWrite {
    instance: Arc<Instance>,
    gate: Arc<Gate>,
}

impl SqliteAtomicWrite {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        let gate = instance.gate.child();
        Self { instance, gate }
    }

    async fn write(&self, key: &Key, test: Test, set: Option<Bytes>) -> Result<TestAndSet> {
        self.gate.check()?;
        check_entry_key(key)?;
        set.as_ref().map_or(Ok(()), check_value)?;
        let is_long = |value: &Option<Bytes>| value.as_ref().is_some_and(|value| value.len() > OFFLOAD_LEN);
        let long = is_long(&set) || matches!(&test, Test::Is(test) if is_long(test));
        let write = Write::Entry { key: key.clone(), test, set };
        let committer = &self.instance.committer;
        match if long { committer.enqueue(write).await? } else { committer.write(write).await? } {
            Written::Entry(outcome) => Ok(outcome),
            Written::Content(_) | Written::Done => Err(unexpected_answer()),
        }
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        self.gate.check()?;
        let key = key.clone();
        let exists = move |connection: &Connection, _| {
            let mut exists = connection.prepare_cached("SELECT 1 FROM entries WHERE key = ?1")?;
            Ok(Found::Answer(Ok(exists.exists([key.as_str().as_bytes()])?)))
        };
        self.instance.readers.read(exists).await
    }

    async fn read(&self, key: &Key) -> Result<Option<Bytes>> {
        self.gate.check()?;
        let key = key.clone();
        self.instance.readers.read(move |connection: &Connection, limit| find(connection, &key, limit)).await
    }

    async fn start_watch(&self, scope: Scope, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.gate.check()?;
        let (instance, gate) = (Arc::clone(&self.instance), Arc::clone(&self.gate));
        let register = move || {
            let priming = instance.observer.register(&gate, &scope, init)?;
            Ok(priming.finish(Arc::clone(&instance)))
        };
        offload(register).await?
    }

    async fn enqueue(&self, write: Write) -> Result<()> {
        self.gate.check()?;
        self.instance.committer.enqueue(write).await.map(drop)
    }

    /// A stream of what is read in the rows of a scope, a page at a time.
    fn pages<T: Send + Unpin + 'static>(
        &self,
        under: &Key,
        columns: &'static str,
        item: fn(&Row<'_>) -> rusqlite::Result<Item<T>>,
    ) -> ItemStream<T> {
        let (instance, under) = (Arc::clone(&self.instance), under.clone());
        Box::pin(Pages::new(Arc::clone(&self.gate), Cursor::Start, move |from: Cursor| {
            let (instance, under) = (Arc::clone(&instance), under.clone());
            async move {
                let page = move |connection: &Connection, _| {
                    Ok(Found::Answer(Ok(read_page(connection, &under, &from, columns, item)?)))
                };
                instance.readers.read_blocking(page).await
            }
        }))
    }
}

type ItemStream<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// How far a stream has come.
#[derive(Clone)]
enum Cursor {
    Start,
    /// Behind this key.
    Behind(Vec<u8>),
}

/// What a row gave, and how many bytes of value that is. An inner error is about that row.
struct Item<T> {
    item: Result<T>,
    bytes: usize,
}

fn read_page<T>(
    connection: &Connection,
    under: &Key,
    from: &Cursor,
    columns: &str,
    item: fn(&Row<'_>) -> rusqlite::Result<Item<T>>,
) -> rusqlite::Result<Page<T, Cursor>> {
    let mut page = Page { items: Vec::new(), next: None };
    let (mut start, end) = key_range(under);
    let mut compare = ">=";
    match from {
        Cursor::Start => {
            let mut own = connection.prepare_cached(&format!("SELECT {columns} FROM entries WHERE key = ?1"))?;
            page.items.extend(own.query_row([under.as_str().as_bytes()], item).optional()?.map(|own| own.item));
        }
        Cursor::Behind(last) => {
            start.clone_from(last);
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
            page.next = Some(Cursor::Behind(row.get_ref(0)?.as_bytes()?.to_owned()));
            break;
        }
    }
    Ok(page)
}

fn key_item(row: &Row<'_>) -> rusqlite::Result<Item<Key>> {
    let key = row.get_ref(0).map(key_of)?;
    Ok(Item { item: key.map_err(SQLITE.on("list")), bytes: 0 })
}

fn entry_item(row: &Row<'_>) -> rusqlite::Result<Item<(Key, Bytes)>> {
    let frame = row.get_ref(1)?;
    let bytes = frame.as_blob().map_or(0, <[u8]>::len);
    let item = key_of(row.get_ref(0)?).map_err(SQLITE.on("entries")).and_then(|key| {
        let value = open_frame(&key, frame).map(Bytes::copy_from_slice).map_err(SQLITE.at("entries", &key))?;
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

#[async_trait]
impl EntryRead for SqliteAtomicWrite {
    async fn mem(&self, key: &Key) -> Result<bool> {
        self.exists(key).await.map_err(SQLITE.at("mem", key))
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        self.read(key).await.map_err(SQLITE.at("find", key))
    }

    fn list(&self, under: &Key) -> KeyStream {
        self.pages(under, "key", key_item)
    }

    fn entries(&self, under: &Key) -> EntryStream {
        self.pages(under, "key, frame", entry_item)
    }

    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.start_watch(Scope::Under(under.clone()), init).await.map_err(SQLITE.at("watch", under))
    }

    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        check_entry_key(key).map_err(SQLITE.at("watch_key", key))?;
        let init = known_entry(key, init);
        self.start_watch(Scope::Key(key.clone()), init).await.map_err(SQLITE.at("watch_key", key))
    }

    async fn unwatch(&self, id: WatchId) -> Result<()> {
        self.gate.check().map_err(SQLITE.on("unwatch"))?;
        self.instance.hub.unwatch(&self.gate, id);
        Ok(())
    }
}

#[async_trait]
impl AtomicWrite for SqliteAtomicWrite {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        self.write(key, Test::Any, Some(value)).await.map(drop).map_err(SQLITE.at("set", key))
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.write(key, Test::Is(test), set).await.map_err(SQLITE.at("test_and_set", key))
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.write(key, Test::Any, None).await.map(drop).map_err(SQLITE.at("remove", key))
    }

    async fn clear(&self) -> Result<()> {
        self.enqueue(Write::Clear).await.map_err(SQLITE.on("clear"))
    }

    async fn close(&self) -> Result<()> {
        if self.gate.close() {
            self.instance.hub.end_closed();
        }
        Ok(())
    }
}
