//! A8: what `clear` removes while others write, and that watches stay and are told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use irminsul::{AtomicWrite, Key, prelude::*};

use crate::{
    following::{Follower, State, nothing},
    store::{Store, beside, entries_sorted, key, number, set_all, value},
};

contract! { on every store:
    a8_clear_removes_every_entry_and_no_content,
    a8_clear_of_an_empty_store_is_fine,
    a8_what_is_set_after_clear_stays,
    a8_clear_amid_writes_removes_what_stayed_and_tells_the_truth,
    a8_watches_stay_and_are_told,
}

contract! { where instances share a store:
    a8_clear_of_another_instance_is_told,
}

fn hundred() -> State {
    (0..100).map(|i| (key(&format!("{}/{i}", i % 3)), value(i))).collect()
}

async fn a8_clear_removes_every_entry_and_no_content(store: Store) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    set_all(&*entries, hundred()).await;
    let stored = content.add(value("content")).await.unwrap();
    entries.clear().await.unwrap();
    assert_eq!(entries.list_sorted(&Key::root()).await.unwrap(), []);
    for key in hundred().keys() {
        assert_eq!(entries.find(key).await.unwrap(), None);
    }
    assert_eq!(content.find(&stored).await.unwrap(), Some(value("content")));
}

async fn a8_clear_of_an_empty_store_is_fine(store: Store) {
    let entries = store.open().await.entries();
    entries.clear().await.unwrap();
    entries.clear().await.unwrap();
    assert_eq!(entries.list_sorted(&Key::root()).await.unwrap(), []);
}

async fn a8_what_is_set_after_clear_stays(store: Store) {
    let entries = store.open().await.entries();
    for round in 0..10 {
        set_all(&*entries, hundred()).await;
        entries.clear().await.unwrap();
        let fresh = key("0/0");
        assert!(entries.test_and_set(&fresh, None, Some(value(round))).await.unwrap().is_applied());
        assert_eq!(entries_sorted(&*entries, &Key::root()).await, [(fresh, value(round))]);
    }
}

/// Counts one key up until told to stop; gives the last number that was acknowledged.
async fn count_up(entries: Arc<dyn AtomicWrite>, counter: Key, stop: Arc<AtomicBool>) -> u64 {
    for next in 1.. {
        entries.set(&counter, value(next)).await.unwrap();
        if stop.load(Ordering::Relaxed) {
            return next;
        }
    }
    unreachable!("it counts until told to stop")
}

async fn a8_clear_amid_writes_removes_what_stayed_and_tells_the_truth(store: Store) {
    let instance = store.open().await;
    let (entries, counter) = (instance.entries(), key("counter"));
    set_all(&*entries, hundred()).await;
    let watch = entries.watch(&Key::root(), nothing()).await.unwrap();
    let mut follower = Follower::known(watch, State::new());
    let stop = Arc::new(AtomicBool::new(false));
    let counting = beside(count_up(instance.entries(), counter.clone(), Arc::clone(&stop))).await;
    for _ in 0..10 {
        let before = number(entries.find(&counter).await.unwrap().as_ref());
        entries.clear().await.unwrap();
        let left = entries_sorted(&*entries, &Key::root()).await;
        assert!(left.iter().all(|(key, value)| *key == counter && number(Some(value)) >= before), "A8: {left:?}");
    }
    stop.store(true, Ordering::Relaxed);
    let last = counting.await.unwrap();
    let state: State = entries_sorted(&*entries, &Key::root()).await.into_iter().collect();
    assert!(state.values().all(|value| number(Some(value)) == last), "only the last number can be left");
    follower.converge(&state).await;
}

async fn a8_watches_stay_and_are_told(store: Store) {
    let entries = store.open().await.entries();
    set_all(&*entries, hundred()).await;
    let mut all = Follower::current(entries.watch(&Key::root(), irminsul::Init::Current).await.unwrap(), hundred());
    let one = entries.watch_key(&key("0/0"), irminsul::Init::Known(Some(value(0)))).await.unwrap();
    let mut one = Follower::known(one, [(key("0/0"), value(0))].into());
    entries.clear().await.unwrap();
    all.converge(&State::new()).await;
    one.converge(&State::new()).await;
    assert_eq!((all.changes, one.changes), (100, 1), "each key is told of once");
    set_all(&*entries, hundred()).await;
    all.converge(&hundred()).await;
    one.converge(&[(key("0/0"), value(0))].into()).await;
}

async fn a8_clear_of_another_instance_is_told(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    set_all(&*one.entries(), hundred()).await;
    let watch = two.entries().watch(&Key::root(), nothing()).await.unwrap();
    let mut follower = Follower::known(watch, State::new());
    follower.converge(&hundred()).await;
    one.entries().clear().await.unwrap();
    follower.converge(&State::new()).await;
    let after: State = [(key("after"), value(1))].into();
    set_all(&*one.entries(), after.clone()).await;
    follower.converge(&after).await;
}
