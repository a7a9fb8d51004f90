//! The folder of a store: the names in it, the lock that one instance holds, and how a new log takes the old one's place.
//!
//! The lock is a file of its own, since a lock on the log would stay with the old file when a new one takes its name.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use backend_kit::{
    folder::{self, Layout, LockFile},
    io_error,
};
use store_api::{Error, ErrorKind, Result};

const LOG: &str = "log";
const NEW_LOG: &str = "log.new";
const LAYOUT: Layout = Layout { marker: LOG, new_marker: NEW_LOG, lock: "lock" };

/// A folder that this instance holds until it is dropped.
pub(crate) struct Folder {
    path: PathBuf,
    lock: LockFile,
}

impl Folder {
    /// Takes the folder, which is made if it is missing and may be; a folder of something else is left alone.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self> {
        let (path, lock) = folder::take(path, create, LAYOUT)?;
        Ok(Self { path, lock })
    }

    /// `Ok` while it is there, and a log in it.
    pub(crate) fn check_in_place(&self) -> Result<()> {
        self.lock.check_in_place()?;
        match self.path.join(LOG).try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(ErrorKind::Other, "the log of the store was removed; open the store again")),
            Err(error) => Err(io_error("the log cannot be looked for", error)),
        }
    }

    /// The log, if there is one.
    pub(crate) fn log(&self) -> Result<Option<File>> {
        match File::options().read(true).write(true).open(self.path.join(LOG)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("the log cannot be opened", error)),
        }
    }

    /// An empty file that is to become the log. One that a crash left behind is overwritten.
    pub(crate) fn new_log(&self) -> Result<File> {
        let file = private().read(true).truncate(true).open(self.path.join(NEW_LOG));
        file.map_err(|error| io_error("a log cannot be created", error))
    }

    /// Gives the new log, which is synced, the log's name. A crash leaves the one or the other there, and when this has
    /// returned, the new one.
    pub(crate) fn put_in_place(&self) -> Result<()> {
        let renamed = fs::rename(self.path.join(NEW_LOG), self.path.join(LOG));
        let synced = renamed.and_then(|()| folder::sync(&self.path)).and_then(|()| {
            // The folder may have been made a moment ago, by this instance or by one that crashed.
            self.path.parent().map_or(Ok(()), folder::sync)
        });
        synced.map_err(|error| io_error("a log cannot take its place", error))
    }
}

/// Files that only their owner can read and write.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.write(true).create(true).mode(0o600);
    options
}
