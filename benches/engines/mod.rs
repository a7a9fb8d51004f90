//! What is measured in every benchmark: our backends by their addresses, and the engines below them, driven as well as
//! one can. Peers are left to the comparison.

pub(crate) mod map;
pub(crate) mod ours;
pub(crate) mod rocksdb;
pub(crate) mod sqlite;
mod versions;

use store_api::{Error, ErrorKind, Result};

pub(crate) use self::versions::version_of;

/// The memory for what was read that each engine gets which has a setting for it: as much as the connections have together
/// with which our SQLite reads.
pub(crate) const CACHE: usize = 32 << 20;

/// What [`CACHE`] is called.
pub(crate) const CACHE_TOLD: &str = "32 MiB";

/// An error of a foreign engine.
pub(crate) fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Other, "the engine failed").with_source(source)
}

pub(crate) fn unsupported<T>(what: &'static str) -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, what))
}
