//! The content, as its handles need it.

use std::sync::Arc;

use backend_kit::{Addition, ContentStore, Context, Gate, Page, false_value};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use store_api::{ContentHash, ContentKey, HashFunction, Result};

use crate::{
    Instance, SQLITE,
    error::malformed,
    readers::Found,
    schema::{located, row_of},
    writer::Write,
};

/// How many keys a page of a stream has.
const PAGE_KEYS: i64 = 1024;

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
        Ok(Some(_)) => Found::Answer(Err(false_value())),
        Err(_) => Found::Answer(Err(malformed())),
    })
}

/// How far a stream of keys has come: behind this row, and up to the last that there was when it began.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    behind: i64,
    last: Option<i64>,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { behind: i64::MIN, last: None }
    }
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
        page.items.push(hash.map(|hash| located(hash, behind)).ok_or_else(malformed));
    }
    if read == PAGE_KEYS {
        // A row that rotted may lead back to what was read, again and again.
        if behind > from.behind {
            page.next = Some(Cursor { behind, last: Some(last) });
        } else {
            page.items.push(Err(malformed()));
        }
    }
    Ok(page)
}

impl ContentStore for Instance {
    type Cursor = Cursor;

    fn context(&self) -> Context {
        SQLITE
    }

    fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn hash_function(&self) -> HashFunction {
        self.hash
    }

    fn verifies(&self) -> bool {
        self.options.verify
    }

    fn batch_limit(&self) -> usize {
        self.options.batch_limit
    }

    async fn index(self: &Arc<Self>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        let hash = *hash;
        let row = move |connection: &Connection, _| {
            let mut select = connection.prepare_cached("SELECT id FROM content WHERE hash = ?1")?;
            let row = select.query_row([hash.as_bytes()], |row| row.get(0)).optional()?;
            Ok(Found::Answer(Ok(row.map(|row| located(hash, row)))))
        };
        self.readers.read(row).await
    }

    async fn find(self: &Arc<Self>, key: &ContentKey) -> Result<Option<Bytes>> {
        let key = *key;
        let function = self.options.verify.then_some(self.hash);
        // A long value is read, and hashed, on a thread that may block.
        self.readers.read(move |connection: &Connection, limit| find(connection, &key, limit, function)).await
    }

    async fn add(self: &Arc<Self>, addition: Addition) -> Result<ContentKey> {
        let hash = addition.hash;
        let row = self.committer.write(Write::Add(addition)).await?.row;
        Ok(row.map_or_else(|| hash.into(), |row| located(hash, row)))
    }

    async fn commit(self: &Arc<Self>, additions: Vec<Addition>) -> Result<()> {
        self.committer.enqueue(Write::Batch(additions)).await.map(drop)
    }

    async fn page(self: Arc<Self>, from: Cursor) -> Result<Page<ContentKey, Cursor>> {
        let page = move |connection: &Connection, _| Ok(Found::Answer(Ok(page_of_keys(connection, from)?)));
        self.readers.read_blocking(page).await
    }
}
