//! What the system says about files, as what the caller can do about it.

use std::{fmt, io};

use store_api::{Error, ErrorKind};

/// The error for one of the system's: `what` says what did not work, and the remedy follows.
///
/// ```
/// # use std::io;
/// let full = io::Error::from(io::ErrorKind::StorageFull);
/// let error = backend_kit::io_error("the log cannot be written", full);
/// assert_eq!(error.kind(), store_api::ErrorKind::NoSpace);
/// assert_eq!(error.to_string(), "the log cannot be written; free some space");
/// ```
#[must_use]
pub fn io_error(what: impl fmt::Display, error: io::Error) -> Error {
    let kind = io_error_kind(&error);
    let remedy = match kind {
        ErrorKind::Denied => "check the permissions of the file and its folder",
        ErrorKind::ReadOnly => "the file system is read-only; put the store on another",
        ErrorKind::NoSpace => "free some space",
        ErrorKind::InvalidInput => "check the path",
        _ => "the source of this error says why",
    };
    Error::new(kind, format!("{what}; {remedy}")).with_source(error)
}

/// The kind of one of the system's errors.
#[must_use]
pub fn io_error_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
        _ => ErrorKind::Other,
    }
}
