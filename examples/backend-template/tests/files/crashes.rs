//! What a crash leaves of a log is the groups that were acknowledged, and the one under way whole or not at all.

use std::{
    env,
    ffi::OsStr,
    io::{self, BufRead, BufReader},
    ops::Range,
    process::{Child, Command, Stdio},
};

use backend_template::LogOptions;
use store_api::{Backend, ErrorKind};

use crate::scene::{HEADER_LEN, Held, Scene, held, key, refused, value, write_each_kind};

#[tokio::test]
async fn a10_i7_a_log_cut_at_any_byte_is_a_prefix_of_whole_groups() {
    let scene = Scene::new();
    let store = scene.open().await;
    let steps = write_each_kind(&store, &scene.log()).await;
    store.close().await.unwrap();
    let log = scene.bytes();
    assert!(steps.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1), "each step is a group");
    for len in HEADER_LEN..=log.len() {
        let whole = steps.iter().rev().find(|(end, _)| *end <= len);
        let expected = whole.map_or_else(Held::default, |(_, held)| held.clone());
        assert_eq!(Scene::held_in(&log[..len]).await.unwrap(), expected, "cut at {len} of {}", log.len());
    }
}

#[tokio::test]
async fn l5_a_log_cut_within_its_header_is_refused_and_left_untouched() {
    let scene = Scene::new();
    scene.open().await.close().await.unwrap();
    let log = scene.bytes();
    for len in 0..HEADER_LEN {
        let cut = Scene::with_log(&log[..len]);
        refused(ErrorKind::Incompatible, cut.options().open().await);
        assert_eq!(cut.bytes(), log[..len]);
    }
}

#[tokio::test]
async fn a10_the_tail_that_a_crash_tore_may_be_of_any_bytes() {
    let scene = Scene::new();
    let store = scene.open().await;
    let steps = write_each_kind(&store, &scene.log()).await;
    let log = scene.bytes();
    let (before_last, held) = &steps[steps.len() - 2];
    for from in *before_last..log.len() {
        let mut torn = log.clone();
        torn[from..].fill(0);
        assert_eq!(Scene::held_in(&torn).await.unwrap(), *held, "zeros from {from} of {}", log.len());
    }
    let mut torn = log.clone();
    torn[*before_last..before_last + 20].fill(0);
    assert_eq!(Scene::held_in(&torn).await.unwrap(), *held, "the end was written before the beginning");
}

/// A log that was closed, reopened without syncing, and got two groups more; and which bytes are the mark and the first
/// of the two. Also what was held when it was closed.
async fn closed_then_unsynced() -> (Vec<u8>, [Range<usize>; 2], Held) {
    let scene = Scene::new();
    let store = scene.open().await;
    store.atomic_write().unwrap().set(&key("live"), vec![7; 4096].into()).await.unwrap();
    let expected = held(&store).await.unwrap();
    let mark = scene.bytes().len();
    store.close().await.unwrap();
    let first = scene.bytes().len();
    let store = scene.options().sync(false).open().await.unwrap();
    store.atomic_write().unwrap().set(&key("first"), value(1)).await.unwrap();
    let second = scene.bytes().len();
    store.atomic_write().unwrap().set(&key("second"), value(2)).await.unwrap();
    (scene.bytes(), [mark..first, first..second], expected)
}

#[tokio::test]
async fn a10_what_was_not_synced_may_be_lost_in_any_order() {
    let (log, lost, expected) = closed_then_unsynced().await;
    for lost in lost {
        let mut log = log.clone();
        log[lost.clone()].fill(0);
        assert_eq!(Scene::held_in(&log).await.unwrap(), expected, "bytes {lost:?} are lost");
    }
}

#[tokio::test]
async fn a10_a_group_behind_a_torn_one_does_not_come_back() {
    let (mut log, [_, first], mut expected) = closed_then_unsynced().await;
    log[first].fill(0);
    let crashed = Scene::with_log(&log);
    let store = crashed.open().await;
    // As long as the group that was lost, so that the one behind it would follow.
    store.atomic_write().unwrap().set(&key("first"), value(3)).await.unwrap();
    expected.entries.insert(key("first"), value(3));
    assert_eq!(Scene::held_in(&crashed.bytes()).await.unwrap(), expected);
}

#[tokio::test]
async fn a12_what_was_synced_is_not_taken_for_torn() {
    let scene = Scene::new();
    let store = scene.options().sync(false).open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    entries.set(&key("synced"), value(1)).await.unwrap();
    let group = HEADER_LEN..scene.bytes().len();
    store.sync().await.unwrap();
    entries.set(&key("behind"), value(2)).await.unwrap();
    let mut log = scene.bytes();
    log[group].fill(0);
    refused(ErrorKind::Corrupt, Scene::with_log(&log).options().open().await);
}

#[tokio::test]
async fn a_store_goes_on_behind_a_torn_tail() {
    let scene = Scene::new();
    let store = scene.open().await;
    let steps = write_each_kind(&store, &scene.log()).await;
    let log = scene.bytes();
    let crashed = Scene::with_log(&log[..log.len() - 1]);
    let store = crashed.open().await;
    store.atomic_write().unwrap().set(&key("behind"), value(8)).await.unwrap();
    store.close().await.unwrap();
    let mut expected = steps[steps.len() - 2].1.clone();
    expected.entries.insert(key("behind"), value(8));
    assert_eq!(held(&crashed.open().await).await.unwrap(), expected);
}

/// Tells a process that it is the child, and where the store is.
const CHILD_STORE: &str = "BACKEND_TEMPLATE_CHILD_STORE";

/// This program, running one test as a child that has written and holds the store.
fn start_child(scene: &Scene, test: &str) -> Child {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(CHILD_STORE, scene.store())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with(READY)), "the child has written");
    child
}

const READY: &str = "the store is written";

/// What the child does: it writes, and holds the store until it is killed or its parent is gone.
async fn be_child(store: &OsStr) {
    let store = LogOptions::new(store).sync(false).open().await.unwrap();
    store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    println!("{READY}");
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
}

#[tokio::test]
async fn l4_a_store_open_in_another_process_is_in_use_until_that_is_killed() {
    if let Some(store) = env::var_os(CHILD_STORE) {
        return be_child(&store).await;
    }
    let scene = Scene::new();
    let mut child = start_child(&scene, "crashes::l4_a_store_open_in_another_process_is_in_use_until_that_is_killed");
    let error = refused(ErrorKind::InUse, scene.options().open().await);
    assert!(error.to_string().contains(&format!("process {}", child.id())), "the holder is named: {error}");
    child.kill().unwrap();
    child.wait().unwrap();
    let store = scene.open().await;
    assert_eq!(store.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(1)), "A10");
}
