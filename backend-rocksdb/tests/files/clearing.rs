//! `clear` is one record, however much it removes, and the watches are told.

use std::{
    collections::{BTreeSet, HashSet},
    ops::Range,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{AtomicWrite, Backend, Diff, Effect, EntryRead, ErrorKind, Event, Init, Key, Watch};

use crate::scene::{Scene, key, value};

async fn set_all(entries: &dyn AtomicWrite, keys: impl Iterator<Item = Key>) {
    let sets = stream::iter(keys).map(|key| async move { entries.set(&key, value(1)).await });
    sets.buffer_unordered(256).try_collect::<()>().await.unwrap();
}

/// The next change that a watch is told.
async fn next_change(watch: &mut Watch) -> (Key, Diff) {
    loop {
        if let Event::Changed { key, diff } = watch.next().await.unwrap().unwrap() {
            return (key, diff);
        }
    }
}

#[tokio::test]
async fn a8_what_is_cleared_is_told_once_in_each_of_the_scopes_that_overlap() {
    let scene = Scene::new();
    let store = scene.open().await;
    let entries = store.atomic_write().unwrap();
    let keys: BTreeSet<Key> = ["a", "a/b", "a/b/c", "ab", "b"].map(key).into();
    set_all(&*entries, keys.iter().cloned()).await;
    let scopes = [("", 5), ("a", 3), ("a/b", 2), ("b", 1)];
    let mut watches = Vec::new();
    for (scope, count) in scopes {
        let scope = Key::new(scope).unwrap();
        watches.push((entries.watch(&scope, Init::Current).await.unwrap(), count));
    }
    let mut single = entries.watch_key(&key("a/b"), Init::Known(Some(value(1)))).await.unwrap();
    entries.clear().await.unwrap();
    // Behind the removals.
    for scope in ["a", "b", "a/b"] {
        entries.set(&key(scope), value(2)).await.unwrap();
    }
    for (watch, count) in &mut watches {
        let mut removed = BTreeSet::new();
        while removed.len() < *count {
            match next_change(watch).await {
                (key, Diff::Removed { .. }) => assert!(removed.insert(key)),
                // Conflated with its removal.
                (key, Diff::Updated { new, .. }) if new == value(2) => assert!(removed.insert(key)),
                other => panic!("{other:?}"),
            }
        }
    }
    let (_, diff) = next_change(&mut single).await;
    assert!(matches!(diff, Diff::Removed { old: Some(_) } | Diff::Updated { old: Some(_), .. }), "{diff:?}");
}

#[tokio::test]
async fn a8_clearing_much_writes_little() {
    let scene = Scene::new();
    let store = scene.options().sync(false).open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    set_all(&*entries, (0..100_000).map(|i| key(&format!("many/{i}")))).await;
    let logged = |scene: &Scene| -> usize { scene.logs().map(|(_, bytes)| bytes.len()).sum() };
    let before = logged(&scene);
    entries.clear().await.unwrap();
    let written = logged(&scene) - before;
    assert!(written < 1_000, "{written} bytes for one range");
    assert_eq!(entries.list_count().await, 0);
    entries.set(&key("many/1"), Bytes::new()).await.unwrap();
    assert_eq!(entries.list_count().await, 1);
}

#[tokio::test]
async fn w2_what_cannot_be_told_is_not_cleared() {
    let scene = Scene::new();
    let store = scene.open().await;
    let keys = |range: Range<u64>| range.map(|number| key(&format!("many/{number:06}")));
    let entries = store.atomic_write().unwrap();
    for key in keys(0..1_000) {
        let mut value = vec![0; 1_000];
        fastrand::fill(&mut value);
        entries.set(&key, value.into()).await.unwrap();
    }
    store.close().await.unwrap();
    scene.rot_in_the_largest_table();

    let store = scene.open().await;
    let entries = store.atomic_write().unwrap();
    let mut watch = entries.watch(&Key::root(), Init::Current).await.unwrap();
    let refusal = entries.clear().await.unwrap_err();
    assert_eq!((refusal.kind(), refusal.effect()), (ErrorKind::Corrupt, Effect::NotApplied), "{refusal:?}");
    // Nothing was removed, and nothing told.
    let first = keys(0..1).next().unwrap();
    assert!(entries.mem(&first).await.unwrap());
    entries.set(&first, value(1)).await.unwrap();
    let (told, diff) = next_change(&mut watch).await;
    assert!(told == first && matches!(diff, Diff::Updated { .. }), "{told}");
    // Where nobody is to be told, nothing is read.
    drop(watch);
    entries.clear().await.unwrap();
    assert_eq!(entries.list_count().await, 0);
}

#[tokio::test]
async fn a8_each_of_many_keys_that_are_watched_by_themselves_is_told() {
    let scene = Scene::new();
    let store = scene.options().sync(false).open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    let keys: Vec<Key> = (0..2_000).map(|number| key(&format!("many/{number}"))).collect();
    // Every second one is there.
    set_all(&*entries, keys.iter().step_by(2).cloned()).await;
    let mut watches = Vec::new();
    for key in &keys {
        watches.push(entries.watch_key(key, Init::Current).await.unwrap());
    }
    entries.clear().await.unwrap();
    set_all(&*entries, keys.iter().cloned()).await;
    for (number, watch) in watches.iter_mut().enumerate() {
        let (_, diff) = next_change(watch).await;
        // The removal is conflated with what followed.
        assert_eq!(matches!(diff, Diff::Added { .. }), number % 2 == 1, "{number}: {diff:?}");
    }
}

#[tokio::test]
async fn a8_a_watch_is_told_of_each_of_the_many_that_are_cleared() {
    let scene = Scene::new();
    let store = scene.options().sync(false).open().await.unwrap();
    let entries = store.atomic_write().unwrap();
    let many = 100_000;
    set_all(&*entries, (0..many).map(|i| key(&format!("many/{i}")))).await;
    let mut of_all = entries.watch(&Key::root(), Init::Current).await.unwrap();
    let mut of_one = entries.watch_key(&key("many/7"), Init::Current).await.unwrap();
    entries.clear().await.unwrap();
    let mut left: HashSet<Key> = (0..many).map(|i| key(&format!("many/{i}"))).collect();
    while !left.is_empty() {
        match next_change(&mut of_all).await {
            (key, Diff::Removed { .. }) => assert!(left.remove(&key), "{key} is told once"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(next_change(&mut of_one).await, (_, Diff::Removed { .. })));
    // Behind the removals nothing else is told, and the watches go on.
    entries.set(&key("many/7"), value(2)).await.unwrap();
    for watch in [&mut of_all, &mut of_one] {
        assert_eq!(next_change(watch).await, (key("many/7"), Diff::Added { new: value(2) }));
    }
}

trait ListCount {
    async fn list_count(&self) -> usize;
}

impl<T: AtomicWrite + ?Sized> ListCount for T {
    async fn list_count(&self) -> usize {
        self.list(&Key::root()).try_fold(0, |count, _| async move { Ok(count + 1) }).await.unwrap()
    }
}
