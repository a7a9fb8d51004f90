//! Where the file is, and connections to it.

use std::{
    error::Error as _,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use backend_kit::{
    folder::{Identity, identity_of, shown},
    io_error, io_error_kind,
};
use rusqlite::{Connection, MAIN_DB, OpenFlags, config::DbConfig};
use store_api::{Error, ErrorKind, Result};
use tempfile::TempDir;

use crate::error::{from_sqlite, is_busy, is_failed_write, not_a_database};

/// The least that a file grows by.
const BLOCK: usize = 4096;

/// The file of a store. Whoever has a connection keeps it, so that a temporary one outlives them all.
#[derive(Debug)]
pub(crate) struct Location {
    path: PathBuf,
    /// Which file it was when it was found.
    identity: Option<Identity>,
    temporary: Option<TempDir>,
}

impl Location {
    /// The file at `path`, or a temporary one; created where it is missing and may be.
    pub(crate) fn find(path: Option<&Path>, create: bool) -> Result<Self> {
        let mut location = match path {
            // Connections are made at any time, and the process may have changed its folder by then.
            Some(path) => Self { path: absolute(path)?, identity: None, temporary: None },
            None => Self::temporary()?,
        };
        location.ensure_file(create || !location.is_permanent())?;
        // What a link leads to is settled here, not at each connection.
        location.path = fs::canonicalize(&location.path).map_err(|error| location.refused(error))?;
        location.identity = location.identity_at_path();
        Ok(location)
    }

    fn identity_at_path(&self) -> Option<Identity> {
        fs::metadata(&self.path).ok().as_ref().map(identity_of)
    }

    /// `Ok` while the path leads to the file that was opened: connections to one that was removed see no other
    /// process's changes, and a new connection would see another file.
    pub(crate) fn check_in_place(&self) -> Result<()> {
        if self.identity_at_path() == self.identity {
            return Ok(());
        }
        Err(was_removed(&self.path))
    }

    fn temporary() -> Result<Self> {
        let mut folder = tempfile::Builder::new();
        folder.prefix("irminsul-");
        #[cfg(unix)]
        folder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let dir = folder.tempdir().map_err(|error| {
            let message = "no temporary folder could be made; set TMPDIR to a folder that can be written";
            Error::new(io_error_kind(&error), message).with_source(error)
        })?;
        Ok(Self { path: dir.path().join("store.db"), identity: None, temporary: Some(dir) })
    }

    /// The file of SQLite's write-ahead log.
    pub(crate) fn log(&self) -> PathBuf {
        self.beside("-wal")
    }

    /// The files that SQLite keeps beside it, for as long as anybody has a connection.
    pub(crate) fn companions(&self) -> [PathBuf; 2] {
        [self.log(), self.beside("-shm")]
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    pub(crate) fn is_permanent(&self) -> bool {
        self.temporary.is_none()
    }

    /// An existing file, or a new one that only its owner can read and write. SQLite gives its log the same mode.
    fn ensure_file(&self, create: bool) -> Result<()> {
        // Closing a file drops the locks that the whole process has on it, those of SQLite's connections as well. So a
        // file is opened here only to create it, and no connection is made meanwhile.
        static CREATING: Mutex<()> = Mutex::new(());
        let _creating = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => Err(self.invalid("is a folder, not a file; name a file in it")),
            Ok(found) if !found.is_file() => Err(self.invalid("is not a regular file; name another")),
            // SQLite takes a file of one byte for an empty one, and would write over it.
            Ok(found) if found.len() == 1 => Err(not_a_database()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => self.create_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.invalid("does not exist; check the path, or open it with `create=on`"))
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    fn create_file(&self) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&self.path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.invalid("lies in a folder that does not exist; create the folder first"))
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    /// A connection whose statements do not wait for other processes' locks: that is left to [`retry_while_busy`].
    fn connect(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connect = || {
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(Duration::ZERO)?;
            connection.set_prepared_statement_cache_capacity(64);
            // A shared file may come from anybody: nothing in its schema is to run with more rights than it has.
            connection.pragma_update(None, "trusted_schema", false)?;
            Ok(connection)
        };
        let connection = connect().map_err(|error: rusqlite::Error| self.unopened(error))?;
        self.check_in_place()?;
        Ok(connection)
    }

    /// A connection that can write. Where the file or its system is read-only, SQLite would open it to read, and leave
    /// files beside it that its owner could not write either.
    pub(crate) fn connect_to_write(&self) -> Result<Connection> {
        let connection = self.connect()?;
        if connection.is_readonly(MAIN_DB).map_err(from_sqlite)? {
            let message = format!("{} cannot be written; check the file system and the permissions", self.shown());
            return Err(Error::new(ErrorKind::ReadOnly, message));
        }
        Ok(connection)
    }

    /// A connection that cannot write.
    pub(crate) fn connect_to_read(&self) -> Result<Connection> {
        let connection = self.connect()?;
        connection.pragma_update(None, "query_only", true).map_err(from_sqlite)?;
        Ok(connection)
    }

    /// Closes a connection to a file that is no store, and leaves its log as it is: SQLite would copy that into the file
    /// when the last connection closes (L5).
    pub(crate) fn leave_untouched(&self, connection: Connection) {
        let has_log = fs::metadata(self.log()).is_ok_and(|log| log.len() > 0);
        let left = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log);
        if let Err(error) = left.and_then(|_| connection.close().map_err(|(_, error)| error)) {
            tracing::warn!(error = %error, "a file that is no store could not be left as it was");
        }
    }

    /// SQLite says only that it could not open the file: the system knows more.
    fn unopened(&self, error: rusqlite::Error) -> Error {
        if no_file_can_be_opened() {
            let message = "the process has too many open files; raise the limit, or close some";
            return Error::new(ErrorKind::Unavailable, message).with_source(error);
        }
        match fs::metadata(&self.path) {
            Err(reason) => self.refused(reason),
            Ok(_) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) => {
                let message = format!("{} could not be opened; check the permissions", self.shown());
                Error::new(ErrorKind::Denied, message).with_source(error)
            }
            Ok(_) => from_sqlite(error),
        }
    }

    /// SQLite says of a write that failed only that it did; of a quota that is used up the system tells who writes beside
    /// the store. Other errors stay as they are.
    pub(crate) fn explain_write(&self, error: Error) -> Error {
        let source = error.source().and_then(|source| source.downcast_ref());
        if !source.is_some_and(is_failed_write) {
            return error;
        }
        match self.write_beside() {
            Err(reason) if io_error_kind(&reason) == ErrorKind::NoSpace => {
                let message = "the quota is used up; free some space and try again";
                Error::new(ErrorKind::NoSpace, message).with_effect(error.effect()).with_source(error)
            }
            _ => error,
        }
    }

    fn write_beside(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path);
        tempfile::tempfile_in(folder)?.write_all(&[0; BLOCK])
    }

    fn invalid(&self, why: &str) -> Error {
        Error::new(ErrorKind::InvalidInput, format!("{} {why}", self.shown()))
    }

    fn refused(&self, error: io::Error) -> Error {
        io_error(format_args!("{} cannot be opened", self.shown()), error)
    }

    fn shown(&self) -> String {
        shown(&self.path)
    }
}

fn was_removed(path: &Path) -> Error {
    let message = format!("{} was removed or replaced; open the store again", shown(path));
    Error::new(ErrorKind::Other, message)
}

/// A file that stays as long as somebody has a connection: SQLite makes it with the first, and removes it with the last.
pub(crate) struct Companion {
    path: PathBuf,
    /// Nothing until it is there.
    identity: Option<Identity>,
}

impl Companion {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, identity: None }
    }

    fn found(&self) -> Option<Identity> {
        fs::metadata(&self.path).ok().as_ref().map(identity_of)
    }

    /// Notes which file it is, unless that is known.
    pub(crate) fn note(&mut self) {
        self.identity = self.identity.or_else(|| self.found());
    }

    /// `Ok` while it is the one that was noted: what is written to a log that was removed is lost with this process, and who
    /// makes the other file anew takes no notice of this one's locks.
    pub(crate) fn check_in_place(&self) -> Result<()> {
        if self.identity.is_none() || self.identity == self.found() { Ok(()) } else { Err(was_removed(&self.path)) }
    }
}

/// Whether the process has as many open files as it may. The store's own is not tried: closing it would drop its locks.
fn no_file_can_be_opened() -> bool {
    // EMFILE and ENFILE, which the standard library does not name.
    fs::File::open("/dev/null").is_err_and(|error| matches!(error.raw_os_error(), Some(23 | 24)))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, "the path is empty, or there is no current folder; name a file")
            .with_source(error)
    })
}

/// Repeats what somebody else's lock is in the way of, until it works, fails otherwise, or `limit` is over.
pub(crate) fn retry_while_busy<T>(
    limit: Duration,
    attempt: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    retry_while(limit, is_busy, attempt)
}

/// Repeats what fails with an error that may pass, until `limit` is over. The pauses are short and random, so that
/// processes that wait for each other do not keep in step.
pub(crate) fn retry_while<T, E>(
    limit: Duration,
    may_pass: fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    // A limit beyond what the clock can tell is none.
    let end = Instant::now().checked_add(limit);
    let left = || end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
    let mut longest = Duration::from_micros(200);
    loop {
        match attempt() {
            Err(error) if may_pass(&error) && !left().is_zero() => {
                let pause = longest.mul_f64(fastrand::f64());
                thread::sleep(pause.min(left()));
                longest = (longest * 2).min(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}
