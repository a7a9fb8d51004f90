//! Bytes that rotted are found: a store gives what was written, or refuses (A12, I6).

use std::{fs::File, os::unix::fs::FileExt};

use bytes::Bytes;
use store_api::{Backend, ContentKey, ErrorKind};

use crate::scene::{MARK_LEN, Scene, held, key, refused, value, write_each_kind};

fn with_flipped_bit(log: &[u8], byte: usize) -> Vec<u8> {
    let mut rotten = log.to_vec();
    rotten[byte] ^= 1 << (byte % 8);
    rotten
}

#[tokio::test]
async fn a12_a_flipped_bit_in_a_closed_log_is_refused_or_harmless() {
    let scene = Scene::new();
    let store = scene.open().await;
    let (_, expected) = write_each_kind(&store, &scene.log()).await.pop().unwrap();
    store.close().await.unwrap();
    let log = scene.bytes();
    for byte in 0..log.len() {
        match Scene::held_in(&with_flipped_bit(&log, byte)).await {
            Ok(held) => {
                assert_eq!(held, expected, "byte {byte} of {}", log.len());
                assert!(byte >= log.len() - MARK_LEN, "only the mark may be done without: byte {byte}");
            }
            Err(error) => {
                let refusals = [ErrorKind::Corrupt, ErrorKind::Incompatible];
                assert!(refusals.contains(&error.kind()), "byte {byte}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn a12_a_flipped_bit_in_a_log_that_was_not_closed_costs_its_last_group_at_most() {
    let scene = Scene::new();
    let store = scene.open().await;
    let steps = write_each_kind(&store, &scene.log()).await;
    let log = scene.bytes();
    let (last, before) = &steps[steps.len() - 2];
    for byte in 0..log.len() {
        match Scene::held_in(&with_flipped_bit(&log, byte)).await {
            Ok(held) => assert!(byte >= *last && held == *before, "byte {byte} of {}", log.len()),
            Err(_) => assert!(byte < *last, "byte {byte} of {}", log.len()),
        }
    }
}

#[tokio::test]
async fn a12_a_corrupt_log_is_left_as_it_is() {
    let scene = Scene::new();
    let store = scene.open().await;
    let steps = write_each_kind(&store, &scene.log()).await;
    store.close().await.unwrap();
    let rotten = with_flipped_bit(&scene.bytes(), steps[1].0 - 1);
    let scene = Scene::with_log(&rotten);
    refused(ErrorKind::Corrupt, scene.options().open().await);
    assert_eq!(scene.bytes(), rotten);
}

#[tokio::test]
async fn a12_damage_is_found_across_a_long_value() {
    let scene = Scene::new();
    let store = scene.open().await;
    store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    let first = scene.bytes().len();
    store.atomic_write().unwrap().set(&key("long"), vec![7; 3 * 1024 * 1024].into()).await.unwrap();
    store.close().await.unwrap();
    let log = scene.bytes();
    refused(ErrorKind::Corrupt, Scene::held_in(&with_flipped_bit(&log, first)).await);
    refused(ErrorKind::Corrupt, Scene::held_in(&with_flipped_bit(&log, first + 1024 * 1024)).await);
}

#[tokio::test]
async fn a12_damage_is_found_by_a_group_that_two_steps_of_the_search_share() {
    const STEP: usize = 1024 * 1024;
    let scene = Scene::new();
    let store = scene.open().await;
    let entries = store.atomic_write().unwrap();
    entries.set(&key("k"), value(1)).await.unwrap();
    let first = scene.bytes().len();
    // The search begins behind the first byte of the damaged group; the mark begins 16 bytes before its second step.
    let overhead = MARK_LEN + 6 + "long".len();
    entries.set(&key("long"), vec![7; 1 + STEP - 16 - overhead].into()).await.unwrap();
    assert_eq!(scene.bytes().len(), first + 1 + STEP - 16);
    store.close().await.unwrap();
    refused(ErrorKind::Corrupt, Scene::held_in(&with_flipped_bit(&scene.bytes(), first)).await);
}

/// Writes over a value in the file of an open store.
fn rot(scene: &Scene, value: &Bytes) {
    let at = scene.bytes().windows(value.len()).position(|bytes| *bytes == value[..]).unwrap();
    let file = File::options().write(true).open(scene.log()).unwrap();
    file.write_all_at(&vec![b'?'; value.len()], at as u64).unwrap();
}

#[tokio::test]
async fn i6_content_that_rotted_is_corrupt_until_it_is_added_again() {
    let scene = Scene::new();
    let store = scene.open().await;
    let content = store.indexable().unwrap();
    let stored = content.add(value(1)).await.unwrap();
    let beside = content.add(value(2)).await.unwrap();
    rot(&scene, &value(1));
    refused(ErrorKind::Corrupt, content.find(&stored).await);
    assert_eq!(content.find(&beside).await.unwrap(), Some(value(2)));
    content.add(value(1)).await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap(), Some(value(1)));
}

#[tokio::test]
async fn i4_a_value_under_a_false_hash_is_repaired_for_good() {
    let scene = Scene::new();
    let store = scene.open().await;
    let content = store.indexable().unwrap();
    let hash = content.hash_function().hash(&value(1));
    content.unsafe_add(hash, value(2)).await.unwrap();
    let stored = ContentKey::from(hash);
    refused(ErrorKind::Corrupt, content.find(&stored).await);
    content.add(value(1)).await.unwrap();
    let expected = held(&store).await.unwrap();
    assert_eq!(expected.content[&hash], value(1));
    store.close().await.unwrap();
    assert_eq!(held(&scene.open().await).await.unwrap(), expected);
}
