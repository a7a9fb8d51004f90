//! L1 to L5: closing, reopening, and what an instance declares.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, future::join_all};
use irminsul::{
    AtomicWrite, Effect, Error, ErrorKind, IndexLevel, Indexable, Init, Key, Visibility, WatchId, prelude::*,
};

use crate::{
    following::{Follower, State, nothing},
    store::{Store, both, entries_sorted, key, set_all, value},
};

contract! { on every store:
    l1_after_close_every_operation_of_the_handle_is_closed,
    l1_after_the_instances_close_every_handle_is_closed,
    l1_closing_ends_open_lists,
    l1_closing_again_is_fine,
    l2_other_handles_do_not_notice_a_close,
    l3_an_operation_in_flight_completes_or_is_closed,
    a10_what_is_declared_is_what_the_backend_promises,
}

contract! { where instances share a store:
    l2_other_instances_do_not_notice_a_close,
    l5_another_hash_function_is_incompatible,
}

contract! { where an instance is alone:
    l2_each_open_gives_a_store_of_its_own,
}

contract! { where a store outlives its instances:
    l4_an_open_right_after_close_finds_what_was_written,
    l5_an_incompatible_open_leaves_the_store_untouched,
}

fn expect_closed(refusals: impl IntoIterator<Item = Error>) {
    for refusal in refusals {
        assert_eq!((refusal.kind(), refusal.effect()), (ErrorKind::Closed, Effect::NotApplied), "{refusal}");
    }
}

async fn expect_closed_entries(entries: &dyn AtomicWrite) {
    let (k, root) = (key("k"), Key::root());
    expect_closed([
        entries.mem(&k).await.unwrap_err(),
        entries.find(&k).await.unwrap_err(),
        entries.find(&root).await.unwrap_err(),
        entries.list(&root).try_collect::<Vec<_>>().await.unwrap_err(),
        entries.entries(&root).try_collect::<Vec<_>>().await.unwrap_err(),
        entries.watch(&root, Init::Current).await.unwrap_err(),
        entries.watch_key(&k, Init::Current).await.unwrap_err(),
        entries.unwatch(WatchId::unique()).await.unwrap_err(),
        entries.set(&k, value("2")).await.unwrap_err(),
        entries.test_and_set(&k, None, None).await.unwrap_err(),
        entries.remove(&k).await.unwrap_err(),
        entries.clear().await.unwrap_err(),
    ]);
}

async fn expect_closed_content(content: &dyn Indexable) {
    let hash = content.hash_function().hash(b"1");
    expect_closed([
        content.mem(&hash.into()).await.unwrap_err(),
        content.find(&hash.into()).await.unwrap_err(),
        content.index(&hash).await.unwrap_err(),
        content.keys().try_collect::<Vec<_>>().await.unwrap_err(),
        content.add(value("2")).await.unwrap_err(),
        content.unsafe_add(hash, value("1")).await.unwrap_err(),
        content.begin().await.map(drop).unwrap_err(),
    ]);
}

async fn l1_after_close_every_operation_of_the_handle_is_closed(store: Store) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    entries.set(&key("k"), value("1")).await.unwrap();
    content.add(value("1")).await.unwrap();
    let batch = content.begin().await.unwrap();
    let clones = (entries.clone(), content.clone());
    entries.close().await.unwrap();
    content.close().await.unwrap();
    expect_closed_entries(&*entries).await;
    expect_closed_content(&*content).await;
    expect_closed_entries(&*clones.0).await;
    expect_closed_content(&*clones.1).await;
    expect_closed([batch.add(value("2")).await.unwrap_err(), batch.commit().await.unwrap_err()]);
    assert_eq!(entries_sorted(&*instance.entries(), &Key::root()).await, [(key("k"), value("1"))]);
    assert_eq!(instance.content().keys().try_collect::<Vec<_>>().await.unwrap().len(), 1);
}

async fn l1_after_the_instances_close_every_handle_is_closed(store: Store) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    let watch = entries.watch(&Key::root(), nothing()).await.unwrap();
    instance.close().await.unwrap();
    for entries in [entries, instance.entries()] {
        expect_closed_entries(&*entries).await;
        entries.close().await.unwrap();
    }
    for content in [content, instance.content()] {
        expect_closed_content(&*content).await;
        content.close().await.unwrap();
    }
    expect_closed([instance.sync().await.unwrap_err()]);
    Follower::known(watch, State::new()).expect_closed().await;
}

async fn l1_closing_ends_open_lists(store: Store) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    set_all(&*entries, (0..3000).map(|i| (key(&i.to_string()), value(i)))).await;
    content
        .batch(|batch| async move {
            for i in 0..3000 {
                batch.add(value(i)).await?;
            }
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    let root = Key::root();
    let (mut keys, mut both, mut stored) = (entries.list(&root), entries.entries(&root), content.keys());
    keys.next().await.unwrap().unwrap();
    both.next().await.unwrap().unwrap();
    stored.next().await.unwrap().unwrap();
    entries.close().await.unwrap();
    content.close().await.unwrap();
    let last = [
        keys.next().await.unwrap().map(drop).unwrap_err(),
        both.next().await.unwrap().map(drop).unwrap_err(),
        stored.next().await.unwrap().map(drop).unwrap_err(),
    ];
    expect_closed(last);
    assert!(keys.next().await.is_none() && both.next().await.is_none() && stored.next().await.is_none());
}

async fn l1_closing_again_is_fine(store: Store) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    for _ in 0..3 {
        entries.close().await.unwrap();
        content.close().await.unwrap();
    }
    let (one, two) = tokio::join!(instance.close(), instance.close());
    one.unwrap();
    two.unwrap();
    instance.close().await.unwrap();
    entries.close().await.unwrap();
}

async fn l2_other_handles_do_not_notice_a_close(store: Store) {
    let instance = store.open().await;
    let (closing, staying) = (instance.entries(), instance.entries());
    let (closing_content, content) = (instance.content(), instance.content());
    let batch = content.begin().await.unwrap();
    let stored = batch.add(value("1")).await.unwrap();
    let mut list = staying.list(&Key::root());
    closing.set(&key("k"), value("1")).await.unwrap();
    closing.close().await.unwrap();
    closing_content.close().await.unwrap();
    assert_eq!(staying.find(&key("k")).await.unwrap(), Some(value("1")));
    assert!(staying.test_and_set(&key("k"), Some(value("1")), Some(value("2"))).await.unwrap().is_applied());
    assert_eq!(list.next().await.unwrap().unwrap(), key("k"));
    batch.commit().await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap(), Some(value("1")));
}

async fn l2_other_instances_do_not_notice_a_close(store: Store) {
    let (closing, staying) = (store.open().await, store.open().await);
    let entries = staying.entries();
    let mut follower = Follower::known(entries.watch(&Key::root(), nothing()).await.unwrap(), State::new());
    closing.entries().set(&key("k"), value("1")).await.unwrap();
    closing.close().await.unwrap();
    follower.converge(&[(key("k"), value("1"))].into()).await;
    entries.set(&key("k"), value("2")).await.unwrap();
    follower.converge(&[(key("k"), value("2"))].into()).await;
    let stored = staying.content().add(value("1")).await.unwrap();
    assert!(store.open().await.content().mem(&stored).await.unwrap());
}

async fn l2_each_open_gives_a_store_of_its_own(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    one.entries().set(&key("k"), value("1")).await.unwrap();
    let stored = one.content().add(value("1")).await.unwrap();
    assert_eq!(two.entries().find(&key("k")).await.unwrap(), None);
    assert!(!two.content().mem(&stored).await.unwrap());
}

async fn l3_an_operation_in_flight_completes_or_is_closed(store: Store) {
    let instance = store.open().await;
    let observer = instance.entries();
    let mut not_applied = Vec::new();
    for round in 0..20 {
        let writing = instance.entries();
        let closing = writing.clone();
        let write = async move {
            let keys = (0..32).map(|i| key(&format!("{round}/{i}")));
            let writes = keys.map(|key| async { (writing.test_and_set(&key, None, Some(value(round))).await, key) });
            join_all(writes).await
        };
        let (answers, closed) = both(write, async move { closing.close().await }).await;
        closed.unwrap();
        for (answer, key) in answers {
            match answer {
                Ok(verdict) => {
                    assert!(verdict.is_applied(), "nobody else writes {key}");
                    assert!(observer.mem(&key).await.unwrap(), "L3: applied, and not there");
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Closed);
                    not_applied.extend((error.effect() == Effect::NotApplied).then_some(key));
                }
            }
        }
    }
    instance.sync().await.unwrap();
    for key in not_applied {
        assert!(!observer.mem(&key).await.unwrap(), "L3: not applied, and there");
    }
}

async fn l4_an_open_right_after_close_finds_what_was_written(store: Store) {
    for round in 0..20_usize {
        let instance = store.open().await;
        let (entries, content) = (instance.entries(), instance.content());
        assert_eq!(entries.list_sorted(&Key::root()).await.unwrap().len(), round);
        assert_eq!(content.keys().try_collect::<Vec<_>>().await.unwrap().len(), round);
        entries.set(&key(&round.to_string()), value(round)).await.unwrap();
        content.add(value(round)).await.unwrap();
        instance.close().await.unwrap();
    }
}

async fn l5_another_hash_function_is_incompatible(store: Store) {
    let instance = store.open().await;
    assert_eq!(instance.content().hash_function().name(), "blake3");
    let refusal = store.open_with(&["hash=sha256"]).await.map(drop).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::Incompatible);
    let text = refusal.to_string();
    assert!(text.contains("blake3") && text.contains("sha256"), "L5: both are named: {text}");
    store.open_with(&["hash=blake3"]).await.expect("the function that it has");
    instance.entries().set(&key("k"), value("1")).await.unwrap();
}

async fn l5_an_incompatible_open_leaves_the_store_untouched(store: Store) {
    let instance = store.open_with(&["hash=sha256"]).await.unwrap();
    instance.entries().set(&key("k"), value("1")).await.unwrap();
    let stored = instance.content().add(value("1")).await.unwrap();
    instance.close().await.unwrap();
    let refusal = store.open_with(&["hash=blake3"]).await.map(drop).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::Incompatible);
    let instance = store.open().await;
    assert_eq!(instance.content().hash_function().name(), "sha256", "what is not asked for is as it was created");
    assert_eq!(entries_sorted(&*instance.entries(), &Key::root()).await, [(key("k"), value("1"))]);
    assert_eq!(instance.content().find(&stored).await.unwrap(), Some(value("1")));
}

async fn a10_what_is_declared_is_what_the_backend_promises(store: Store) {
    let declared = store.open().await.guarantees();
    assert_eq!(declared.durability, store.durability);
    assert_eq!(declared.visibility, store.visibility);
    assert_eq!(declared.index, IndexLevel::Exact);
    assert_eq!(declared.watch_lag.own, Duration::ZERO);
    assert!(declared.watch_lag.others.is_some() || declared.visibility == Visibility::Instance);
}
