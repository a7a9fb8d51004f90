//! SQLite's write-ahead log: when it is copied into the file, and whether what it holds can be relied on.

use std::{
    ffi::c_int,
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backend_kit::folder;
use rusqlite::{Connection, ffi, hooks::Wal, wal::CheckpointMode};
use store_api::Result;

use crate::{
    connection::{Companion, Location, retry_while_busy},
    error::{is_busy, is_full},
};

/// The log is copied into the file when it has so many pages.
const CHECKPOINT_PAGES: u64 = 1000;

/// From here on a checkpoint waits for readers, so that the log starts anew: it must not grow for ever.
const RESTART_PAGES: u64 = 16 * CHECKPOINT_PAGES;

/// How long such a checkpoint waits for them.
const RESTART_PATIENCE: Duration = Duration::from_millis(500);

/// How long one of several tries waits for whoever reads the log.
const A_MOMENT: Duration = Duration::from_millis(5);

pub(super) struct Log {
    /// Its file, where that is to survive a power loss.
    file: Option<PathBuf>,
    /// That file, and the one with SQLite's locks.
    companions: Vec<Companion>,
    /// In the log after the last commit, as SQLite told.
    pages: Arc<AtomicU64>,
    checkpoint_at: u64,
    /// It was started anew since the opening. Before, it may hold pages that a failed sync left in the system's cache:
    /// they look written, and are not (E3).
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
    pub(super) fn check_in_place(&self) -> Result<()> {
        self.companions.iter().try_for_each(Companion::check_in_place)
    }

    /// Writes all that it holds into the file, syncs that, and starts it anew, which is synced, too: a log that is back
    /// after a power loss, without what a failed sync left in the cache, would undo what was shown since. It stays as it
    /// is where other processes are in the way for longer than `patience`, or the disk is full.
    pub(super) fn freshen(&mut self, connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
        // Who checkpoints or commits without a pause leaves only moments: SQLite does not wait for the one at all, and
        // for the other it looks too seldom.
        match retry_while_busy(patience, || checkpoint(connection, CheckpointMode::TRUNCATE, patience.min(A_MOMENT))) {
            Ok(_) => {
                self.sync_file()?;
                self.is_fresh = true;
                self.started_anew();
                self.note_files();
                Ok(())
            }
            // What the log holds is synced before it is copied: where the file cannot grow, only the copy is missing.
            Err(error) if is_busy(&error) || is_full(&error) => Ok(()),
            Err(error) => Err(error),
        }
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

/// How many pages the log has, and how many of them are in the file.
fn checkpoint(connection: &Connection, mode: CheckpointMode, patience: Duration) -> rusqlite::Result<(c_int, c_int)> {
    connection.busy_timeout(patience)?;
    let done = connection.wal_checkpoint_v2(Some("main"), mode);
    connection.busy_timeout(Duration::ZERO)?;
    done
}
