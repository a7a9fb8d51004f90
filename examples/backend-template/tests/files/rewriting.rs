//! When a log is written anew, and that nothing is lost on the way.

use std::{fs, os::unix::fs::MetadataExt};

use bytes::Bytes;
use store_api::Backend;

use crate::scene::{Scene, held, key, value, write_each_kind};

fn file_number(scene: &Scene) -> u64 {
    fs::metadata(scene.log()).unwrap().ino()
}

#[tokio::test]
async fn a_log_that_is_mostly_dead_is_written_anew_with_everything_that_is_live() {
    let scene = Scene::new();
    let store = scene.open().await;
    let entries = store.atomic_write().unwrap();
    for round in 0..50 {
        entries.set(&key("k"), value(round)).await.unwrap();
        entries.set(&key("gone"), value(round)).await.unwrap();
    }
    entries.remove(&key("gone")).await.unwrap();
    store.indexable().unwrap().add(value(1)).await.unwrap();
    let expected = held(&store).await.unwrap();
    store.close().await.unwrap();
    let before = scene.bytes().len();
    let store = scene.open().await;
    assert_eq!(held(&store).await.unwrap(), expected);
    assert!(scene.bytes().len() < before / 10, "{} of {before} bytes", scene.bytes().len());
    store.close().await.unwrap();
    assert_eq!(held(&scene.open().await).await.unwrap(), expected);
}

#[tokio::test]
async fn a_log_that_is_mostly_live_and_was_closed_is_left_as_it_is() {
    let scene = Scene::new();
    let store = scene.open().await;
    let entries = store.atomic_write().unwrap();
    for number in 0..50 {
        entries.set(&key(number.to_string()), Bytes::from(vec![7; 256])).await.unwrap();
    }
    let expected = held(&store).await.unwrap();
    store.close().await.unwrap();
    let (file, bytes) = (file_number(&scene), scene.bytes());
    let store = scene.open().await;
    assert_eq!(held(&store).await.unwrap(), expected);
    store.close().await.unwrap();
    assert_eq!((file_number(&scene), scene.bytes()), (file, bytes));
}

#[tokio::test]
async fn e3_a_log_that_was_not_closed_is_written_anew_before_anything_is_acknowledged() {
    let scene = Scene::new();
    let store = scene.open().await;
    store.atomic_write().unwrap().set(&key("live"), vec![7; 4096].into()).await.unwrap();
    let expected = held(&store).await.unwrap();
    let crashed = Scene::with_log(&scene.bytes());
    let file = file_number(&crashed);
    let reopened = crashed.open().await;
    assert_ne!(file_number(&crashed), file);
    assert_eq!(held(&reopened).await.unwrap(), expected);
}

#[tokio::test]
async fn a_crash_while_a_log_is_written_anew_is_harmless() {
    let scene = Scene::new();
    let store = scene.open().await;
    let (_, expected) = write_each_kind(&store, &scene.log()).await.pop().unwrap();
    let log = scene.bytes();
    for len in [0, 1, log.len() / 2, log.len()] {
        let crashed = Scene::with_log(&log);
        fs::write(crashed.store().join("log.new"), &log[..len]).unwrap();
        let store = crashed.open().await;
        assert_eq!(held(&store).await.unwrap(), expected, "{len} bytes of a copy");
        store.close().await.unwrap();
        assert!(!fs::exists(crashed.store().join("log.new")).unwrap());
    }
}

#[tokio::test]
async fn a_crash_while_a_store_is_created_is_harmless() {
    let scene = Scene::new();
    fs::create_dir(scene.store()).unwrap();
    fs::write(scene.store().join("lock"), "1").unwrap();
    fs::write(scene.store().join("log.new"), "half").unwrap();
    let store = scene.open().await;
    store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(held(&scene.open().await).await.unwrap().entries[&key("k")], value(1));
}

#[tokio::test]
async fn content_of_many_groups_is_where_the_new_log_says() {
    const LEN: usize = 700 * 1024;
    let scene = Scene::new();
    let store = scene.open().await;
    for fill in 0..5 {
        store.indexable().unwrap().add(vec![fill; LEN].into()).await.unwrap();
        store.atomic_write().unwrap().set(&key(fill.to_string()), vec![fill; LEN].into()).await.unwrap();
    }
    let expected = held(&store).await.unwrap();
    let crashed = Scene::with_log(&scene.bytes());
    assert_eq!(held(&crashed.open().await).await.unwrap(), expected);
    let crashed_again = Scene::with_log(&crashed.bytes());
    assert_eq!(held(&crashed_again.open().await).await.unwrap(), expected);
}
