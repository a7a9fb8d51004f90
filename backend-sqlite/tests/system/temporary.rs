//! Temporary stores: a folder that is gone with the last handle (L4).

use std::{
    fs,
    path::{Path, PathBuf},
};

use backend_sqlite::SqliteOptions;
use store_api::{Backend, Diff, Event, Init, Key};

use crate::refusal::value;

fn k() -> Key {
    Key::new("k").unwrap()
}

fn folders(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Waits until there is no folder left. Nothing tells of that, so it is looked for again and again.
async fn all_gone(directory: &Path) {
    while !folders(directory).is_empty() {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn l4_a_temporary_store_is_gone_with_its_last_handle(directory: PathBuf) {
    let store = SqliteOptions::temporary().open().await.unwrap();
    assert_eq!(folders(&directory).len(), 1);
    let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
    let watch = entries.watch(&Key::root(), Init::Current).await.unwrap();
    drop((store, watch));
    entries.set(&k(), value("kept")).await.unwrap();
    assert_eq!(entries.find(&k()).await.unwrap(), Some(value("kept")));
    drop(entries);
    let added = content.add(value("kept")).await.unwrap();
    assert_eq!(content.find(&added).await.unwrap(), Some(value("kept")));
    let keys = content.keys();
    drop((content, keys));
    all_gone(&directory).await;
    let store = SqliteOptions::temporary().open().await.unwrap();
    store.atomic_write().unwrap().set(&k(), value("gone")).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    all_gone(&directory).await;
}

pub(crate) async fn l4_a_watch_keeps_a_temporary_store_alive(directory: PathBuf) {
    let store = SqliteOptions::temporary().open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    let mut watch = entries.watch(&Key::root(), Init::Known(Vec::new())).await.unwrap();
    entries.set(&k(), value("told")).await.unwrap();
    drop((store, entries));
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::CaughtUp);
    let told = Event::Changed { key: k(), diff: Diff::Added { new: value("told") } };
    assert_eq!(watch.next().await.unwrap().unwrap(), told);
    assert_eq!(folders(&directory).len(), 1);
    drop(watch);
    all_gone(&directory).await;
}

pub(crate) async fn l4_temporary_stores_share_nothing(_directory: PathBuf) {
    let (one, two) =
        (SqliteOptions::temporary().open().await.unwrap(), SqliteOptions::temporary().open().await.unwrap());
    one.atomic_write().unwrap().set(&k(), value("one")).await.unwrap();
    assert_eq!(two.atomic_write().unwrap().find(&k()).await.unwrap(), None);
}
