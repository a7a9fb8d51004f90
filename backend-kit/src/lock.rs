//! A lock that one instance of a store holds, in this process or another (L4).

use std::{
    fs::{File, TryLockError},
    io::{self, Write},
    path::Path,
    process,
};

use store_api::{Error, ErrorKind, Result};

use crate::io_error;

/// A file that is locked until this is dropped, and says who locked it. It stays there: to remove it would let a third
/// instance lock another file of the same name.
#[derive(Debug)]
pub struct LockFile(File);

impl LockFile {
    /// Locks the file, which is created, for its owner only, where there is none.
    ///
    /// # Errors
    ///
    /// `InUse`, at once, with the id of the process that holds the lock; what the system says of the file.
    pub fn take(path: &Path) -> Result<Self> {
        let refuse = |error| io_error("the store cannot be locked", error);
        let mut file = private().open(path).map_err(refuse)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(&file)),
            Err(TryLockError::Error(error)) => return Err(refuse(error)),
        }
        file.set_len(0).and_then(|()| write!(file, "{}", process::id())).map_err(refuse)?;
        Ok(Self(file))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing the file would do, unless a process that is just being started has a copy of it for a moment.
        // Where this fails, closing remains.
        let _ = self.0.unlock();
    }
}

fn private() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn in_use(lock: &File) -> Error {
    let holder = io::read_to_string(lock).ok().and_then(|pid| pid.parse::<u32>().ok());
    let holder = holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
    Error::new(ErrorKind::InUse, format!("the store is open in {holder}; close it there, or wait for it"))
}
