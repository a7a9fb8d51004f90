//! The one writing connection: groups of writes as one transaction, the log of changes, checkpoints.

mod log;

use std::{sync::Arc, time::Duration};

use backend_kit::{Addition, Decision, Engine, Failure, Patience, ROW_BYTES, Test, Wakers, frame};
use bytes::Bytes;
use rusqlite::{Connection, params};
use store_api::{Effect, HashFunction, Key, Result, TestAndSet};

use self::log::Log;
use crate::{
    SqliteOptions,
    connection::{Location, retry_while_busy},
    error::{from_sqlite, is_busy, is_failed_sync, is_full},
    observer::{Fed, Observer, Prior},
    schema::{last_seq, open_frame, seq_of},
};

/// SQLite's levels of `synchronous`.
const FULL: &str = "full";
const NORMAL: &str = "normal";
const OFF: &str = "off";

/// The log of changes is trimmed when it is longer than it need be by this many.
const TRIM_AT: i64 = 1024;

/// What the committer writes.
pub(crate) enum Write {
    Entry { key: Key, test: Test, set: Option<Bytes> },
    Clear,
    Add(Addition),
    Batch(Vec<Addition>),
    Sync,
}

/// What a write answers.
pub(crate) struct Written {
    /// `Applied`, of a write that tests nothing.
    pub(crate) verdict: TestAndSet,
    /// The row of an addition.
    pub(crate) row: Option<i64>,
}

impl Written {
    /// The answer to a write that is no addition.
    fn without_row(verdict: TestAndSet) -> Self {
        Self { verdict, row: None }
    }
}

pub(crate) struct Writer {
    connection: Connection,
    log: Log,
    observer: Arc<Observer>,
    hash: HashFunction,
    sync: bool,
    /// What SQLite syncs at present.
    level: &'static str,
    busy: Duration,
    change_log: i64,
    // Behind the connection: a temporary file is removed when it is closed.
    location: Arc<Location>,
}

impl Writer {
    pub(crate) fn new(
        mut connection: Connection,
        location: Arc<Location>,
        observer: Arc<Observer>,
        hash: HashFunction,
        options: &SqliteOptions,
    ) -> Result<Self> {
        let permanent = location.is_permanent();
        let setup = |connection: &mut Connection| {
            // Where a plain fsync leaves data in the drive's cache, ask for the one that does not.
            connection.pragma_update(None, "fullfsync", true)?;
            connection.pragma_update(None, "checkpoint_fullfsync", true)?;
            connection.pragma_update(None, "synchronous", if permanent { FULL } else { OFF })?;
            Log::new(connection, &location)
        };
        let mut log = setup(&mut connection).map_err(from_sqlite)?;
        // Before anything is read: what another process left behind when it was killed was not synced, and is not to be
        // shown before it is (A10). Where others have the store open, what they show they have synced.
        log.try_to_freshen(&connection).map_err(Failure::into_error)?;
        Ok(Self {
            connection,
            log,
            observer,
            hash,
            sync: options.sync,
            level: if permanent { FULL } else { OFF },
            busy: options.busy,
            change_log: i64::try_from(options.change_log).unwrap_or(i64::MAX),
            location,
        })
    }

    /// Makes SQLite sync what this group asks for: a transaction that is synced has all commits before it in the log.
    fn set_level(&mut self, syncs: bool) -> Result<(), Failure> {
        let level = match (self.location.is_permanent(), self.sync || syncs) {
            (false, _) => OFF,
            (true, true) => FULL,
            (true, false) => NORMAL,
        };
        if level != self.level {
            self.connection.pragma_update(None, "synchronous", level).map_err(failed)?;
            self.level = level;
        }
        Ok(())
    }

    /// Makes sure of the log before something is said to be synced, which lies behind what it holds (E3). What is not
    /// synced waits for nobody.
    fn freshen_log(&mut self, syncs: bool) -> Result<(), Failure> {
        if syncs || self.sync {
            self.log.freshen(&self.connection, self.busy)
        } else {
            self.log.try_to_freshen(&self.connection)
        }
    }

    fn begin(&self, patience: Patience) -> Result<(), Failure> {
        let begin = || self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop);
        match patience {
            Patience::None => {
                begin().map_err(|error| if is_busy(&error) { Failure::WouldBlock } else { failed(error) })
            }
            Patience::Wait => retry_while_busy(self.busy, begin).map_err(failed),
        }
    }

    fn transact(&self, group: &[&Write], patience: Patience) -> Result<Applied, Failure> {
        self.begin(patience)?;
        let mut transaction = Transaction::new(self);
        let applied = transaction.apply(group).map_err(failed);
        let committed = applied.and_then(|written| {
            let fed = std::mem::take(&mut transaction.fed);
            self.commit_transaction()?;
            Ok(Applied { written, fed })
        });
        if committed.is_err() && !self.connection.is_autocommit() {
            // A transaction that cannot even be rolled back is rolled back by SQLite itself, at the next one.
            if let Err(error) = self.connection.execute_batch("ROLLBACK") {
                tracing::warn!(error = %error, "a failed transaction could not be rolled back");
            }
        }
        committed
    }

    fn commit_transaction(&self) -> Result<(), Failure> {
        let commit = || self.connection.prepare_cached("COMMIT")?.execute([]).map(drop);
        commit().map_err(|error| {
            // The frame that marks the commit is the last to be written: on a full disk it was not. After another error
            // the connection rolls back too, yet what reached the log may be found there after a crash.
            let effect = if is_full(&error) { Effect::NotApplied } else { Effect::Unknown };
            match failed(error) {
                Failure::Failed(error) => Failure::Failed(error.with_effect(effect)),
                failure => failure,
            }
        })
    }

    fn commit_group(
        &mut self,
        group: &[&Write],
        patience: Patience,
        told: &mut Wakers,
    ) -> Result<Vec<Result<Written>>, Failure> {
        self.location.check_in_place().and_then(|()| self.log.check_in_place()).map_err(Failure::Failed)?;
        let syncs = group.iter().any(|write| matches!(write, Write::Sync)) && self.location.is_permanent();
        match patience {
            Patience::None if self.log.is_empty() && self.location.is_permanent() => return Err(Failure::WouldBlock),
            Patience::Wait if !self.log.is_fresh() => self.freshen_log(syncs)?,
            _ => {}
        }
        self.set_level(syncs)?;
        let applied = self.transact(group, patience)?;
        self.log.committed();
        told.extend([self.observer.feed(applied.fed)]);
        Ok(applied.written)
    }
}

impl Engine for Writer {
    type Write = Write;
    type Outcome = Written;

    fn bytes_of(write: &Write) -> usize {
        match write {
            Write::Entry { key, test, set } => key.as_str().len() + test.bytes(set.as_ref()) + ROW_BYTES,
            Write::Add(addition) => addition.bytes(),
            Write::Batch(additions) => additions.iter().map(Addition::bytes).sum(),
            Write::Clear | Write::Sync => 0,
        }
    }

    fn commit(
        &mut self,
        group: &[&Write],
        patience: Patience,
        told: &mut Wakers,
    ) -> Result<Vec<Result<Written>>, Failure> {
        self.commit_group(group, patience, told).map_err(|failure| match failure {
            Failure::Failed(error) => Failure::Failed(self.location.explain_write(error)),
            failure => failure,
        })
    }

    fn wants_tidying(&self) -> bool {
        self.log.wants_checkpoint()
    }

    fn tidy(&mut self) -> Result<()> {
        match self.log.checkpoint(&self.connection) {
            Err(error) if is_failed_sync(&error) => Err(from_sqlite(error)),
            Err(error) => {
                // The log keeps everything; the next checkpoint tries again.
                tracing::warn!(error = %error, "a checkpoint failed");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn failed(error: rusqlite::Error) -> Failure {
    let sync_failed = is_failed_sync(&error);
    let error = from_sqlite(error);
    if sync_failed { Failure::SyncFailed(error) } else { Failure::Failed(error) }
}

struct Applied {
    written: Vec<Result<Written>>,
    fed: Vec<Fed>,
}

/// A transaction under way.
struct Transaction<'w> {
    connection: &'w Connection,
    writer: &'w Writer,
    /// The sequence number of the last change; `None` until it was read.
    seq: Option<i64>,
    fed: Vec<Fed>,
}

impl<'w> Transaction<'w> {
    fn new(writer: &'w Writer) -> Self {
        Self { connection: &writer.connection, writer, seq: None, fed: Vec::new() }
    }

    /// What each write answers. An outer error is SQLite's: nothing of the group happens.
    fn apply(&mut self, group: &[&Write]) -> rusqlite::Result<Vec<Result<Written>>> {
        let written = group.iter().map(|write| self.apply_one(write)).collect::<rusqlite::Result<_>>()?;
        self.trim_log()?;
        Ok(written)
    }

    fn apply_one(&mut self, write: &Write) -> rusqlite::Result<Result<Written>> {
        match write {
            Write::Entry { key, test, set } => {
                return Ok(self.write_entry(key, test, set.as_ref())?.map(Written::without_row));
            }
            Write::Add(addition) => {
                let row = Some(self.add(addition)?);
                return Ok(Ok(Written { verdict: TestAndSet::Applied, row }));
            }
            Write::Clear => self.clear()?,
            Write::Batch(additions) => additions.iter().try_for_each(|addition| self.add(addition).map(drop))?,
            Write::Sync => {
                self.connection.prepare_cached("UPDATE state SET syncs = syncs + 1")?.execute([])?;
            }
        }
        Ok(Ok(Written::without_row(TestAndSet::Applied)))
    }

    fn write_entry(&mut self, key: &Key, test: &Test, set: Option<&Bytes>) -> rusqlite::Result<Result<TestAndSet>> {
        let mut find = self.connection.prepare_cached("SELECT id, seq, frame FROM entries WHERE key = ?1")?;
        let mut rows = find.query([key.as_str().as_bytes()])?;
        let row = rows.next()?;
        let id: Option<i64> = row.map(|row| row.get(0)).transpose()?;
        let mut prior = None;
        if let Some(row) = row {
            let seq = seq_of(row, 1);
            let value = open_frame(key, row.get_ref(2)?);
            match (Decision::of(test, value.as_ref().ok().copied(), set.map(|set| &**set)), value) {
                // Bytes that rotted are no value to compare with; a write that asks for none replaces them.
                (_, Err(error)) if !matches!(test, Test::Any) => return Ok(Err(error.with_key(key))),
                (_, Err(_)) => prior = Some(Prior { seq, value: None }),
                (Decision::Mismatch, Ok(value)) => {
                    return Ok(Ok(TestAndSet::Mismatch { current: Some(Bytes::copy_from_slice(value)) }));
                }
                (Decision::Unchanged, Ok(_)) => return Ok(Ok(TestAndSet::Applied)),
                (Decision::Replace, Ok(value)) => {
                    let value = self.writer.observer.is_watched().then(|| Bytes::copy_from_slice(value));
                    prior = Some(Prior { seq, value });
                }
            }
        } else {
            match Decision::of(test, None, set.map(|set| &**set)) {
                Decision::Mismatch => return Ok(Ok(TestAndSet::Mismatch { current: None })),
                Decision::Unchanged => return Ok(Ok(TestAndSet::Applied)),
                Decision::Replace => {}
            }
        }
        drop(rows);
        let seq = self.log_change(key)?;
        self.replace_entry(key, id, seq, set)?;
        let seq = seq.unsigned_abs();
        self.fed.push(Fed::Changed { key: key.clone(), seq, prior, new: set.cloned() });
        Ok(Ok(TestAndSet::Applied))
    }

    fn replace_entry(&self, key: &Key, id: Option<i64>, seq: i64, set: Option<&Bytes>) -> rusqlite::Result<()> {
        let key = key.as_str().as_bytes();
        match (id, set.map(|value| frame::seal(key, value))) {
            (Some(id), Some(frame)) => {
                let mut update =
                    self.connection.prepare_cached("UPDATE entries SET seq = ?2, frame = ?3 WHERE id = ?1")?;
                update.execute(params![id, seq, frame])?;
            }
            (None, Some(frame)) => {
                let mut insert =
                    self.connection.prepare_cached("INSERT INTO entries (key, seq, frame) VALUES (?1, ?2, ?3)")?;
                insert.execute(params![key, seq, frame])?;
            }
            (Some(id), None) => {
                self.connection.prepare_cached("DELETE FROM entries WHERE id = ?1")?.execute([id])?;
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn clear(&mut self) -> rusqlite::Result<()> {
        if self.connection.prepare_cached("DELETE FROM entries")?.execute([])? == 0 {
            return Ok(());
        }
        // It is one change for all keys: the log holds none of it, and whoever reads the log compares its scope.
        let seq = self.next_seq()?;
        self.connection.prepare_cached("DELETE FROM changes")?.execute([])?;
        self.connection.prepare_cached("UPDATE state SET floor = ?1")?.execute([seq])?;
        self.fed.push(Fed::Cleared { seq: seq.unsigned_abs() });
        Ok(())
    }

    /// The row of the value.
    fn add(&self, addition: &Addition) -> rusqlite::Result<i64> {
        let Addition { hash, value, .. } = addition;
        let mut insert =
            self.connection.prepare_cached("INSERT OR IGNORE INTO content (hash, value) VALUES (?1, ?2)")?;
        if insert.execute(params![hash.as_bytes(), &**value])? == 1 {
            return Ok(self.connection.last_insert_rowid());
        }
        let mut find = self.connection.prepare_cached("SELECT id, value FROM content WHERE hash = ?1")?;
        let (id, replace) = find.query_row([hash.as_bytes()], |row| {
            // What is there is compared, not trusted: it may have been added under a false hash, or have rotted (I2, I4).
            let present = row.get_ref(1)?.as_blob().unwrap_or_default();
            Ok((row.get(0)?, addition.replaces(self.writer.hash, false, present)))
        })?;
        if replace {
            let mut update = self.connection.prepare_cached("UPDATE content SET value = ?2 WHERE id = ?1")?;
            update.execute(params![id, &**value])?;
        }
        Ok(id)
    }

    fn log_change(&mut self, key: &Key) -> rusqlite::Result<i64> {
        let seq = self.next_seq()?;
        let mut log = self.connection.prepare_cached("INSERT INTO changes (seq, key) VALUES (?1, ?2)")?;
        log.execute(params![seq, key.as_str().as_bytes()])?;
        Ok(seq)
    }

    fn next_seq(&mut self) -> rusqlite::Result<i64> {
        let last = match self.seq {
            Some(last) => last,
            None => last_seq(self.connection)?,
        };
        let next = last.checked_add(1).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, last))?;
        Ok(*self.seq.insert(next))
    }

    /// Keeps the log of changes at its length, and says up to where it was trimmed.
    fn trim_log(&self) -> rusqlite::Result<()> {
        let Some(last) = self.seq else { return Ok(()) };
        let mut first = self.connection.prepare_cached("SELECT min(seq) FROM changes")?;
        let Some(first) = first.query_row([], |row| row.get::<_, Option<i64>>(0))? else { return Ok(()) };
        let floor = last.saturating_sub(self.writer.change_log);
        if floor < first.saturating_add(TRIM_AT) {
            return Ok(());
        }
        self.connection.prepare_cached("DELETE FROM changes WHERE seq <= ?1")?.execute([floor])?;
        self.connection.prepare_cached("UPDATE state SET floor = ?1")?.execute([floor]).map(drop)
    }
}
