//! What RocksDB says, as what the caller can do about it.
//!
//! RocksDB gives its errors as texts. Those that are looked for here are its own, or the C library's, which are English
//! unless the program asks for another language; where none is recognized the kind is a weaker one.

use store_api::{Effect, Error, ErrorKind};

const NO_SPACE: &str = "no space is left on the device; free some and try again";

/// The error for one of RocksDB's.
pub(crate) fn from_rocksdb(error: rocksdb::Error) -> Error {
    let (kind, message) = explain(&error);
    Error::new(kind, message).with_source(error)
}

fn explain(error: &rocksdb::Error) -> (ErrorKind, &'static str) {
    use rocksdb::ErrorKind as Rocks;

    let says = |text| error.as_ref().contains(text);
    match error.kind() {
        Rocks::Corruption => (ErrorKind::Corrupt, "a file of the store is damaged; restore it from a copy"),
        // RocksDB does not get over it by itself.
        _ if is_beyond_quota(error) => {
            (ErrorKind::NoSpace, "the quota of the disk is used up; free some space and open the store again")
        }
        _ if is_full(error) => (ErrorKind::NoSpace, NO_SPACE),
        _ if says("Permission denied") || says("Operation not permitted") => {
            (ErrorKind::Denied, "the system refuses the access; check the permissions")
        }
        _ if says("Read-only file system") => {
            (ErrorKind::ReadOnly, "the file system is read-only; put the store on another")
        }
        _ if says("lock hold by current process") || says("While lock file") => {
            (ErrorKind::InUse, "another program has the folder open in RocksDB; close it there, or wait for it")
        }
        _ if says("No such file or directory") => {
            (ErrorKind::Corrupt, "a file of the store is missing; restore it from a copy")
        }
        Rocks::IOError => (ErrorKind::Other, "the system reported an input/output error"),
        Rocks::Busy | Rocks::TryAgain | Rocks::TimedOut | Rocks::Incomplete => {
            (ErrorKind::Unavailable, "RocksDB is busy; try again")
        }
        Rocks::ShutdownInProgress => (ErrorKind::Closed, "the store is closed; open it again"),
        Rocks::NotSupported => {
            (ErrorKind::Incompatible, "this RocksDB cannot read the store; open it with a newer one")
        }
        _ => (ErrorKind::Other, "RocksDB reported an error"),
    }
}

/// Whether what was asked for is not in memory, or a write would have to wait.
pub(crate) fn would_block(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::Incomplete
}

/// Whether the disk, or a quota, is full.
pub(crate) fn is_full(error: &rocksdb::Error) -> bool {
    error.as_ref().contains("No space left on device") || is_beyond_quota(error)
}

/// Whether a quota is used up.
pub(crate) fn is_beyond_quota(error: &rocksdb::Error) -> bool {
    error.as_ref().contains("Disk quota exceeded")
}

/// Whether RocksDB takes no more writes until it is opened again, and what it did not sync may be in the system's cache.
/// After a full disk it goes on by itself as soon as there is room; what was appended halfway is in no log that counts.
pub(crate) fn is_fatal(error: &rocksdb::Error) -> bool {
    let in_a_sync = ["While fsync", "While fdatasync"].iter().any(|text| error.as_ref().contains(text));
    error.kind() == rocksdb::ErrorKind::IOError && (!is_full(error) || in_a_sync)
}

/// `Corrupt`: what no version of this library wrote.
pub(crate) fn malformed() -> Error {
    Error::new(ErrorKind::Corrupt, "the store has a malformed key; restore it from a copy")
}

/// The error of a write that was not made because the disk is full.
pub(crate) fn no_room(error: rocksdb::Error) -> Error {
    Error::new(ErrorKind::NoSpace, NO_SPACE).with_source(error)
}

/// The error of a write that was not made because RocksDB takes the disk for full, and will not see that it is not.
pub(crate) fn room_unseen(error: rocksdb::Error) -> Error {
    let message = "the disk was full, and RocksDB does not see that there is room; open the store again";
    Error::new(ErrorKind::NoSpace, message).with_source(error)
}

/// The error of a write that was not appended whole.
pub(crate) fn not_applied(error: rocksdb::Error) -> Error {
    from_rocksdb(error).with_effect(Effect::NotApplied)
}
