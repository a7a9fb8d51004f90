//! SQLite's write-ahead log: when it is copied into the file, and whether what it holds can be relied on.

use std::{
    ffi::c_int,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backend_kit::{Failure, folder, io_error};
use rusqlite::{Connection, ffi, hooks::Wal, wal::CheckpointMode};
use store_api::ErrorKind;

use super::failed;
use crate::{
    connection::{Companion, Location, retry_while_busy},
    error::{is_busy, is_failed_write, is_full},
};

/// The log is copied into the file when it has so many pages.
const CHECKPOINT_PAGES: u64 = 1000;

/// From here on a checkpoint waits for readers, so that the log starts anew: it must not grow for ever.
const RESTART_PAGES: u64 = 16 * CHECKPOINT_PAGES;

/// How long such a checkpoint waits for them.
const RESTART_PATIENCE: Duration = Duration::from_millis(500);

/// How many bytes of the log are written again at a time.
const REWRITTEN: usize = 1024 * 1024;

pub(super) struct Log {
    /// Its file, where that is to survive a power loss.
    file: Option<PathBuf>,
    /// That file, and the one with SQLite's locks.
    companions: Vec<Companion>,
    /// In the log after the last commit, as SQLite told.
    pages: Arc<AtomicU64>,
    checkpoint_at: u64,
    /// It was started anew, or written again, since the opening. Before, it may hold pages that a failed sync left in the
    /// system's cache: they look written, and are not (E3).
    is_fresh: bool,
    /// The next commit is its first: SQLite then syncs the log's header, in the relaxed mode as well.
    is_empty: bool,
}

impl Log {
    /// Takes the place of SQLite's automatic checkpoint, which would run inside a caller's commit.
    pub(super) fn new(connection: &mut Connection, location: &Location) -> rusqlite::Result<Self> {
        let permanent = location.is_permanent();
        let file = permanent.then(|| location.log());
        let companions = if permanent { Vec::from(location.companions().map(Companion::at)) } else { Vec::new() };
        let pages = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut Wal, pages: c_int| {
            told.store(u64::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { file, companions, pages, checkpoint_at: CHECKPOINT_PAGES, is_fresh: false, is_empty: true })
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Notes that a commit went into it.
    pub(super) fn committed(&mut self) {
        self.is_empty = false;
        self.note_files();
    }

    fn note_files(&mut self) {
        self.companions.iter_mut().for_each(Companion::note);
    }

    /// `Ok` while its files are those that SQLite has open.
    pub(super) fn check_in_place(&self) -> store_api::Result<()> {
        self.companions.iter().try_for_each(Companion::check_in_place)
    }

    /// Makes sure of what it holds (E3): starts it anew, or, where others are in the way of that or the file cannot grow,
    /// [writes it again](Self::rewrite). What is synced behind that can be relied on.
    pub(super) fn freshen(&mut self, connection: &Connection, busy: Duration) -> Result<(), Failure> {
        if !self.start_anew(connection).map_err(failed)? {
            self.rewrite(connection, busy)?;
        }
        self.is_fresh = true;
        self.note_files();
        Ok(())
    }

    /// The same, unless others are in the way at this moment, or the disk takes nothing.
    pub(super) fn try_to_freshen(&mut self, connection: &Connection) -> Result<(), Failure> {
        match self.freshen(connection, Duration::ZERO) {
            Err(Failure::Failed(error)) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::NoSpace) => {
                Ok(())
            }
            freshened => freshened,
        }
    }

    /// Writes all that it holds into the file, syncs that, and starts it anew, which is synced, too: a log that is back
    /// after a power loss, without what a failed sync left in the cache, would undo what was shown since. `false` where
    /// other processes read or write it, or the file does not take it.
    fn start_anew(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        match checkpoint(connection, CheckpointMode::TRUNCATE, Duration::ZERO) {
            Ok(_) => {
                self.sync_file()?;
                self.started_anew();
                Ok(true)
            }
            Err(error) if is_busy(&error) || is_full(&error) || is_failed_write(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes its bytes to their places once more, and syncs them: what a failed sync left in the system's cache is to be
    /// written again by that. It takes no room, and disturbs nobody who reads; nobody else writes meanwhile.
    fn rewrite(&self, connection: &Connection, busy: Duration) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        retry_while_busy(busy, || connection.execute_batch("BEGIN IMMEDIATE")).map_err(failed)?;
        let rewritten = rewrite(file).map_err(|error| Failure::Failed(io_error("the log cannot be written", error)));
        let ended = connection.execute_batch("ROLLBACK").map_err(failed);
        rewritten.and(ended)?;
        self.sync_file().map_err(failed)
    }

    /// Syncs its file, which SQLite cuts without doing that, and the names in its folder, which SQLite does without looking
    /// whether it worked. The locks of the store lie on other files, so that this one can be closed.
    fn sync_file(&self) -> rusqlite::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let synced = match File::open(file) {
            Ok(file) => file.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        synced.and_then(|()| file.parent().map_or(Ok(()), folder::sync)).map_err(|error| {
            let failure = ffi::Error::new(ffi::SQLITE_IOERR_FSYNC);
            rusqlite::Error::SqliteFailure(failure, Some(format!("the log could not be synced: {error}")))
        })
    }

    pub(super) fn wants_checkpoint(&self) -> bool {
        self.pages.load(Ordering::Relaxed) >= self.checkpoint_at
    }

    pub(super) fn checkpoint(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let pages = self.pages.load(Ordering::Relaxed);
        let (mode, patience) = if pages >= RESTART_PAGES {
            (CheckpointMode::RESTART, RESTART_PATIENCE)
        } else {
            (CheckpointMode::PASSIVE, Duration::ZERO)
        };
        // Where somebody reads it, it goes on: then not at every commit again.
        self.checkpoint_at = pages + CHECKPOINT_PAGES;
        match checkpoint(connection, mode, patience) {
            Ok((logged, copied)) if logged == copied => self.started_anew(),
            Ok(_) => {}
            Err(error) if is_busy(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn started_anew(&mut self) {
        self.pages.store(0, Ordering::Relaxed);
        self.checkpoint_at = CHECKPOINT_PAGES;
        self.is_empty = true;
    }
}

/// Writes the bytes of a file to their places once more. The locks of the store lie on other files, so that this one can
/// be closed.
fn rewrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = vec![0; REWRITTEN];
    let mut at = 0;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let len = file.read(&mut bytes)?;
        if len == 0 {
            return Ok(());
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&bytes[..len])?;
        at += len as u64;
    }
}

/// How many pages the log has, and how many of them are in the file.
fn checkpoint(connection: &Connection, mode: CheckpointMode, patience: Duration) -> rusqlite::Result<(c_int, c_int)> {
    connection.busy_timeout(patience)?;
    let done = connection.wal_checkpoint_v2(Some("main"), mode);
    connection.busy_timeout(Duration::ZERO)?;
    done
}
