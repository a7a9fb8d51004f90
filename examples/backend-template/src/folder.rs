//! The folder of a store: the names in it, the lock that one instance holds, and how a new log takes the old one's place.
//!
//! The lock is a file of its own, since a lock on the log would stay with the old file when a new one takes its name.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
};

use backend_kit::io_error;
use store_api::{Error, ErrorKind, Result};

const LOG: &str = "log";
const NEW_LOG: &str = "log.new";
const LOCK: &str = "lock";

/// A folder that this instance holds until it is dropped.
pub(crate) struct Folder {
    path: PathBuf,
    lock: File,
}

impl Folder {
    /// Takes the folder, which is made if it is missing and may be; a folder of something else is left alone.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self> {
        let refuse = |error| io_error(format_args!("{} cannot be opened", shown(path)), error);
        if create {
            make_folder(path).map_err(refuse)?;
        }
        if !path.join(LOG).try_exists().map_err(refuse)? {
            check_vacant(path, create)?;
        }
        // What is synced later must be what was opened here, wherever the process is by then.
        let path = fs::canonicalize(path).map_err(refuse)?;
        let lock = take_lock(&path.join(LOCK))?;
        Ok(Self { path, lock })
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
        let synced = renamed.and_then(|()| File::open(&self.path)?.sync_all()).and_then(|()| {
            // The folder may have been made a moment ago, by this instance or by one that crashed.
            self.path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        });
        synced.map_err(|error| io_error("a log cannot take its place", error))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing the file would do, unless a process that is just being started has a copy of it for a moment.
        // Where this fails, closing remains.
        let _ = self.lock.unlock();
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// `Ok` for a folder without a log where one may be created: with nothing in it but what a crash can leave.
fn check_vacant(path: &Path, create: bool) -> Result<()> {
    if !create {
        let message = format!("{} holds no store; check the path, or open it with `create(true)`", shown(path));
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let read = || fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
    let names = read().map_err(|error| io_error(format_args!("{} cannot be read", shown(path)), error))?;
    if names.iter().any(|name| name != NEW_LOG && name != LOCK) {
        let message = format!("{} is not empty, and holds no store of this kind; name another folder", shown(path));
        return Err(Error::new(ErrorKind::Incompatible, message));
    }
    Ok(())
}

/// Locks the file, and writes into it who did, for those who come too late (L4).
fn take_lock(path: &Path) -> Result<File> {
    let refuse = |error| io_error("the store cannot be locked", error);
    let mut file = private().read(true).truncate(false).open(path).map_err(refuse)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(&file)),
        Err(TryLockError::Error(error)) => return Err(refuse(error)),
    }
    file.set_len(0).and_then(|()| write!(file, "{}", process::id())).map_err(refuse)?;
    Ok(file)
}

fn in_use(lock: &File) -> Error {
    let holder = io::read_to_string(lock).ok().and_then(|pid| pid.parse::<u32>().ok());
    let holder = holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
    Error::new(ErrorKind::InUse, format!("the store is open in {holder}; close it there, or wait for it"))
}

/// Files that only their owner can read and write.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.write(true).create(true).mode(0o600);
    options
}

/// A path in one line.
fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}
