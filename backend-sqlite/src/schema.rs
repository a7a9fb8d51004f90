//! The tables: how a file is known to be a store, how an empty one becomes one, and how rows are read.

use std::ops::Bound;

use backend_kit::{check_hash, frame, range_below};
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, types::ValueRef};
use store_api::{ContentHash, ContentKey, Error, ErrorKind, HashFunction, Key, Result};

use crate::error::{from_sqlite, malformed};

/// "IRMN": what the header of a store's file says it belongs to.
const APPLICATION_ID: i32 = 0x4952_4d4e;

/// Grows when an older library could not read what a newer one writes.
const FORMAT: i32 = 1;

/// Keys and hashes are BLOBs: compared byte for byte, whatever is in them (K2).
///
/// - `entries.frame`: the value with its checksum (A12); `seq`: that of its last change.
/// - `changes`: what the watches of other instances read. What is at or below `state.floor` is no longer in it.
/// - `state.syncs` is written so that a commit has something to sync.
const TABLES: &str = "
    CREATE TABLE entries (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, frame BLOB NOT NULL) STRICT;
    CREATE TABLE content (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, value BLOB NOT NULL) STRICT;
    CREATE TABLE changes (seq INTEGER PRIMARY KEY, key BLOB NOT NULL) STRICT;
    CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 0), hash TEXT NOT NULL, floor INTEGER NOT NULL, syncs INTEGER NOT NULL) STRICT;
";

/// Checks that the file is a store, or makes it one if it is empty. What it is not is left untouched (L5).
pub(crate) fn prepare(connection: &Connection, wanted: Option<HashFunction>) -> Result<HashFunction> {
    if is_empty(connection).map_err(from_sqlite)? {
        create(connection, wanted.unwrap_or_default()).map_err(from_sqlite)?;
    }
    let found = check_hash(wanted, check(connection)?)?;
    enter_wal_mode(connection)?;
    Ok(found)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0 && pragma(connection, "application_id")? == 0 && pragma(connection, "user_version")? == 0)
}

fn create(connection: &Connection, hash: HashFunction) -> rusqlite::Result<()> {
    // Before the first page is written: the file is in WAL mode from its beginning.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    // Another process may have been faster, with a store or with something else.
    if !is_empty(&transaction)? {
        return Ok(());
    }
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO state (id, hash, floor, syncs) VALUES (0, ?1, 0, 0)", [hash.name()])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

fn check(connection: &Connection) -> Result<HashFunction> {
    let incompatible = |message: String| Error::new(ErrorKind::Incompatible, message);
    if pragma(connection, "application_id").map_err(from_sqlite)? != APPLICATION_ID {
        return Err(incompatible("the file is a SQLite database, but not a store of irminsul; name another".into()));
    }
    let format = pragma(connection, "user_version").map_err(from_sqlite)?;
    if format != FORMAT {
        return Err(incompatible(format!(
            "the store has format {format}, and this library reads format {FORMAT}; open it with the library that wrote it"
        )));
    }
    let name: String = connection.query_row("SELECT hash FROM state", [], |row| row.get(0)).map_err(from_sqlite)?;
    name.parse().map_err(|_| incompatible("the store hashes with a function that this library does not have".into()))
}

fn enter_wal_mode(connection: &Connection) -> Result<()> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(from_sqlite)?;
    if mode == "wal" {
        return Ok(());
    }
    let message = "the file system does not allow SQLite's write-ahead log; put the store on a local one";
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// The sequence number of the last change, in the transaction that the connection is in.
pub(crate) fn last_seq(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT max((SELECT floor FROM state), ifnull((SELECT max(seq) FROM changes), 0))";
    let last = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    if last < 0 { Err(rusqlite::Error::IntegralValueOutOfRange(0, last)) } else { Ok(last) }
}

/// The sequence number in a row of `entries`; 0, which no change has, where it has rotted.
pub(crate) fn seq_of(row: &Row<'_>, column: usize) -> u64 {
    row.get::<_, i64>(column).ok().and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0)
}

/// Behind every key: keys are UTF-8, which has no such byte.
pub(crate) const NO_KEY: &[u8] = b"\xff";

/// The keys strictly below a path: from the first bytes on, up to the second.
pub(crate) fn key_range(under: &Key) -> (Vec<u8>, Vec<u8>) {
    match range_below(under) {
        (Bound::Included(from), Bound::Excluded(to)) => (from.into(), to.into()),
        _ => (Vec::new(), NO_KEY.into()),
    }
}

/// The key in a row of `entries`.
pub(crate) fn key_of(bytes: ValueRef<'_>) -> Result<Key> {
    let path = bytes.as_blob().ok().and_then(|bytes| std::str::from_utf8(bytes).ok());
    path.and_then(|path| Key::new(path).ok()).ok_or_else(malformed)
}

/// The value in a row of `entries`.
pub(crate) fn open_frame<'r>(key: &Key, frame: ValueRef<'r>) -> Result<&'r [u8]> {
    let frame = frame.as_blob().map_err(|_| malformed())?;
    frame::open(key.as_str().as_bytes(), frame)
}

/// The key of a value in the row `id` of `content`: the locator is the row's id, 8 bytes, big-endian.
pub(crate) fn located(hash: ContentHash, id: i64) -> ContentKey {
    ContentKey::with_locator(hash, &id.to_be_bytes()).unwrap_or_else(|| hash.into())
}

/// The row that a key's locator names, if it has one of this store's kind.
pub(crate) fn row_of(key: &ContentKey) -> Option<i64> {
    key.locator().try_into().ok().map(i64::from_be_bytes)
}
