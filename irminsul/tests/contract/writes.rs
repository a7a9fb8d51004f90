//! A1 to A6, A9, A10 and X1: what a write does, once or among many.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::{join_all, try_join_all};
use irminsul::{AtomicWrite, Bytes, ContentKey, Event, Indexable, Init, Key, TestAndSet, prelude::*};

use crate::{
    following::{Follower, State},
    store::{Store, beside, entries_sorted, increment_of_width, key, number, poll_then_drop, together, value},
};

contract! { on every store:
    a1_concurrent_test_and_set_loses_no_increment,
    a1_concurrent_test_and_set_of_long_values_loses_no_increment,
    a1_reads_never_go_back,
    a1_every_handle_reads_what_another_wrote,
    a2_test_and_set_truth_table,
    a3_setting_what_is_there_changes_nothing,
    a4_of_many_that_test_the_same_one_wins,
    a6_contention_is_neither_an_error_nor_a_mismatch,
    a9_a_dropped_write_is_whole_and_the_store_works_on,
    a9_dropped_writes_take_effect_at_most_once,
    a9_dropped_adds_are_whole_and_the_store_works_on,
    a10_sync_succeeds_amid_writes,
    x1_the_content_behind_a_name_is_there,
}

contract! { where instances share a store:
    a1_concurrent_test_and_set_among_instances_loses_no_increment,
    a1_reads_of_another_instance_never_go_back,
    a9_nothing_takes_effect_after_close_returned,
    x1_another_instance_finds_the_content_behind_a_name,
}

contract! { where a store outlives its instances:
    a10_what_was_acknowledged_is_there_after_dropping_the_instance,
    a10_what_was_synced_is_there_after_dropping_the_instance,
}

/// Some values, near to each other, and absence.
fn near_values() -> [Option<Bytes>; 6] {
    [None, Some(value("")), Some(value("a")), Some(value("a\0")), Some(value("A")), Some(value("ab"))]
}

async fn put(entries: &dyn AtomicWrite, key: &Key, state: Option<Bytes>) {
    match state {
        Some(value) => entries.set(key, value).await.unwrap(),
        None => entries.remove(key).await.unwrap(),
    }
}

/// Increments one counter from many tasks at once, spread over the handles.
async fn count_concurrently(handles: Vec<Arc<dyn AtomicWrite>>, width: usize, increments: u64) {
    const TASKS: u64 = 8;
    let counter = key("counter");
    let tasks = (0..TASKS).zip(handles.iter().cycle()).map(|(_, handle)| {
        let (handle, counter) = (Arc::clone(handle), counter.clone());
        async move {
            for _ in 0..increments {
                increment_of_width(&*handle, &counter, width).await;
            }
        }
    });
    together(tasks).await;
    for handle in handles {
        assert_eq!(number(handle.find(&counter).await.unwrap().as_ref()), TASKS * increments);
    }
}

/// Reads a counter while it grows: no reader sees less than was acknowledged before its call, or less than it saw.
async fn read_while_counting(writer: Arc<dyn AtomicWrite>, readers: Vec<Arc<dyn AtomicWrite>>) {
    const LAST: u64 = 500;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let counter = key("counter");
    let mut reading = Vec::new();
    for reader in readers {
        let (acknowledged, counter) = (Arc::clone(&acknowledged), counter.clone());
        let read = async move {
            let mut seen = 0;
            while seen < LAST {
                let at_least = acknowledged.load(Ordering::SeqCst).max(seen);
                seen = number(reader.find(&counter).await.unwrap().as_ref());
                assert!(seen >= at_least, "A1: read {seen} where {at_least} was known");
                assert!(seen == 0 || reader.mem(&counter).await.unwrap(), "A1: `mem` denies what `find` saw");
            }
        };
        reading.push(beside(read).await);
    }
    for next in 1..=LAST {
        writer.set(&counter, value(next)).await.unwrap();
        acknowledged.store(next, Ordering::SeqCst);
    }
    try_join_all(reading).await.unwrap();
}

async fn a1_concurrent_test_and_set_loses_no_increment(store: Store) {
    let instance = store.open().await;
    count_concurrently(vec![instance.entries(), instance.entries()], 1, 25).await;
}

/// Values that a backend compares off the async worker are compared with what is there at the instant of the write.
async fn a1_concurrent_test_and_set_of_long_values_loses_no_increment(store: Store) {
    let instance = store.open().await;
    count_concurrently(vec![instance.entries(), instance.entries()], 1_000_000, 8).await;
}

async fn a1_concurrent_test_and_set_among_instances_loses_no_increment(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    count_concurrently(vec![one.entries(), two.entries(), one.entries(), two.entries()], 1, 25).await;
}

async fn a1_reads_never_go_back(store: Store) {
    let instance = store.open().await;
    read_while_counting(instance.entries(), vec![instance.entries(), instance.entries()]).await;
}

async fn a1_reads_of_another_instance_never_go_back(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    read_while_counting(one.entries(), vec![two.entries(), two.entries()]).await;
}

async fn a1_every_handle_reads_what_another_wrote(store: Store) {
    let instance = store.open().await;
    let (writer, reader) = (instance.entries(), instance.entries());
    for state in near_values() {
        put(&*writer, &key("k"), state.clone()).await;
        assert_eq!(reader.find(&key("k")).await.unwrap(), state);
        assert_eq!(reader.mem(&key("k")).await.unwrap(), state.is_some());
    }
}

async fn a2_test_and_set_truth_table(store: Store) {
    let entries = store.open().await.entries();
    let k = key("k");
    for current in near_values() {
        for test in near_values() {
            for set in near_values() {
                put(&*entries, &k, current.clone()).await;
                let verdict = entries.test_and_set(&k, test.clone(), set.clone()).await.unwrap();
                let case = format!("current {current:?}, test {test:?}, set {set:?}");
                if current == test {
                    assert_eq!(verdict, TestAndSet::Applied, "{case}");
                    assert_eq!(entries.find(&k).await.unwrap(), set, "{case}");
                } else {
                    assert_eq!(verdict, TestAndSet::Mismatch { current: current.clone() }, "{case}");
                    assert_eq!(entries.find(&k).await.unwrap(), current, "{case}");
                }
            }
        }
    }
}

async fn a3_setting_what_is_there_changes_nothing(store: Store) {
    let entries = store.open().await.entries();
    let (k, absent) = (key("k"), key("absent"));
    entries.set(&k, value("v")).await.unwrap();
    let before = entries_sorted(&*entries, &Key::root()).await;
    entries.set(&k, value("v")).await.unwrap();
    entries.remove(&absent).await.unwrap();
    let same = entries.test_and_set(&k, Some(value("v")), Some(value("v"))).await.unwrap();
    let none = entries.test_and_set(&absent, None, None).await.unwrap();
    assert!(same.is_applied() && none.is_applied());
    assert_eq!(entries_sorted(&*entries, &Key::root()).await, before);
}

async fn a4_of_many_that_test_the_same_one_wins(store: Store) {
    let instance = store.open().await;
    let k = key("k");
    for round in 0..20 {
        let before = instance.entries().find(&k).await.unwrap();
        let attempts = (0..8).map(|attempt| {
            let (entries, k, before) = (instance.entries(), k.clone(), before.clone());
            async move {
                let mine = value(format!("{round} {attempt}"));
                (entries.test_and_set(&k, before, Some(mine.clone())).await.unwrap(), mine)
            }
        });
        let attempts = together(attempts).await;
        let (winners, losers): (Vec<_>, Vec<_>) = attempts.into_iter().partition(|(verdict, _)| verdict.is_applied());
        let [(_, winner)] = &winners[..] else { panic!("{} of them won", winners.len()) };
        for (verdict, _) in losers {
            assert_eq!(verdict, TestAndSet::Mismatch { current: Some(winner.clone()) });
        }
        assert_eq!(instance.entries().find(&k).await.unwrap().as_ref(), Some(winner));
    }
}

async fn a6_contention_is_neither_an_error_nor_a_mismatch(store: Store) {
    const WRITERS: usize = 16;
    let instance = store.open().await;
    let writers = (0..WRITERS).map(|writer| {
        let (entries, own, shared) = (instance.entries(), key(&format!("own/{writer}")), key("shared"));
        async move {
            let mut test = None;
            for round in 0..10 {
                entries.set(&shared, value(format!("{writer} {round}"))).await.unwrap();
                let next = Some(value(round));
                let verdict = entries.test_and_set(&own, test, next.clone()).await.unwrap();
                assert!(verdict.is_applied(), "A6: nobody else writes this key, and yet {verdict:?}");
                test = next;
            }
        }
    });
    together(writers).await;
    assert_eq!(instance.entries().list_sorted(&key("own")).await.unwrap().len(), WRITERS);
}

async fn a9_a_dropped_write_is_whole_and_the_store_works_on(store: Store) {
    let entries = store.open().await.entries();
    let (dropped, other) = (key("dropped"), key("other"));
    let mut written = BTreeSet::new();
    for round in 0..60_u32 {
        let long = Bytes::from(round.to_le_bytes().repeat(20_000));
        written.insert(long.clone());
        poll_then_drop(entries.set(&dropped, long), (round % 6) as usize).await;
        entries.set(&other, value(round)).await.unwrap();
        assert_eq!(entries.find(&other).await.unwrap(), Some(value(round)));
        if let Some(found) = entries.find(&dropped).await.unwrap() {
            assert!(written.contains(&found), "A9: a value of {} bytes that nobody wrote", found.len());
        }
    }
}

async fn a9_dropped_writes_take_effect_at_most_once(store: Store) {
    let entries = store.open().await.entries();
    let k = key("k");
    let watch = entries.watch_key(&k, Init::Known(None)).await.unwrap();
    let mut follower = Follower::known(watch, State::new());
    let mut told = BTreeSet::new();
    for round in 0..60 {
        poll_then_drop(entries.set(&k, value(format!("dropped {round}"))), round % 6).await;
        let acknowledged = value(format!("acknowledged {round}"));
        entries.set(&k, acknowledged.clone()).await.unwrap();
        while !told.contains(&acknowledged) {
            if let Event::Changed { diff, .. } = follower.next().await {
                let new = diff.new_value().expect("nothing removes the key").clone();
                assert!(told.insert(new.clone()), "A9: {new:?} took effect twice");
            }
        }
    }
}

async fn a9_dropped_adds_are_whole_and_the_store_works_on(store: Store) {
    let content = store.open().await.content();
    for round in 0..30_u32 {
        let long = Bytes::from(round.to_le_bytes().repeat(100_000));
        let hash = content.hash_function().hash(&long);
        poll_then_drop(content.add(long.clone()), (round % 6) as usize).await;
        if let Some(found) = content.find(&hash.into()).await.unwrap() {
            assert!(found == long, "A9: half of a value");
        }
        let stored = content.add(long.clone()).await.unwrap();
        assert!(content.find(&stored).await.unwrap() == Some(long));
    }
}

async fn a9_nothing_takes_effect_after_close_returned(store: Store) {
    let observer = store.open().await;
    let (k, fence) = (key("k"), key("fence"));
    for round in 0..20_u32 {
        let instance = store.open().await;
        let entries = instance.entries();
        let writes = (0..8).map(|write| poll_then_drop(entries.set(&k, value(format!("{round} {write}"))), 1));
        join_all(writes).await;
        instance.close().await.unwrap();
        let at_close = observer.entries().find(&k).await.unwrap();
        observer.entries().set(&fence, value(round)).await.unwrap();
        assert_eq!(observer.entries().find(&k).await.unwrap(), at_close, "A9: a write landed after `close` returned");
    }
}

async fn a10_sync_succeeds_amid_writes(store: Store) {
    let instance = store.open().await;
    let (entries, k) = (instance.entries(), key("k"));
    for i in 0..20 {
        let (set, synced) = tokio::join!(entries.set(&k, value(i)), instance.sync());
        set.unwrap();
        synced.unwrap();
    }
    assert_eq!(entries.find(&k).await.unwrap(), Some(value(19)));
}

/// Writes of each kind, and what must be there afterwards.
async fn write_each_kind(store: &Store, sync: bool) -> (Vec<(Key, Bytes)>, Vec<ContentKey>) {
    let instance = store.open().await;
    let (entries, content) = (instance.entries(), instance.content());
    entries.set(&key("set"), value("1")).await.unwrap();
    assert!(entries.test_and_set(&key("tested"), None, Some(value("2"))).await.unwrap().is_applied());
    entries.set(&key("removed"), value("3")).await.unwrap();
    entries.remove(&key("removed")).await.unwrap();
    let added = content.add(value("content")).await.unwrap();
    let batched = content.batch(|batch| async move { batch.add(value("batched")).await }).await.unwrap();
    if sync {
        instance.sync().await.unwrap();
    }
    (vec![(key("set"), value("1")), (key("tested"), value("2"))], vec![added, batched])
}

async fn expect_each_kind(store: &Store, (entries, content): (Vec<(Key, Bytes)>, Vec<ContentKey>)) {
    let instance = store.open().await;
    assert_eq!(entries_sorted(&*instance.entries(), &Key::root()).await, entries);
    for (stored, text) in content.iter().zip(["content", "batched"]) {
        assert_eq!(instance.content().find(stored).await.unwrap(), Some(value(text)));
    }
}

async fn a10_what_was_acknowledged_is_there_after_dropping_the_instance(store: Store) {
    let written = write_each_kind(&store, false).await;
    expect_each_kind(&store, written).await;
}

async fn a10_what_was_synced_is_there_after_dropping_the_instance(store: Store) {
    let written = write_each_kind(&store, true).await;
    expect_each_kind(&store, written).await;
}

/// Moves a name from content to content, while readers follow it.
async fn names_and_content(
    writer: (Arc<dyn AtomicWrite>, Arc<dyn Indexable>),
    reader: (Arc<dyn AtomicWrite>, Arc<dyn Indexable>),
) {
    const LAST: u64 = 150;
    let name = key("name");
    let reading = beside({
        let name = name.clone();
        async move {
            let (entries, content) = reader;
            loop {
                let Some(named) = entries.find(&name).await.unwrap() else { continue };
                let stored: ContentKey = std::str::from_utf8(&named).unwrap().parse().unwrap();
                let found = content.find(&stored).await.unwrap().expect("X1: the content behind a name");
                assert!(content.index(&stored.to_hash()).await.unwrap().is_some(), "X1: `index` of what is named");
                if number(Some(&found)) == LAST {
                    break;
                }
            }
        }
    })
    .await;
    let (entries, content) = writer;
    for i in 1..=LAST {
        let stored = if i % 2 == 0 {
            content.add(value(i)).await
        } else {
            content.batch(|batch| async move { batch.add(value(i)).await }).await
        };
        entries.set(&name, value(stored.unwrap())).await.unwrap();
    }
    reading.await.unwrap();
}

async fn x1_the_content_behind_a_name_is_there(store: Store) {
    let instance = store.open().await;
    let handles = || (instance.entries(), instance.content());
    names_and_content(handles(), handles()).await;
}

async fn x1_another_instance_finds_the_content_behind_a_name(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    names_and_content((one.entries(), one.content()), (two.entries(), two.content())).await;
}
