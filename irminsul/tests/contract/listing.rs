//! A7: what a list contains while the store goes on changing, and that it holds up nobody.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{StreamExt, TryStreamExt, stream};
use irminsul::{AtomicWrite, Bytes, ContentKey, Key, prelude::*};

use crate::store::{Store, beside, entries_sorted, key, set_all, soon, value};

contract! { on every store:
    a7_a_list_amid_changes_has_what_stayed_and_nothing_twice,
    a7_entries_amid_changes_have_the_values_that_stayed,
    a7_a_half_read_list_holds_up_no_write,
    a7_a_half_read_list_still_has_what_stayed,
    a7_content_keys_amid_adds_have_what_was_there_and_nothing_twice,
    a7_a_long_list_is_whole,
}

/// How many keys stay while others come and go: more than a backend reads at a time.
const STAYING: usize = 3000;

fn staying() -> Vec<(Key, Bytes)> {
    (0..STAYING).map(|i| (key(&format!("all/{i}/stays")), value(i))).collect()
}

/// Keys that come and go, between those that stay.
fn passing(i: usize) -> Key {
    key(&format!("all/{}/passes", i % STAYING))
}

/// Writes and removes passing keys until told to stop.
async fn keep_changing(entries: Arc<dyn AtomicWrite>, stop: Arc<AtomicBool>) {
    for i in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        entries.set(&passing(i * 7), value(i)).await.unwrap();
        entries.remove(&passing(i * 7 + 35)).await.unwrap();
    }
}

/// Runs `body` while entries come and go.
async fn amid_changes<F: Future<Output = ()>>(store: Store, body: impl FnOnce(Arc<dyn AtomicWrite>) -> F) {
    let instance = store.open().await;
    set_all(&*instance.entries(), staying()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let changing = beside(keep_changing(instance.entries(), Arc::clone(&stop))).await;
    body(instance.entries()).await;
    stop.store(true, Ordering::Relaxed);
    changing.await.unwrap();
}

async fn a7_a_list_amid_changes_has_what_stayed_and_nothing_twice(store: Store) {
    amid_changes(store, |entries| async move {
        let possible: BTreeSet<Key> =
            staying().into_iter().map(|(key, _)| key).chain((0..STAYING).map(passing)).collect();
        for _ in 0..10 {
            let listed: Vec<Key> = entries.list(&key("all")).try_collect().await.unwrap();
            let distinct: BTreeSet<&Key> = listed.iter().collect();
            assert_eq!(distinct.len(), listed.len(), "A7: a key twice");
            assert!(staying().iter().all(|(key, _)| distinct.contains(key)), "A7: a key that stayed is missing");
            assert!(distinct.iter().all(|key| possible.contains(*key)), "A7: a key that was never there");
        }
    })
    .await;
}

async fn a7_entries_amid_changes_have_the_values_that_stayed(store: Store) {
    amid_changes(store, |entries| async move {
        for _ in 0..5 {
            let mut stayed = entries_sorted(&*entries, &Key::root()).await;
            stayed.retain(|(key, _)| key.steps().last() == Some("stays"));
            let mut expected = staying();
            expected.sort();
            assert!(stayed == expected, "A7: an entry that stayed is missing, changed or there twice");
        }
    })
    .await;
}

async fn a7_a_half_read_list_holds_up_no_write(store: Store) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    set_all(&*entries, staying()).await;
    content.add(value("content")).await.unwrap();
    let (mut keys, mut both, mut stored) = (entries.list(&Key::root()), entries.entries(&Key::root()), content.keys());
    keys.next().await.unwrap().unwrap();
    both.next().await.unwrap().unwrap();
    stored.next().await.unwrap().unwrap();
    soon("A7: writes beside half-read lists", async {
        entries.set(&key("k"), value("1")).await.unwrap();
        content.add(value("more")).await.unwrap();
        content.batch(|batch| async move { batch.add(value("batched")).await }).await.unwrap();
        instance.sync().await.unwrap();
        entries.clear().await.unwrap();
    })
    .await;
    assert_eq!(entries.list_sorted(&Key::root()).await.unwrap(), []);
    drop((keys, both, stored));
}

async fn a7_a_half_read_list_still_has_what_stayed(store: Store) {
    let entries = store.open().await.entries();
    set_all(&*entries, staying()).await;
    set_all(&*entries, (0..STAYING).step_by(2).map(|i| (passing(i), value(i)))).await;
    let mut list = entries.list(&Key::root());
    let mut listed = vec![list.next().await.unwrap().unwrap()];
    for i in (0..STAYING).step_by(2) {
        entries.remove(&passing(i)).await.unwrap();
    }
    set_all(&*entries, (1..STAYING).step_by(2).map(|i| (passing(i), value(i)))).await;
    listed.extend(list.try_collect::<Vec<_>>().await.unwrap());
    let distinct: BTreeSet<&Key> = listed.iter().collect();
    assert_eq!(distinct.len(), listed.len(), "A7: a key twice");
    assert!(staying().iter().all(|(key, _)| distinct.contains(key)), "A7: a key that stayed is missing");
}

async fn a7_content_keys_amid_adds_have_what_was_there_and_nothing_twice(store: Store) {
    let content = store.open().await.content();
    let add = |i: usize| {
        let content = Arc::clone(&content);
        async move { content.add(value(i)).await.unwrap() }
    };
    let before: BTreeSet<ContentKey> = stream::iter(0..3000).map(add).buffer_unordered(64).collect().await;
    let mut keys = content.keys();
    let first = keys.next().await.unwrap().unwrap();
    let adding = async { stream::iter(3000..4000).map(add).buffer_unordered(8).collect::<BTreeSet<_>>().await };
    let (rest, during) = tokio::join!(keys.try_collect::<Vec<_>>(), adding);
    let listed: Vec<ContentKey> = [vec![first], rest.unwrap()].concat();
    let distinct: BTreeSet<ContentKey> = listed.iter().copied().collect();
    assert_eq!(distinct.len(), listed.len(), "A7: a key twice");
    assert!(before.is_subset(&distinct), "A7: a key that was there is missing");
    assert!(distinct.difference(&before).all(|key| during.contains(key)), "A7: a key of nothing that was added");
}

async fn a7_a_long_list_is_whole(store: Store) {
    let instance = store.open().await;
    let all: Vec<(Key, Bytes)> = (0..5000).map(|i| (key(&format!("{}/{i}", i % 13)), value(i))).collect();
    set_all(&*instance.entries(), all.clone()).await;
    let expected: BTreeSet<(Key, Bytes)> = all.into_iter().collect();
    let found = entries_sorted(&*instance.entries(), &Key::root()).await;
    assert!(found.into_iter().eq(expected.iter().cloned()));
    let keys = instance.entries().list_sorted(&Key::root()).await.unwrap();
    assert!(keys.iter().eq(expected.iter().map(|(key, _)| key)));

    let content = instance.content();
    let stored: BTreeSet<ContentKey> = content
        .batch(|batch| async move { stream::iter(0..5000).then(|i| batch.add(value(i))).try_collect().await })
        .await
        .unwrap();
    let listed: Vec<ContentKey> = content.keys().try_collect().await.unwrap();
    assert_eq!(listed.len(), stored.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), stored);
}
