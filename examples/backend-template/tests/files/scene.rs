//! A folder with a store, and the words that the tests are written with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use backend_template::{LogOptions, LogStore};
use bytes::Bytes;
use futures_util::TryStreamExt;
use store_api::{Backend, ContentHash, Error, ErrorKind, Key, Result};
use tempfile::TempDir;

/// How long the header of a log is: before the first group.
pub(crate) const HEADER_LEN: usize = 48;

/// How long the mark of a closed log is.
pub(crate) const MARK_LEN: usize = 40;

/// All that a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) entries: BTreeMap<Key, Bytes>,
    pub(crate) content: BTreeMap<ContentHash, Bytes>,
}

/// A folder for the folder of a store.
pub(crate) struct Scene {
    directory: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    /// With a store of this log.
    pub(crate) fn with_log(log: &[u8]) -> Self {
        let scene = Self::new();
        fs::create_dir(scene.store()).unwrap();
        fs::write(scene.log(), log).unwrap();
        scene
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.store().join("log")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.log()).unwrap()
    }

    pub(crate) fn options(&self) -> LogOptions {
        LogOptions::new(self.store())
    }

    pub(crate) async fn open(&self) -> LogStore {
        self.options().open().await.unwrap()
    }

    /// What a store of this log turns out to hold.
    pub(crate) async fn held_in(log: &[u8]) -> Result<Held> {
        let scene = Self::with_log(log);
        let store = scene.options().open().await?;
        let held = held(&store).await;
        store.close().await?;
        held
    }
}

/// All that a store holds, read back.
pub(crate) async fn held(store: &LogStore) -> Result<Held> {
    let entries = store.atomic_write().unwrap().entries(&Key::root()).try_collect().await?;
    let indexable = store.indexable().unwrap();
    let mut content = BTreeMap::new();
    for key in indexable.keys().try_collect::<Vec<_>>().await? {
        content.insert(key.to_hash(), indexable.find(&key).await?.expect("what is listed is there"));
    }
    Ok(Held { entries, content })
}

/// Does one of each thing that is written, each as a group of its own. After each: how long the log is, and what is held.
pub(crate) async fn write_each_kind(store: &LogStore, log: &Path) -> Vec<(usize, Held)> {
    let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
    let mut steps = Vec::new();
    for step in 0..8 {
        match step {
            0 => entries.set(&key("a"), value(1)).await.unwrap(),
            1 => entries.set(&key("a/b"), Bytes::new()).await.unwrap(),
            2 => drop(content.add(value(2)).await.unwrap()),
            3 => {
                let batch = content.begin().await.unwrap();
                for number in 3..6 {
                    batch.add(value(number)).await.unwrap();
                }
                batch.commit().await.unwrap();
            }
            4 => assert!(entries.test_and_set(&key("a"), Some(value(1)), Some(value(6))).await.unwrap().is_applied()),
            5 => entries.remove(&key("a/b")).await.unwrap(),
            6 => entries.clear().await.unwrap(),
            _ => entries.set(&key("z"), value(7)).await.unwrap(),
        }
        steps.push((fs::read(log).unwrap().len(), held(store).await.unwrap()));
    }
    steps
}

pub(crate) fn key(path: impl AsRef<str>) -> Key {
    Key::new(path).unwrap()
}

pub(crate) fn value(number: usize) -> Bytes {
    format!("correct-horse-battery-staple {number}").into()
}

/// The error of a call that must be refused with this kind. It is one line, and shows no value (E2).
pub(crate) fn refused<T>(kind: ErrorKind, result: Result<T>) -> Error {
    let Err(error) = result else { panic!("it must be {kind:?}") };
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.backend(), Some("log"), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    assert!(!format!("{error} {error:?}").contains("horse"), "a value is shown");
    error
}
