//! The openers of the engines that are compiled in: how an address becomes an engine's typed options.

use std::sync::Arc;

use crate::Opener;

/// Hands on the options that an address states, each by its kind, its name and the setter of the engine's options. For
/// the others the engine's own defaults hold.
#[cfg(any(feature = "mem", feature = "sqlite", feature = "rocksdb", feature = "s3"))]
macro_rules! hand_on {
    ($store:ident, $options:ident: $($kind:ident($name:literal) => $setter:ident),+ $(,)?) => {
        $(if let Some(value) = $options.$kind($name) {
            $store = $store.$setter(value);
        })+
    };
}

/// Hands on the options that all engines of this project have.
#[cfg(any(feature = "mem", feature = "sqlite", feature = "rocksdb", feature = "s3"))]
macro_rules! hand_on_common {
    ($store:ident, $options:ident) => {
        if let Some(name) = $options.choice("hash") {
            $store = $store.hash(name.parse()?);
        }
        hand_on!($store, $options: switch("verify") => verify, bytes("batch") => batch_limit);
    };
}

#[cfg(any(feature = "sqlite", feature = "rocksdb"))]
mod files;
#[cfg(feature = "mem")]
mod mem;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "s3")]
mod s3;
#[cfg(any(feature = "mem", feature = "sqlite", feature = "rocksdb", feature = "s3"))]
mod scratch;
#[cfg(feature = "sqlite")]
mod sqlite;

/// The schemes of this project, and the cargo feature that compiles each in: all of [`compiled_in`], and those that are
/// left out.
pub(crate) const FEATURES: [(&str, &str); 5] =
    [("az", "azure"), ("mem", "mem"), ("rocksdb", "rocksdb"), ("s3", "s3"), ("sqlite", "sqlite")];

pub(crate) fn compiled_in() -> Vec<(&'static str, Arc<dyn Opener>)> {
    vec![
        #[cfg(feature = "mem")]
        ("mem", Arc::new(mem::MemOpener)),
        #[cfg(feature = "rocksdb")]
        ("rocksdb", Arc::new(rocksdb::RocksdbOpener)),
        #[cfg(feature = "s3")]
        ("s3", Arc::new(s3::S3Opener::S3)),
        #[cfg(feature = "azure")]
        ("az", Arc::new(s3::S3Opener::Azure)),
        #[cfg(feature = "sqlite")]
        ("sqlite", Arc::new(sqlite::SqliteOpener)),
    ]
}
