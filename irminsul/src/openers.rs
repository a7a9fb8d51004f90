//! The openers of the engines that are compiled in: how an address becomes an engine's typed options.

use std::sync::Arc;

use crate::Opener;

/// Sets the options that all engines of this project have, where the address says so.
#[cfg(any(feature = "mem", feature = "sqlite", feature = "rocksdb", feature = "s3"))]
macro_rules! with_common_options {
    ($store:ident, $options:ident) => {
        if let Some(name) = $options.choice("hash") {
            $store = $store.hash(name.parse()?);
        }
        if let Some(on) = $options.switch("verify") {
            $store = $store.verify(on);
        }
        if let Some(bytes) = $options.bytes("batch") {
            $store = $store.batch_limit(bytes);
        }
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
