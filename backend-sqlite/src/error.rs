//! What SQLite says, as what the caller can do about it.

use rusqlite::ffi::{self, ErrorCode};
use store_api::{Error, ErrorKind};

/// The error for one of SQLite's.
pub(crate) fn from_sqlite(error: rusqlite::Error) -> Error {
    let (kind, message) = match error.sqlite_error() {
        Some(failure) => explain(*failure),
        None if is_malformed(&error) => return malformed().with_source(error),
        None => (ErrorKind::Other, "SQLite answered what was not expected"),
    };
    Error::new(kind, message).with_source(error)
}

/// Whether a cell has not the type, or the range, that it was written with.
fn is_malformed(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};

    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}

fn explain(failure: ffi::Error) -> (ErrorKind, &'static str) {
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            (ErrorKind::Unavailable, "another process kept the store locked beyond the busy limit; try again")
        }
        ErrorCode::DiskFull => (ErrorKind::NoSpace, "no space is left on the device; free some and try again"),
        // The shared memory of the log could not grow.
        ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => {
            (ErrorKind::NoSpace, "no space is left for the log's shared memory; free some")
        }
        ErrorCode::ReadOnly => {
            (ErrorKind::ReadOnly, "the store cannot be written; check the file system and the permissions")
        }
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            (ErrorKind::Denied, "the system refuses the access; check the permissions")
        }
        ErrorCode::CannotOpen => (ErrorKind::Other, "a file of the store could not be opened"),
        ErrorCode::DatabaseCorrupt => (ErrorKind::Corrupt, "the database file is damaged; restore it from a copy"),
        ErrorCode::NotADatabase => (ErrorKind::Incompatible, NOT_A_DATABASE),
        ErrorCode::TooBig => (ErrorKind::ValueTooLarge, "the value is too large"),
        ErrorCode::SystemIoFailure => (ErrorKind::Other, "the system reported an input/output error"),
        _ => (ErrorKind::Other, "SQLite reported an error"),
    }
}

/// Whether somebody else's lock is in the way, so that the same call may succeed in a moment.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed)
    )
}

/// [`is_busy`], of an error that was explained.
pub(crate) fn is_unavailable(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable
}

/// Whether the disk had no space for what was to be written.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether the system did not take what was to be written, for another reason than a [full disk](is_full).
pub(crate) fn is_failed_write(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|failure| failure.extended_code == ffi::SQLITE_IOERR_WRITE)
}

/// Whether a sync failed, so that nobody knows what is on the disk (E3).
pub(crate) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|failure| matches!(failure.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

const NOT_A_DATABASE: &str = "the file is not a SQLite database; name another";

/// `Incompatible`: the file is not SQLite's.
pub(crate) fn not_a_database() -> Error {
    Error::new(ErrorKind::Incompatible, NOT_A_DATABASE)
}

/// `Corrupt`: a row has not the shape that it was written with.
pub(crate) fn malformed() -> Error {
    Error::new(ErrorKind::Corrupt, "a row of the store is damaged; restore it from a copy")
}
