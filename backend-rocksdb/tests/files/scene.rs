//! A folder for a store, and what the tests ask of it.

use std::{collections::BTreeMap, fs, path::PathBuf};

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

    /// Where all is but the lock.
    pub(crate) fn inside(&self) -> PathBuf {
        self.store().join("irminsul.data")
    }

    /// The files of the store by their paths in its folder, with their bytes.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let folders = [self.store(), self.inside()].into_iter().filter(|folder| folder.is_dir());
        let paths = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        let files = paths.filter(|path| path.is_file());
        files.map(|path| (path.strip_prefix(self.store()).unwrap().to_owned(), fs::read(&path).unwrap())).collect()
    }

    /// How many bytes the files with this ending have.
    pub(crate) fn len_of(&self, ending: &str) -> usize {
        let files = self.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == ending));
        files.map(|(_, bytes)| bytes.len()).sum()
    }

    /// Makes a block in the middle of the largest table unreadable; the store must be closed.
    pub(crate) fn rot_in_the_largest_table(&self) {
        let files = self.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "sst"));
        let (path, mut bytes) = files.max_by_key(|(_, bytes)| bytes.len()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::write(self.store().join(path), bytes).unwrap();
    }

    /// Those of them that are RocksDB's write-ahead log.
    pub(crate) fn logs(&self) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
        self.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "log"))
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
