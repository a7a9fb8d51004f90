//! SQLite itself: prepared statements, the table of ours without the log of its changes, the same settings.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use benches::{Client, Driven, Facts, Role, Store, Subject};
use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use store_api::{Durability, Key, Result, TestAndSet};

use super::failed;

/// What SQLite keeps of its pages unless it is told otherwise, per connection.
pub(crate) const CACHE_TOLD: &str = "2 MB a connection";

/// What that is with as many connections as ours keeps to read with.
pub(crate) const CACHE_OF_READERS_TOLD: &str = "32 MB: 16 connections with 2 MB each";

pub(crate) fn version() -> String {
    format!("SQLite {}", rusqlite::version())
}

/// SQLite with a connection for each client.
pub(crate) struct RawSqlite {
    pub(crate) name: &'static str,
    pub(crate) durability: Durability,
}

impl RawSqlite {
    fn synchronous(&self) -> &'static str {
        if self.durability == Durability::Power { "full" } else { "normal" }
    }
}

impl Subject for RawSqlite {
    type Store = Database;

    fn facts(&self) -> Facts {
        Facts {
            name: self.name.into(),
            role: Role::Raw,
            durability: self.durability,
            visibility: None,
            cache: CACHE_TOLD.into(),
            version: version(),
            driven: Driven::Threads,
            beside: None,
            note: Some("a connection for each client, which waits for the lock of the others".into()),
        }
    }

    async fn open(&self, place: &Path) -> Result<Database> {
        let database = Database { path: place.join("raw.db"), synchronous: self.synchronous(), idle: Arc::default() };
        let table = "CREATE TABLE IF NOT EXISTS entries
            (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, frame BLOB NOT NULL) STRICT";
        database.client()?.sqlite().execute_batch(table).map_err(failed)?;
        Ok(database)
    }
}

pub(crate) struct Database {
    path: PathBuf,
    synchronous: &'static str,
    idle: Idle,
}

/// Connections between runs: with the last one SQLite removes its log, and each run would begin with empty caches.
type Idle = Arc<Mutex<Vec<Connection>>>;

impl Store for Database {
    type Client = Connected;

    const DRIVEN: Driven = Driven::Threads;

    fn client(&self) -> Result<Connected> {
        let open = || {
            let connection = Connection::open(&self.path)?;
            connection.busy_timeout(Duration::from_mins(1))?;
            connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
            connection.pragma_update(None, "synchronous", self.synchronous)?;
            Ok(connection)
        };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(open, Ok).map_err(|error: rusqlite::Error| failed(error))?;
        Ok(Connected { connection: Some(connection), idle: Arc::clone(&self.idle) })
    }

    async fn fill(&self, entries: Vec<(Key, Bytes)>) -> Result<()> {
        let client = self.client()?;
        client.sqlite().execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        entries.iter().try_for_each(|(key, value)| client.put(key, value)).map_err(failed)?;
        client.sqlite().execute_batch("COMMIT").map_err(failed)
    }

    async fn close(self) -> Result<()> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}

pub(crate) struct Connected {
    /// There until it is given back.
    connection: Option<Connection>,
    idle: Idle,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}

impl Connected {
    fn sqlite(&self) -> &Connection {
        self.connection.as_ref().expect("it is given back when this is dropped")
    }

    /// A statement that is prepared once.
    pub(crate) fn prepared(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.sqlite().prepare_cached(sql)
    }

    fn put(&self, key: &Key, value: &Bytes) -> rusqlite::Result<()> {
        let sql = "INSERT INTO entries (key, seq, frame) VALUES (?1, 0, ?2)
                   ON CONFLICT (key) DO UPDATE SET frame = excluded.frame";
        self.prepared(sql)?.execute(params![key.as_str().as_bytes(), &**value]).map(drop)
    }

    fn get(&self, key: &Key) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut find = self.prepared("SELECT frame FROM entries WHERE key = ?1")?;
        find.query_row([key.as_str().as_bytes()], |row| row.get(0)).optional()
    }

    /// Changes the entry if it is what is tested, and says whether it was.
    fn compare_and_set(&self, key: &Key, test: Option<&Bytes>, set: Option<&Bytes>) -> rusqlite::Result<bool> {
        let name = key.as_str().as_bytes();
        let changed = match (test, set) {
            (Some(test), Some(set)) => self
                .prepared("UPDATE entries SET frame = ?3 WHERE key = ?1 AND frame = ?2")?
                .execute(params![name, &**test, &**set])?,
            (Some(test), None) => {
                self.prepared("DELETE FROM entries WHERE key = ?1 AND frame = ?2")?.execute(params![name, &**test])?
            }
            (None, Some(set)) => self
                .prepared("INSERT INTO entries (key, seq, frame) VALUES (?1, 0, ?2) ON CONFLICT DO NOTHING")?
                .execute(params![name, &**set])?,
            (None, None) => return Ok(self.get(key)?.is_none()),
        };
        Ok(changed == 1)
    }

    fn count_below(&self, under: &Key) -> rusqlite::Result<usize> {
        let (from, to) = (format!("{under}/"), format!("{under}0"));
        let mut select = self.prepared("SELECT key, frame FROM entries WHERE key >= ?1 AND key < ?2 ORDER BY key")?;
        let rows = select.query_map([from.as_bytes(), to.as_bytes()], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
        })?;
        rows.map(|row| row.map(drop)).try_fold(0, |count, row| row.map(|()| count + 1))
    }
}

impl Client for Connected {
    type Value = Vec<u8>;

    async fn find(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        self.get(key).map_err(failed)
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        self.put(key, &value).map_err(failed)
    }

    async fn test_and_set(&mut self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        if self.compare_and_set(key, test.as_ref(), set.as_ref()).map_err(failed)? {
            return Ok(TestAndSet::Applied);
        }
        Ok(TestAndSet::Mismatch { current: self.get(key).map_err(failed)?.map(Bytes::from) })
    }

    async fn scan(&mut self, under: &Key) -> Result<usize> {
        self.count_below(under).map_err(failed)
    }
}
