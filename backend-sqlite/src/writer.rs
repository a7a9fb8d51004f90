//! The one writing connection: groups of writes as one transaction, the log of changes, checkpoints.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backend_kit::{Addition, Decision, Engine, Failure, Patience, Test, frame};
use bytes::Bytes;
use rusqlite::{Connection, hooks::Wal, params, wal::CheckpointMode};
use store_api::{ContentKey, Effect, HashFunction, Key, Result, TestAndSet};

use crate::{
    SqliteOptions, Sync,
    connection::{Location, retry_while_busy},
    error::{from_sqlite, is_busy, is_failed_sync, is_full},
    observer::{Fed, Observer, Prior},
    schema::{last_seq, located, open_frame},
};

/// The log is copied into the file when it has so many pages.
const CHECKPOINT_PAGES: u64 = 1000;

/// From here on a checkpoint waits for readers, so that the log starts anew: it must not grow for ever.
const RESTART_PAGES: u64 = 16 * CHECKPOINT_PAGES;

/// How long a checkpoint waits for other processes.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(500);

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
pub(crate) enum Written {
    Entry(TestAndSet),
    Content(ContentKey),
    Done,
}

pub(crate) struct Writer {
    connection: Connection,
    observer: Arc<Observer>,
    hash: HashFunction,
    sync: Sync,
    permanent: bool,
    busy: Duration,
    change_log: i64,
    /// What a failed sync may have left behind was written again since the opening (E3).
    log_is_fresh: bool,
    /// The pages in the log after the last commit, as SQLite told.
    log_pages: Arc<AtomicU64>,
    checkpoint_at: u64,
    // Behind the connection: a temporary file is removed when it is closed.
    _location: Arc<Location>,
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
        let log_pages = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&log_pages);
        let hook = move |_: &mut Wal, pages: std::ffi::c_int| {
            told.store(u64::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
            Ok(())
        };
        let setup = |connection: &mut Connection| {
            let level = match (permanent, options.sync) {
                (false, _) => "off",
                (true, Sync::Full) => "full",
                (true, Sync::Normal) => "normal",
            };
            connection.pragma_update(None, "synchronous", level)?;
            // Where a plain fsync leaves data in the drive's cache, ask for the one that does not.
            connection.pragma_update(None, "fullfsync", options.sync == Sync::Full)?;
            connection.pragma_update(None, "checkpoint_fullfsync", true)?;
            // It takes the place of the automatic checkpoint, which would run inside a caller's commit.
            connection.wal_hook(Some(hook))
        };
        setup(&mut connection).map_err(from_sqlite)?;
        Ok(Self {
            connection,
            observer,
            hash,
            sync: options.sync,
            permanent,
            busy: options.busy,
            change_log: i64::try_from(options.change_log).unwrap_or(i64::MAX),
            log_is_fresh: !permanent,
            log_pages,
            checkpoint_at: CHECKPOINT_PAGES,
            _location: location,
        })
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
            if is_failed_sync(&error) {
                return Failure::SyncFailed(from_sqlite(error));
            }
            if is_full(&error) {
                // The frame that marks the commit is the last to be written, and was not.
                return failed(error);
            }
            // The connection rolls back. Yet what reached the log may be found there after a crash.
            Failure::Failed(from_sqlite(error).with_effect(Effect::Unknown))
        })
    }

    /// Writes what the log holds into the file, and starts the log anew, before the first acknowledgement: pages that a
    /// failed sync left in the system's cache look written, and are not (E3).
    ///
    /// Where other processes are busy with the log it is theirs, and they are the ones who know whether a sync failed.
    fn freshen_log(&mut self) -> Result<(), Failure> {
        match self.checkpoint(CheckpointMode::TRUNCATE) {
            Ok(()) => {}
            Err(error) if is_busy(&error) => tracing::debug!("the log is in use by other processes, and goes on"),
            Err(error) if is_failed_sync(&error) => return Err(Failure::SyncFailed(from_sqlite(error))),
            Err(error) => return Err(failed(error)),
        }
        self.log_is_fresh = true;
        Ok(())
    }

    fn checkpoint(&self, mode: CheckpointMode) -> rusqlite::Result<()> {
        self.connection.busy_timeout(CHECKPOINT_PATIENCE.min(self.busy))?;
        let done = self.connection.wal_checkpoint_v2(Some("main"), mode);
        self.connection.busy_timeout(Duration::ZERO)?;
        done.map(drop)
    }

    /// A transaction that syncs whatever the mode: all commits before it are in the log that it syncs.
    fn with_full_sync<T>(&self, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        if !self.permanent || self.sync == Sync::Full {
            return run();
        }
        self.connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        let result = run();
        self.connection.pragma_update(None, "synchronous", "normal").map_err(failed)?;
        result
    }
}

impl Engine for Writer {
    type Write = Write;
    type Outcome = Written;

    fn commit(&mut self, group: &[&Write], patience: Patience) -> Result<Vec<Result<Written>>, Failure> {
        if !self.log_is_fresh {
            if patience == Patience::None {
                return Err(Failure::WouldBlock);
            }
            self.freshen_log()?;
        }
        let syncs = group.iter().any(|write| matches!(write, Write::Sync));
        let applied = if syncs {
            self.with_full_sync(|| self.transact(group, patience))?
        } else {
            self.transact(group, patience)?
        };
        self.observer.feed(applied.fed);
        Ok(applied.written)
    }

    fn wants_tidying(&self) -> bool {
        self.log_pages.load(Ordering::Relaxed) >= self.checkpoint_at
    }

    fn tidy(&mut self) -> Result<()> {
        let pages = self.log_pages.load(Ordering::Relaxed);
        let mode = if pages >= RESTART_PAGES { CheckpointMode::RESTART } else { CheckpointMode::PASSIVE };
        // The log starts anew with the next commit, unless somebody still reads it: then not at every commit again.
        self.checkpoint_at = pages + CHECKPOINT_PAGES;
        match self.checkpoint(mode) {
            Err(error) if is_failed_sync(&error) => Err(from_sqlite(error)),
            Err(error) if !is_busy(&error) => {
                // The log keeps everything; the next checkpoint tries again.
                tracing::warn!(error = %error, "a checkpoint failed");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn failed(error: rusqlite::Error) -> Failure {
    Failure::Failed(from_sqlite(error))
}

struct Applied {
    written: Vec<Result<Written>>,
    fed: Vec<Fed>,
}

/// A transaction under way.
struct Transaction<'w> {
    connection: &'w Connection,
    writer: &'w Writer,
    /// Of the last change, once it was asked for.
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
            Write::Entry { key, test, set } => Ok(self.write_entry(key, test, set.as_ref())?.map(Written::Entry)),
            Write::Clear => self.clear().map(|()| Ok(Written::Done)),
            Write::Add(addition) => self.add(addition).map(|key| Ok(Written::Content(key))),
            Write::Batch(additions) => {
                additions.iter().try_for_each(|addition| self.add(addition).map(drop))?;
                Ok(Ok(Written::Done))
            }
            Write::Sync => {
                self.connection.prepare_cached("UPDATE state SET syncs = syncs + 1")?.execute([])?;
                Ok(Ok(Written::Done))
            }
        }
    }

    fn write_entry(&mut self, key: &Key, test: &Test, set: Option<&Bytes>) -> rusqlite::Result<Result<TestAndSet>> {
        let mut find = self.connection.prepare_cached("SELECT id, seq, frame FROM entries WHERE key = ?1")?;
        let mut rows = find.query([key.as_str().as_bytes()])?;
        let row = rows.next()?;
        let id: Option<i64> = row.map(|row| row.get(0)).transpose()?;
        let mut prior = None;
        if let Some(row) = row {
            let seq = row.get::<_, i64>(1)?.unsigned_abs();
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

    fn add(&self, addition: &Addition) -> rusqlite::Result<ContentKey> {
        let Addition { hash, value, .. } = addition;
        let mut insert =
            self.connection.prepare_cached("INSERT OR IGNORE INTO content (hash, value) VALUES (?1, ?2)")?;
        if insert.execute(params![hash.as_bytes(), &**value])? == 1 {
            return Ok(located(*hash, self.connection.last_insert_rowid()));
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
        Ok(located(*hash, id))
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
        Ok(*self.seq.insert(last + 1))
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
