//! W2 to W5 and W7 under load: what watches tell folds to the store, truly and in order, and a slow one costs nobody.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::try_join_all;
use irminsul::{AtomicWrite, Bytes, Diff, Event, Init, Key, prelude::*};

use crate::{
    following::{Follower, State, nothing},
    store::{Store, beside, entries_sorted, increment, key, number, set_all, soon, together, value},
};

contract! { on every store:
    w3_a_b_a_unread_tells_no_value_twice,
    w3_old_is_from_the_baseline_when_changes_are_folded,
    w3_added_and_removed_unread_leaves_a_chain,
    w4_a_growing_counter_is_told_growing,
    w5_watches_amid_writers_fold_to_the_store,
    w7_a_slow_watch_holds_little_and_tells_the_last_value,
    w7_a_watch_that_is_never_read_holds_up_no_writer,
}

contract! { where instances share a store:
    w3_a_b_a_by_another_instance_tells_no_value_twice,
    w4_a_counter_of_several_instances_is_told_growing,
    w5_watches_amid_writers_of_several_instances_fold_to_the_store,
    w7_a_slow_watch_of_another_instance_tells_the_last_value,
}

fn k() -> Key {
    key("k")
}

fn one(text: &str) -> State {
    [(k(), value(text))].into()
}

/// A, B and A again, unread: either both changes are told, or neither; then C follows on A.
async fn a_b_a(watcher: &dyn AtomicWrite, writer: &dyn AtomicWrite) {
    writer.set(&k(), value("A")).await.unwrap();
    let given = watcher.watch_key(&k(), Init::Known(Some(value("A")))).await.unwrap();
    let scope = watcher.watch(&Key::root(), nothing()).await.unwrap();
    let mut followers = [Follower::known(given, one("A")), Follower::known(scope, State::new())];
    for follower in &mut followers {
        follower.catch_up().await;
    }
    for text in ["B", "A", "B", "A"] {
        writer.set(&k(), value(text)).await.unwrap();
    }
    writer.remove(&k()).await.unwrap();
    writer.set(&k(), value("A")).await.unwrap();
    writer.set(&k(), value("C")).await.unwrap();
    for follower in &mut followers {
        follower.converge(&one("C")).await;
    }
}

async fn w3_a_b_a_unread_tells_no_value_twice(store: Store) {
    let instance = store.open().await;
    a_b_a(&*instance.entries(), &*instance.entries()).await;
}

async fn w3_a_b_a_by_another_instance_tells_no_value_twice(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    a_b_a(&*one.entries(), &*two.entries()).await;
}

async fn w3_old_is_from_the_baseline_when_changes_are_folded(store: Store) {
    let entries = store.open().await.entries();
    entries.set(&k(), value("A")).await.unwrap();
    let mut follower = Follower::known(entries.watch_key(&k(), Init::Known(Some(value("A")))).await.unwrap(), one("A"));
    for text in ["B", "C", "D"] {
        entries.set(&k(), value(text)).await.unwrap();
    }
    follower.converge(&one("D")).await;
    entries.remove(&k()).await.unwrap();
    let (_, diff) = follower.next_change().await;
    assert_eq!(diff, Diff::Removed { old: Some(value("D")) });
    entries.set(&k(), value("D")).await.unwrap();
    assert_eq!(follower.next_change().await.1, Diff::Added(value("D")));
}

async fn w3_added_and_removed_unread_leaves_a_chain(store: Store) {
    let entries = store.open().await.entries();
    let mut follower = Follower::known(entries.watch(&Key::root(), nothing()).await.unwrap(), State::new());
    follower.catch_up().await;
    for text in ["1", "2"] {
        entries.set(&k(), value(text)).await.unwrap();
        entries.remove(&k()).await.unwrap();
    }
    entries.set(&k(), value("3")).await.unwrap();
    follower.converge(&one("3")).await;
    entries.remove(&k()).await.unwrap();
    entries.set(&k(), value("3")).await.unwrap();
    entries.remove(&k()).await.unwrap();
    follower.converge(&State::new()).await;
}

/// Watches a counter that many increment: each number told is larger than the one before, and the last is told.
async fn growing(watchers: Vec<Arc<dyn AtomicWrite>>, writers: Vec<Arc<dyn AtomicWrite>>) {
    const INCREMENTS: u64 = 40;
    let last = INCREMENTS * writers.len() as u64;
    let mut started = Vec::new();
    for watcher in &watchers {
        started.push(watcher.watch_key(&k(), Init::Current).await.unwrap());
        started.push(watcher.watch(&Key::root(), nothing()).await.unwrap());
    }
    let mut watching = Vec::new();
    for mut watch in started {
        let follow = async move {
            let mut seen = 0;
            while seen < last {
                let event = soon("another number", watch.next()).await.unwrap().unwrap();
                if let Event::Changed { diff, .. } = event {
                    let told = number(diff.new_value());
                    assert!(told > seen, "W4: {told} told after {seen}");
                    seen = told;
                }
            }
        };
        watching.push(beside(follow).await);
    }
    let writing = writers.into_iter().map(|writer| async move {
        for _ in 0..INCREMENTS {
            increment(&*writer, &k()).await;
        }
    });
    together(writing).await;
    try_join_all(watching).await.unwrap();
}

async fn w4_a_growing_counter_is_told_growing(store: Store) {
    let instance = store.open().await;
    let handles = |n| (0..n).map(|_| instance.entries()).collect::<Vec<_>>();
    growing(handles(2), handles(4)).await;
}

async fn w4_a_counter_of_several_instances_is_told_growing(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    growing(vec![one.entries(), two.entries()], vec![one.entries(), two.entries(), two.entries()]).await;
}

/// A value that names its writer and its place in what that writer wrote.
fn stamp(writer: usize, round: usize) -> Bytes {
    value(format!("{writer} {round}"))
}

fn unstamp(value: &Bytes) -> (usize, usize) {
    let (writer, round) = std::str::from_utf8(value).unwrap().split_once(' ').unwrap();
    (writer.parse().unwrap(), round.parse().unwrap())
}

/// Writes and removes a few keys at random; its last act is to set each.
async fn scribble(entries: Arc<dyn AtomicWrite>, writer: usize) {
    const ROUNDS: usize = 250;
    let mut random = fastrand::Rng::with_seed(writer as u64);
    for round in 0..ROUNDS {
        let k = key(&format!("{}/k", random.u8(..6)));
        match random.u8(..10) {
            0..6 => entries.set(&k, stamp(writer, round)).await.unwrap(),
            6..8 => entries.remove(&k).await.unwrap(),
            8 => {
                let test = entries.find(&k).await.unwrap();
                // Either verdict is fine: the store and the watches must agree on it.
                let _ = entries.test_and_set(&k, test, Some(stamp(writer, round))).await.unwrap();
            }
            _ => entries.clear().await.unwrap(),
        }
    }
    set_all(&*entries, (0..6).map(|i| (key(&format!("{i}/k")), stamp(writer, ROUNDS)))).await;
}

/// Reads a watch to the end of the writing, then until it folds to the store.
async fn follow_scribbles(
    mut follower: Follower,
    entries: Arc<dyn AtomicWrite>,
    mut ended: tokio::sync::watch::Receiver<bool>,
) {
    let mut newest: BTreeMap<(Key, usize), usize> = BTreeMap::new();
    loop {
        tokio::select! {
            event = follower.next() => {
                if let Event::Changed { key, diff } = event && let Some(new) = diff.new_value() {
                    let (writer, round) = unstamp(new);
                    let before = newest.insert((key.clone(), writer), round);
                    assert!(before.is_none_or(|before| before < round), "W4: {round} of {writer} after {before:?} at {key}");
                }
            }
            _ = ended.wait_for(|ended| *ended) => break,
        }
    }
    let state = entries_sorted(&*entries, &Key::root()).await.into_iter().collect();
    follower.converge(&state).await;
}

/// Watches that start before, amid and from nothing, while several write; all of them fold to the same store.
async fn scribble_and_follow(watchers: [Arc<dyn AtomicWrite>; 2], writers: Vec<Arc<dyn AtomicWrite>>) {
    let (end, ended) = tokio::sync::watch::channel(false);
    let mut following = Vec::new();
    for watcher in &watchers {
        let scope = watcher.watch(&Key::root(), nothing()).await.unwrap();
        let follower = Follower::known(scope, State::new());
        following.push(tokio::spawn(follow_scribbles(follower, Arc::clone(watcher), ended.clone())));
    }
    let mut writing = Vec::new();
    for (i, writer) in writers.into_iter().enumerate() {
        writing.push(beside(scribble(writer, i)).await);
    }
    for watcher in watchers.iter().cycle().take(6) {
        let from_nothing = watcher.watch(&Key::root(), nothing()).await.unwrap();
        let follower = Follower::known(from_nothing, State::new());
        following.push(tokio::spawn(follow_scribbles(follower, Arc::clone(watcher), ended.clone())));
        let current = watcher.watch(&Key::root(), Init::Current).await.unwrap();
        let follower = Follower::current_amid_changes(current);
        following.push(tokio::spawn(follow_scribbles(follower, Arc::clone(watcher), ended.clone())));
    }
    try_join_all(writing).await.unwrap();
    // Each watch is told of each key after its start, also one whose baseline nobody knows.
    set_all(&*watchers[0], (0..6).map(|i| (key(&format!("{i}/k")), stamp(99, i)))).await;
    end.send(true).unwrap();
    try_join_all(following).await.unwrap();
}

async fn w5_watches_amid_writers_fold_to_the_store(store: Store) {
    let instance = store.open().await;
    let writers = (0..4).map(|_| instance.entries()).collect();
    scribble_and_follow([instance.entries(), instance.entries()], writers).await;
}

async fn w5_watches_amid_writers_of_several_instances_fold_to_the_store(store: Store) {
    let (one, two, three) = (store.open().await, store.open().await, store.open().await);
    let writers = vec![one.entries(), two.entries(), three.entries()];
    scribble_and_follow([one.entries(), two.entries()], writers).await;
}

/// Changes a few keys very often while nobody reads the watch.
async fn fold_while_unread(watcher: &dyn AtomicWrite, writer: &dyn AtomicWrite) {
    const KEYS: usize = 4;
    const ROUNDS: usize = 500;
    let scope = watcher.watch(&Key::root(), nothing()).await.unwrap();
    let mut follower = Follower::known(scope, State::new());
    follower.catch_up().await;
    let mut last = State::new();
    for round in 0..ROUNDS {
        last = (0..KEYS).map(|i| (key(&i.to_string()), value(round))).collect();
        set_all(writer, last.clone()).await;
    }
    follower.converge(&last).await;
    assert!(follower.changes <= 8 * KEYS, "W7: {} changes of {KEYS} keys were held", follower.changes);
}

async fn w7_a_slow_watch_holds_little_and_tells_the_last_value(store: Store) {
    let instance = store.open().await;
    fold_while_unread(&*instance.entries(), &*instance.entries()).await;
}

async fn w7_a_slow_watch_of_another_instance_tells_the_last_value(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    fold_while_unread(&*one.entries(), &*two.entries()).await;
}

async fn w7_a_watch_that_is_never_read_holds_up_no_writer(store: Store) {
    let entries = store.open().await.entries();
    let unread = [
        entries.watch(&Key::root(), nothing()).await.unwrap(),
        entries.watch(&Key::root(), Init::Current).await.unwrap(),
        entries.watch_key(&k(), Init::Current).await.unwrap(),
    ];
    let writing = async {
        for i in 0..200 {
            entries.set(&k(), Bytes::from(vec![i; 100_000])).await.unwrap();
            entries.set(&key(&format!("other/{i}")), value(i)).await.unwrap();
        }
        entries.clear().await.unwrap();
    };
    soon("W7: 400 writes beside watches that nobody reads", writing).await;
    assert_eq!(entries.list_sorted(&Key::root()).await.unwrap(), []);
    drop(unread);
}
