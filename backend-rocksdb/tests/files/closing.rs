//! What a store leaves behind when it is closed, dropped, or killed.

use std::fs;

use backend_rocksdb::Sync;
use store_api::{AtomicWrite, Backend, ErrorKind};

use crate::scene::{Scene, key, value};

#[tokio::test]
async fn a_close_leaves_nothing_in_the_log() {
    let scene = Scene::new();
    let store = scene.options().sync(Sync::Off).open().await.unwrap();
    let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
    entries.set(&key("k"), value(1)).await.unwrap();
    let added = content.add(value(2)).await.unwrap();
    store.close().await.unwrap();
    for (name, _) in scene.logs() {
        fs::remove_file(scene.store().join(name)).unwrap();
    }
    let store = scene.open().await;
    assert_eq!(store.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(1)));
    assert_eq!(store.indexable().unwrap().find(&added).await.unwrap(), Some(value(2)));
}

#[tokio::test]
async fn a_store_that_was_dropped_lets_go_of_its_folder_by_itself() {
    let scene = Scene::new();
    let store = scene.open().await;
    store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    drop(store);
    let store = loop {
        match scene.options().open().await {
            Ok(store) => break store,
            Err(error) if error.kind() == ErrorKind::InUse => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(store.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(1)));
}

/// The names of this process's threads.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // One that ends meanwhile has no name any more.
    tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok()).collect()
}

fn count(name: &str) -> usize {
    threads().iter().filter(|thread| thread.starts_with(name)).count()
}

#[tokio::test]
async fn l4_the_threads_of_an_instance_end_with_it() {
    let scene = Scene::new();
    scene.open().await.close().await.unwrap();
    let engine_threads = count("rocksdb:");
    for _ in 0..20 {
        let store = scene.open().await;
        store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
        store.close().await.unwrap();
    }
    // Those of the other tests in this process come and go.
    assert!(count("rocksdb:") <= engine_threads.max(16), "{:?}", threads());
}
