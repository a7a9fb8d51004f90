//! A store in a folder of its own, what looks at its files from beside it, and the words that the tests are written with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use backend_sqlite::{Sqlite, SqliteOptions};
use bytes::Bytes;
use futures_util::TryStreamExt;
use rusqlite::Connection;
use store_api::{AtomicWrite, Backend, EntryRead, Indexable, Key, Result};
use tempfile::TempDir;

/// After which what a test waits for has not happened.
const PATIENCE: Duration = Duration::from_mins(2);

/// Entries by key.
pub(crate) type State = BTreeMap<Key, Bytes>;

/// A folder with the file of a store, or with another one in its place.
pub(crate) struct Scene {
    directory: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    /// With something else where the store's file would be.
    pub(crate) fn with_file(bytes: impl AsRef<[u8]>) -> Self {
        let scene = Self::new();
        fs::write(scene.file(), bytes).unwrap();
        scene
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory().join("store.db")
    }

    /// The file of SQLite's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory().join("store.db-wal")
    }

    pub(crate) fn options(&self) -> SqliteOptions {
        SqliteOptions::new(self.file()).poll(Duration::from_millis(5))
    }

    pub(crate) async fn open(&self) -> Sqlite {
        self.options().open().await.unwrap()
    }

    /// SQLite itself, on the same file.
    pub(crate) fn beside(&self) -> Connection {
        let connection = Connection::open(self.file()).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection
    }

    /// The files that there are, with their bytes. The shared memory of SQLite's log is left out: it holds nothing that
    /// the log has not, and is made anew by whoever opens the file.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path());
        let kept = paths.filter(|path| !path.as_os_str().as_encoded_bytes().ends_with(b"-shm"));
        kept.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
    }
}

pub(crate) fn entries_of(store: &Sqlite) -> Arc<dyn AtomicWrite> {
    store.atomic_write().unwrap()
}

pub(crate) fn content_of(store: &Sqlite) -> Arc<dyn Indexable> {
    store.indexable().unwrap()
}

pub(crate) fn key(path: impl AsRef<str>) -> Key {
    Key::new(path).unwrap()
}

/// All entries.
pub(crate) async fn state_of(entries: &dyn EntryRead) -> Result<State> {
    entries.entries(&Key::root()).try_collect().await
}

/// Waits for what must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(output) = tokio::time::timeout(PATIENCE, future).await else { panic!("not within {PATIENCE:?}: {what}") };
    output
}

/// Waits until a path is gone. Nothing tells of that, so it is looked for again and again.
pub(crate) async fn soon_gone(path: &Path) {
    let gone = async {
        while path.try_exists().unwrap() {
            tokio::task::yield_now().await;
        }
    };
    soon("a path is gone", gone).await;
}
