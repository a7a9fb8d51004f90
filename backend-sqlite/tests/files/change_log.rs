//! The log that watches of other instances read: it is bounded, and who fell behind it catches up without (W5, W11).

use std::time::Duration;

use backend_sqlite::{Sqlite, SqliteOptions};
use store_api::{Backend, Init, Key, Watch};

use crate::{
    refusal::value,
    scene::{Scene, State, entries_of, key, state_of},
    watching::{Fold, known},
};

/// How many changes are logged, at least.
const LOGGED: u64 = 8;

/// By how many it may be longer before it is trimmed.
const SLACK: u64 = 1024;

/// A poll that never comes by itself.
const NEVER: Duration = Duration::from_hours(24);

fn options(scene: &Scene) -> SqliteOptions {
    scene.options().sync(false).change_log(LOGGED)
}

fn logged(scene: &Scene) -> u64 {
    let count: i64 = scene.beside().query_row("SELECT count(*) FROM changes", [], |row| row.get(0)).unwrap();
    count.unsigned_abs()
}

/// An instance that looks for others' changes only when one of its watches begins.
async fn asleep(scene: &Scene) -> Sqlite {
    options(scene).poll(NEVER).open().await.unwrap()
}

/// Beginning a watch makes an instance look.
async fn wake(store: &Sqlite) -> Watch {
    entries_of(store).watch(&key("nowhere"), Init::Current).await.unwrap()
}

/// Adds, updates and removes, then changes another key so often that none of that is in the log any longer.
async fn change_much(store: &Sqlite) {
    let entries = entries_of(store);
    for i in 0..100 {
        entries.set(&key(format!("a/{i}")), value(format!("changed {i}"))).await.unwrap();
    }
    for i in 0..10 {
        entries.remove(&key(format!("a/{i}"))).await.unwrap();
    }
    for i in 0..2 * (LOGGED + SLACK) {
        entries.set(&key("often"), value(i)).await.unwrap();
    }
}

#[tokio::test]
async fn w7_the_log_is_trimmed_to_its_bound() {
    let scene = Scene::new();
    let store = options(&scene).open().await.unwrap();
    let mut longest = 0;
    for i in 0..3 * (LOGGED + SLACK) {
        entries_of(&store).set(&key("k"), value(i)).await.unwrap();
        if i % 64 == 0 {
            longest = longest.max(logged(&scene));
        }
    }
    assert!(longest <= LOGGED + SLACK, "{longest} changes were logged");
    assert!(logged(&scene) >= LOGGED);
}

#[tokio::test]
async fn w7_a_mismatch_a_no_op_and_content_are_not_logged() {
    let scene = Scene::new();
    let store = options(&scene).open().await.unwrap();
    let entries = entries_of(&store);
    entries.set(&key("k"), value("1")).await.unwrap();
    let before = logged(&scene);
    entries.set(&key("k"), value("1")).await.unwrap();
    entries.remove(&key("absent")).await.unwrap();
    assert!(!entries.test_and_set(&key("k"), None, Some(value("2"))).await.unwrap().is_applied());
    store.indexable().unwrap().add(value("content")).await.unwrap();
    assert_eq!(logged(&scene), before);
}

#[tokio::test]
async fn w5_a_watch_that_fell_behind_the_log_converges() {
    let scene = Scene::new();
    let writer = options(&scene).open().await.unwrap();
    for i in 0..50 {
        entries_of(&writer).set(&key(format!("a/{i}")), value("first")).await.unwrap();
    }
    let before = state_of(&*entries_of(&writer)).await.unwrap();
    let watcher = asleep(&scene).await;
    let mut fold = Fold::of(entries_of(&watcher).watch(&Key::root(), known(&before)).await.unwrap(), before);
    change_much(&writer).await;
    let _woken = wake(&watcher).await;
    fold.converge(&state_of(&*entries_of(&writer)).await.unwrap()).await;
}

#[tokio::test]
async fn w5_a_watch_that_missed_a_clear_converges() {
    let scene = Scene::new();
    let writer = options(&scene).open().await.unwrap();
    let entries = entries_of(&writer);
    for path in ["kept", "a/gone", "a/same", "a/changed"] {
        entries.set(&key(path), value("first")).await.unwrap();
    }
    let before = state_of(&*entries).await.unwrap();
    let watcher = asleep(&scene).await;
    let mut fold = Fold::of(entries_of(&watcher).watch(&Key::root(), known(&before)).await.unwrap(), before);
    entries.clear().await.unwrap();
    for (path, text) in [("kept", "first"), ("a/same", "first"), ("a/changed", "second"), ("a/new", "new")] {
        entries.set(&key(path), value(text)).await.unwrap();
    }
    let _woken = wake(&watcher).await;
    fold.converge(&state_of(&*entries).await.unwrap()).await;
    entries.clear().await.unwrap();
    let _woken = wake(&watcher).await;
    fold.converge(&State::new()).await;
}

#[tokio::test]
async fn w5_a_watch_that_slept_through_changes_of_both_sides_converges() {
    let scene = Scene::new();
    let writer = options(&scene).open().await.unwrap();
    let watcher = asleep(&scene).await;
    let mut fold =
        Fold::of(entries_of(&watcher).watch(&Key::root(), known(&State::new())).await.unwrap(), State::new());
    for round in 0..3 {
        change_much(&writer).await;
        for i in 0..50 {
            entries_of(&watcher).set(&key(format!("a/{i}")), value(format!("own {round}"))).await.unwrap();
        }
        entries_of(&writer).remove(&key("a/20")).await.unwrap();
        if round == 1 {
            entries_of(&writer).clear().await.unwrap();
            entries_of(&watcher).set(&key("a/1"), value("own, after the clear")).await.unwrap();
        }
    }
    let _woken = wake(&watcher).await;
    fold.converge(&state_of(&*entries_of(&writer)).await.unwrap()).await;
}

#[tokio::test]
async fn w1_a_watch_that_begins_where_the_log_does_not_reach_is_told_the_difference() {
    let scene = Scene::new();
    let writer = options(&scene).open().await.unwrap();
    entries_of(&writer).set(&key("gone"), value("first")).await.unwrap();
    let before = state_of(&*entries_of(&writer)).await.unwrap();
    change_much(&writer).await;
    entries_of(&writer).remove(&key("gone")).await.unwrap();
    let watcher = asleep(&scene).await;
    let mut fold = Fold::of(entries_of(&watcher).watch(&Key::root(), known(&before)).await.unwrap(), before);
    fold.converge(&state_of(&*entries_of(&writer)).await.unwrap()).await;
}
