//! A file that was removed, or replaced by another store's, while it is open: said, and nobody is given the other's data.

use std::fs;

use store_api::{AtomicWrite, Backend, ErrorKind, Event, Init, Key};

use crate::{
    refusal::{refused, value},
    scene::{Scene, entries_of, key, soon},
};

/// Puts another store with the same key in the place of this one's file.
async fn replace(scene: &Scene) {
    let other = Scene::new();
    let store = other.open().await;
    entries_of(&store).set(&key("k"), value("other")).await.unwrap();
    store.close().await.unwrap();
    // Beside it first, since a file is moved within one file system only.
    let beside = scene.directory().join("other.db");
    fs::copy(other.file(), &beside).unwrap();
    fs::rename(beside, scene.file()).unwrap();
}

/// The watch must tell that the file is gone.
async fn expect_told(entries: &dyn AtomicWrite, gone: impl AsyncFnOnce()) {
    let mut watch = entries.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(soon("the start", watch.next()).await.unwrap().unwrap(), Event::CaughtUp);
    gone().await;
    let told = soon("the fault", watch.next()).await.unwrap().expect_err("a fault");
    assert_eq!(told.kind(), ErrorKind::Other);
    assert!(told.to_string().contains("removed or replaced"), "{told}");
}

#[tokio::test]
async fn e1_a_watch_tells_that_the_file_was_removed() {
    let scene = Scene::new();
    let store = scene.open().await;
    expect_told(&*entries_of(&store), async || fs::remove_file(scene.file()).unwrap()).await;
}

#[tokio::test]
async fn e1_a_watch_tells_that_the_file_was_replaced() {
    let scene = Scene::new();
    let store = scene.open().await;
    expect_told(&*entries_of(&store), async || replace(&scene).await).await;
}

#[tokio::test]
async fn a10_a_file_beside_it_that_was_removed_is_told_and_nothing_is_lost() {
    for suffix in ["-wal", "-shm"] {
        let scene = Scene::new();
        let store = scene.open().await;
        let entries = entries_of(&store);
        entries.set(&key("k"), value("before")).await.unwrap();
        let mut beside = scene.file().as_os_str().to_owned();
        beside.push(suffix);
        fs::remove_file(&beside).unwrap();
        let error = refused(ErrorKind::Other, entries.set(&key("k"), value("behind")).await);
        assert!(error.to_string().contains(&format!("{suffix} was removed or replaced")), "{error}");
        store.close().await.unwrap();
        let store = scene.open().await;
        assert_eq!(entries_of(&store).find(&key("k")).await.unwrap(), Some(value("before")), "{suffix}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a1_a_read_is_not_of_the_file_that_took_the_place() {
    let scene = Scene::new();
    let store = scene.open().await;
    let entries = entries_of(&store);
    entries.set(&key("k"), value("own")).await.unwrap();
    replace(&scene).await;
    // The first read needs a connection.
    let error = refused(ErrorKind::Other, entries.find(&key("k")).await);
    assert!(error.to_string().contains("removed or replaced"), "{error}");
}
