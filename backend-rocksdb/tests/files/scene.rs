//! A folder for a store, and what the tests ask of it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use backend_rocksdb::{Rocksdb, RocksdbOptions};
use bytes::Bytes;
use store_api::{Error, ErrorKind, Key};
use tempfile::TempDir;

/// A folder that is removed at the end, with room for a store in it.
pub(crate) struct Scene {
    directory: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn options(&self) -> RocksdbOptions {
        RocksdbOptions::new(self.store())
    }

    pub(crate) async fn open(&self) -> Rocksdb {
        self.options().open().await.unwrap()
    }

    /// The files of the store, with their bytes.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.store()).unwrap().map(Result::unwrap);
        entries
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect()
    }

    /// Those of them that are RocksDB's write-ahead log.
    pub(crate) fn logs(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.files().into_iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|end| end == "log"))
    }
}

pub(crate) fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

pub(crate) fn value(number: usize) -> Bytes {
    format!("value {number}").into()
}

/// The refusal of an open.
pub(crate) fn refused(kind: ErrorKind, opened: Result<Rocksdb, Error>) -> String {
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    error.to_string()
}
