//! Which folders become stores, which are refused, and what a store declares.

use std::{fs, os::unix::fs::PermissionsExt};

use backend_kit::frame;
use backend_template::LogOptions;
use futures_util::future::join_all;
use store_api::{Backend, Durability, ErrorKind, HashFunction, Visibility};

use crate::scene::{HEADER_LEN, MARK_LEN, Scene, held, key, refused, value};

#[tokio::test]
async fn l4_a_second_open_is_in_use_until_the_first_is_closed() {
    let scene = Scene::new();
    let store = scene.open().await;
    let error = refused(ErrorKind::InUse, scene.options().open().await);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "the holder is named: {error}");
    store.close().await.unwrap();
    scene.open().await;
}

#[tokio::test]
async fn l5_another_format_is_incompatible_and_left_untouched() {
    let scene = Scene::new();
    scene.open().await.close().await.unwrap();
    let mut log = scene.bytes();
    let (magic, sealed) = log[..HEADER_LEN].split_at_mut(HEADER_LEN - frame::len(24));
    sealed[frame::len(0)..][..8].copy_from_slice(&2_u64.to_le_bytes());
    frame::seal_in_place(magic, sealed);
    let scene = Scene::with_log(&log);
    let error = refused(ErrorKind::Incompatible, scene.options().open().await);
    assert!(error.to_string().contains("format 2") && error.to_string().contains("format 1"), "{error}");
    assert_eq!(scene.bytes(), log);
}

#[tokio::test]
async fn l5_another_hash_function_is_incompatible_and_left_untouched() {
    let scene = Scene::new();
    scene.options().hash(HashFunction::Sha256).open().await.unwrap().close().await.unwrap();
    let log = scene.bytes();
    let error = refused(ErrorKind::Incompatible, scene.options().hash(HashFunction::Blake3).open().await);
    assert!(error.to_string().contains("sha256") && error.to_string().contains("blake3"), "{error}");
    assert_eq!(scene.bytes(), log);
    assert_eq!(scene.open().await.indexable().unwrap().hash_function(), HashFunction::Sha256);
}

#[tokio::test]
async fn l5_a_folder_of_something_else_is_left_untouched() {
    let scene = Scene::new();
    fs::create_dir(scene.store()).unwrap();
    fs::write(scene.store().join("photo.jpg"), "photo").unwrap();
    refused(ErrorKind::Incompatible, scene.options().open().await);
    assert_eq!(fs::read_dir(scene.store()).unwrap().count(), 1);
}

#[tokio::test]
async fn l5_a_log_of_something_else_is_left_untouched() {
    let other = b"2024-01-01 12:00 a log of a program, which is longer than a header";
    let scene = Scene::with_log(other);
    refused(ErrorKind::Incompatible, scene.options().open().await);
    assert_eq!(scene.bytes(), other);
}

#[tokio::test]
async fn e1_what_cannot_be_a_store_is_refused() {
    let scene = Scene::with_log(b"");
    refused(ErrorKind::InvalidInput, LogOptions::new(scene.log()).open().await);
    refused(ErrorKind::InvalidInput, LogOptions::new("").open().await);
    refused(ErrorKind::InvalidInput, LogOptions::new(scene.store().join("missing/store")).open().await);
}

#[tokio::test]
async fn e1_a_missing_store_is_not_created_when_it_may_not_be() {
    let scene = Scene::new();
    refused(ErrorKind::InvalidInput, scene.options().create(false).open().await);
    assert!(!fs::exists(scene.store()).unwrap());
    scene.open().await.close().await.unwrap();
    scene.options().create(false).open().await.unwrap();
}

#[tokio::test]
async fn only_its_owner_can_read_a_store_that_was_created() {
    let scene = Scene::new();
    let _store = scene.open().await;
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(scene.store()), 0o700);
    for file in fs::read_dir(scene.store()).unwrap() {
        assert_eq!(mode(file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn a_store_declares_what_it_was_opened_with() {
    for (sync, durability) in [(true, Durability::Power), (false, Durability::Process)] {
        let declared = Scene::new().options().sync(sync).open().await.unwrap().guarantees();
        assert_eq!((declared.durability, declared.visibility), (durability, Visibility::Instance));
    }
}

#[tokio::test]
async fn a10_writes_that_queue_together_are_one_group() {
    const WRITERS: usize = 64;
    const ROUNDS: usize = 10;
    let scene = Scene::new();
    let store = scene.open().await;
    let entries = store.atomic_write().unwrap();
    let before = scene.bytes().len();
    let writing = (0..WRITERS).map(|writer| {
        let entries = &entries;
        async move {
            for round in 0..ROUNDS {
                entries.set(&key(format!("{writer}/{round}")), value(0)).await.unwrap();
            }
        }
    });
    join_all(writing).await;
    let records: usize =
        held(&store).await.unwrap().entries.iter().map(|(key, v)| 6 + key.as_str().len() + v.len()).sum();
    let groups = (scene.bytes().len() - before - records) / MARK_LEN;
    assert!(groups >= ROUNDS, "each writer waits for its write before the next: {groups} groups");
    assert!(groups < WRITERS * ROUNDS / 3, "{groups} groups of {} writes", WRITERS * ROUNDS);
}
