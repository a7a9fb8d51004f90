//! Durable writes of many tasks share a commit, and so a sync (A10). SQLite's log is read to count them.

use std::fs;

use futures_util::future::join_all;
use rusqlite::Connection;
use store_api::{AtomicWrite, Backend};

use crate::{
    refusal::value,
    scene::{Scene, entries_of, key, soon},
};

const WRITERS: usize = 64;
const ROUNDS: usize = 10;

/// A reader of the state as it is, for as long as it is held: the log is not begun anew meanwhile.
fn hold_log(scene: &Scene) -> Connection {
    let connection = scene.beside();
    connection.execute_batch("BEGIN; SELECT count(*) FROM entries;").unwrap();
    connection
}

/// How many commits SQLite's log has: a frame that ends one says how large the database is after it.
fn commits_in_log(scene: &Scene) -> usize {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let log = fs::read(scene.log()).unwrap();
    let word = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let salt = &log[16..24];
    let frame_len = FRAME_HEADER + usize::try_from(word(8)).unwrap();
    let frames = (HEADER..log.len()).step_by(frame_len);
    frames.filter(|frame| &log[frame + 8..frame + 16] == salt && word(frame + 4) != 0).count()
}

async fn write_from_many_tasks(entries: &dyn AtomicWrite) {
    let writing = (0..WRITERS).map(|writer| async move {
        for round in 0..ROUNDS {
            entries.set(&key(format!("{writer}/{round}")), value(round)).await.unwrap();
        }
    });
    soon("all writes", join_all(writing)).await;
}

#[tokio::test]
async fn a10_durable_writes_of_many_tasks_share_commits() {
    let scene = Scene::new();
    let store = scene.options().sync(true).open().await.unwrap();
    let entries = entries_of(&store);
    entries.set(&key("first"), value("first")).await.unwrap();
    let reader = hold_log(&scene);
    let before = commits_in_log(&scene);
    write_from_many_tasks(&*entries).await;
    let commits = commits_in_log(&scene) - before;
    drop(reader);
    let writes = WRITERS * ROUNDS;
    assert!(commits >= ROUNDS, "each task waits for its write before the next: {commits} commits");
    assert!(commits < writes / 3, "{commits} commits of {writes} writes");
}

#[tokio::test]
async fn a10_a_durable_write_by_itself_is_a_commit_by_itself() {
    let scene = Scene::new();
    let entries = entries_of(&scene.open().await);
    entries.set(&key("first"), value("first")).await.unwrap();
    let reader = hold_log(&scene);
    let before = commits_in_log(&scene);
    for round in 0..ROUNDS {
        entries.set(&key("k"), value(round)).await.unwrap();
    }
    assert_eq!(commits_in_log(&scene) - before, ROUNDS);
    drop(reader);
}

#[tokio::test]
async fn a10_sync_commits_something_that_can_be_synced() {
    let scene = Scene::new();
    let store = scene.options().sync(false).open().await.unwrap();
    entries_of(&store).set(&key("k"), value("kept")).await.unwrap();
    let before = commits_in_log(&scene);
    store.sync().await.unwrap();
    assert_eq!(commits_in_log(&scene), before + 1);
}
