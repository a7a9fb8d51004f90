//! The handle on the content.

use std::sync::Arc;

use async_trait::async_trait;
use backend_kit::{Addition, BatchTarget, BufferedBatch, Gate, OFFLOAD_LEN, Page, Pages, check_value, hash};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use store_api::{
    Append, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, Error, ErrorKind, HashFunction, Indexable,
    Indexed, Result,
};

use crate::{
    Instance, SQLITE,
    error::malformed,
    readers::Found,
    schema::{located, row_of},
    writer::{Write, Written, unexpected_answer},
};

/// How many keys a page of a stream has.
const PAGE_KEYS: i64 = 1024;

#[derive(Clone)]
pub(crate) struct SqliteIndexable {
    instance: Arc<Instance>,
    gate: Arc<Gate>,
}

impl SqliteIndexable {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        let gate = instance.gate.child();
        Self { instance, gate }
    }

    async fn row(&self, hash: ContentHash) -> Result<Option<i64>> {
        self.gate.check()?;
        let row = move |connection: &Connection, _| {
            let mut select = connection.prepare_cached("SELECT id FROM content WHERE hash = ?1")?;
            Ok(Found::Answer(Ok(select.query_row([hash.as_bytes()], |row| row.get(0)).optional()?)))
        };
        self.instance.readers.read(row).await
    }

    async fn read(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.gate.check()?;
        let (instance, key) = (Arc::clone(&self.instance), *key);
        let function = instance.options.verify.then_some(instance.hash);
        // A long value is read, and hashed, on a thread that may block.
        let read = move |connection: &Connection, limit| find(connection, &key, limit, function);
        instance.readers.read(read).await
    }

    async fn append(&self, given: Option<ContentHash>, value: Bytes) -> Result<ContentKey> {
        self.gate.check()?;
        check_value(&value)?;
        let (hash, trusted) = match given {
            Some(hash) => (hash, false),
            None => (hash(self.instance.hash, &value).await?, true),
        };
        let long = value.len() > OFFLOAD_LEN;
        let write = Write::Add(Addition { hash, value, trusted });
        let committer = &self.instance.committer;
        match if long { committer.enqueue(write).await? } else { committer.write(write).await? } {
            Written::Content(key) => Ok(key),
            Written::Entry(_) | Written::Done => Err(unexpected_answer()),
        }
    }
}

/// The value of a key, unless it is longer than `limit`: where its locator says, or where its hash is.
fn find(
    connection: &Connection,
    key: &ContentKey,
    limit: i64,
    verify: Option<HashFunction>,
) -> rusqlite::Result<Found<Option<Bytes>>> {
    let hash = key.to_hash();
    if let Some(row) = row_of(key) {
        let sql = "SELECT CASE WHEN length(value) <= ?2 THEN value END FROM content WHERE id = ?1 AND hash = ?3";
        let found = find_by(connection, sql, &[&row, &limit, &hash.as_bytes()], &hash, verify)?;
        if !matches!(found, Found::Answer(Ok(None))) {
            return Ok(found);
        }
    }
    let sql = "SELECT CASE WHEN length(value) <= ?2 THEN value END FROM content WHERE hash = ?1";
    find_by(connection, sql, &[&hash.as_bytes(), &limit], &hash, verify)
}

fn find_by(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn rusqlite::ToSql],
    hash: &ContentHash,
    verify: Option<HashFunction>,
) -> rusqlite::Result<Found<Option<Bytes>>> {
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(parameters)?;
    let Some(row) = rows.next()? else { return Ok(Found::Answer(Ok(None))) };
    Ok(match row.get_ref(0)?.as_blob_or_null() {
        Ok(None) => Found::TooLong,
        Ok(Some(value)) if verify.is_none_or(|function| function.hash(value) == *hash) => {
            Found::Answer(Ok(Some(Bytes::copy_from_slice(value))))
        }
        Ok(Some(_)) => Found::Answer(Err(Error::new(
            ErrorKind::Corrupt,
            "the value does not match its hash; add the true one again",
        ))),
        Err(_) => Found::Answer(Err(malformed())),
    })
}

/// How far a stream of keys has come: behind this row, and up to the last that there was when it began.
#[derive(Clone, Copy)]
struct Cursor {
    behind: i64,
    last: Option<i64>,
}

fn page_of_keys(connection: &Connection, from: Cursor) -> rusqlite::Result<Page<ContentKey, Cursor>> {
    let last = match from.last {
        Some(last) => last,
        None => connection.query_row("SELECT ifnull(max(id), 0) FROM content", [], |row| row.get(0))?,
    };
    let sql = "SELECT id, hash FROM content WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![from.behind, last, PAGE_KEYS])?;
    let mut page = Page { items: Vec::new(), next: None };
    let (mut behind, mut read) = (from.behind, 0);
    while let Some(row) = rows.next()? {
        behind = row.get(0)?;
        read += 1;
        let hash = row.get_ref(1)?.as_blob().ok().and_then(|hash| ContentHash::try_from(hash).ok());
        page.items.push(hash.map(|hash| located(hash, behind)).ok_or_else(malformed).map_err(SQLITE.on("keys")));
    }
    if read == PAGE_KEYS {
        page.next = Some(Cursor { behind, last: Some(last) });
    }
    Ok(page)
}

#[async_trait]
impl ContentRead for SqliteIndexable {
    fn hash_function(&self) -> HashFunction {
        self.instance.hash
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        let row = self.row(key.to_hash()).await.map_err(SQLITE.at("mem", key.to_hash()))?;
        Ok(row.is_some())
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.read(key).await.map_err(SQLITE.at("find", key.to_hash()))
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        let row = self.row(*hash).await.map_err(SQLITE.at("index", hash))?;
        Ok(row.map(|row| located(*hash, row)))
    }

    fn keys(&self) -> ContentKeyStream {
        let instance = Arc::clone(&self.instance);
        let start = Cursor { behind: i64::MIN, last: None };
        Box::pin(Pages::new(Arc::clone(&self.gate), start, move |from| {
            let instance = Arc::clone(&instance);
            let page = move |connection: &Connection, _| Ok(Found::Answer(Ok(page_of_keys(connection, from)?)));
            Box::pin(async move { instance.readers.read_blocking(page).await })
        }))
    }
}

#[async_trait]
impl Append for SqliteIndexable {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.append(None, value).await.map_err(SQLITE.on("add"))
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.append(Some(hash), value).await.map_err(SQLITE.at("unsafe_add", hash))
    }
}

#[async_trait]
impl BatchTarget for SqliteIndexable {
    async fn commit(&self, additions: Vec<Addition>) -> Result<()> {
        let committed = match self.gate.check() {
            Ok(()) => self.instance.committer.enqueue(Write::Batch(additions)).await.map(drop),
            Err(error) => Err(error),
        };
        committed.map_err(SQLITE.on("commit"))
    }
}

#[async_trait]
impl Indexed for SqliteIndexable {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        self.gate.check().map_err(SQLITE.on("begin"))?;
        let options = &self.instance.options;
        Ok(Box::new(BufferedBatch::new(self.clone(), &self.gate, options.batch_limit, options.verify)))
    }
}

#[async_trait]
impl Indexable for SqliteIndexable {
    async fn close(&self) -> Result<()> {
        self.gate.close();
        Ok(())
    }
}
