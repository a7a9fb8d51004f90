//! I7: a batch is whole or not at all, reads its own writes, ends once, and is in nobody's way.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::TryStreamExt;
use irminsul::{
    Append, Batch, Bytes, ContentHash, ContentKey, ContentRead, Effect, Error, ErrorKind, Indexable, prelude::*,
};

use crate::store::{Instance, Store, beside, key, poll_then_drop, soon, value};

contract! { on every store:
    i7_a_committed_batch_is_found,
    i7_an_empty_batch_commits,
    i7_inside_it_reads_its_own_writes_and_the_stores,
    i7_nothing_is_seen_before_the_commit,
    i7_aborted_or_dropped_nothing_is_found,
    i7_the_closure_commits_on_ok_and_aborts_otherwise,
    i7_afterwards_it_is_closed,
    i7_concurrent_readers_see_all_of_it_or_nothing,
    i7_a_dropped_commit_is_whole_or_nothing,
    i7_an_open_batch_holds_up_nobody,
    i7_from_inside_a_batch_the_store_goes_on,
    i7_two_batches_with_equal_values_both_commit,
    i7_beyond_the_cap_it_refuses_and_stays_usable,
    i7_a_batch_of_many_megabytes_commits,
    i7_a_false_hash_inside_a_batch_is_corrupt_until_repaired,
    i7_a_batch_whose_instance_was_closed_leaves_nothing,
}

contract! { where instances share a store:
    i7_another_instance_sees_all_of_it_or_nothing,
}

contract! { where a store outlives its instances:
    i7_a_committed_batch_is_there_after_a_reopen_and_an_open_one_is_not,
}

async fn absent(content: &(impl ContentRead + ?Sized), hash: ContentHash) -> bool {
    content.index(&hash).await.unwrap().is_none()
        && !content.mem(&hash.into()).await.unwrap()
        && content.find(&hash.into()).await.unwrap().is_none()
        && !listed(content).await.contains(&hash.into())
}

async fn listed(content: &(impl ContentRead + ?Sized)) -> Vec<ContentKey> {
    content.keys().try_collect().await.unwrap()
}

async fn begin(content: &Arc<dyn Indexable>) -> Box<dyn Batch> {
    content.begin().await.unwrap()
}

async fn add_each(batch: &(impl Append + ?Sized), values: impl IntoIterator<Item = Bytes>) -> Vec<ContentKey> {
    let mut keys = Vec::new();
    for value in values {
        keys.push(batch.add(value).await.unwrap());
    }
    keys
}

async fn i7_a_committed_batch_is_found(store: Store) {
    let content = store.open().await.content();
    let batch = begin(&content).await;
    let keys = add_each(&*batch, (0..100).map(value)).await;
    batch.commit().await.unwrap();
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(content.find(key).await.unwrap(), Some(value(i)));
        assert_eq!(content.index(&key.to_hash()).await.unwrap(), Some(*key));
    }
    assert_eq!(listed(&*content).await.len(), 100);
}

async fn i7_an_empty_batch_commits(store: Store) {
    let content = store.open().await.content();
    begin(&content).await.commit().await.unwrap();
    begin(&content).await.abort().await.unwrap();
    assert_eq!(listed(&*content).await, []);
}

async fn i7_inside_it_reads_its_own_writes_and_the_stores(store: Store) {
    let content = store.open().await.content();
    let outside = content.add(value("outside")).await.unwrap();
    let batch = begin(&content).await;
    assert_eq!(batch.hash_function(), content.hash_function());
    let own = batch.add(value("own")).await.unwrap();
    let unchecked_hash = batch.hash_function().hash(&value("unchecked"));
    let unchecked = batch.unsafe_add(unchecked_hash, value("unchecked")).await.unwrap();
    let again = batch.add(value("outside")).await.unwrap();
    let empty = batch.add(Bytes::new()).await.unwrap();
    let expected = [(own, "own"), (unchecked, "unchecked"), (again, "outside"), (outside, "outside"), (empty, "")];
    for (stored, text) in expected {
        assert_eq!(batch.find(&stored).await.unwrap(), Some(value(text)));
        assert!(batch.mem(&stored).await.unwrap());
        let indexed = batch.index(&stored.to_hash()).await.unwrap().expect("the batch's own and the store's");
        assert_eq!(batch.find(&indexed).await.unwrap(), Some(value(text)));
    }
    let inside = listed(&*batch).await;
    assert_eq!(inside.len(), 4, "each once, whether in the batch, in the store or in both");
    assert_eq!(inside.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([own, unchecked, outside, empty]));
    assert!(absent(&*batch, batch.hash_function().hash(b"absent")).await);
    batch.commit().await.unwrap();
    for (stored, text) in expected {
        assert_eq!(content.find(&stored).await.unwrap(), Some(value(text)));
    }
}

async fn i7_nothing_is_seen_before_the_commit(store: Store) {
    let instance = store.open().await;
    let content = instance.content();
    let (batch, other_batch) = (begin(&content).await, begin(&content).await);
    let stored = batch.add(value("1")).await.unwrap();
    assert!(absent(&*content, stored.to_hash()).await);
    assert!(absent(&*instance.content(), stored.to_hash()).await);
    assert!(absent(&*other_batch, stored.to_hash()).await, "a batch does not see into another");
    batch.commit().await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap(), Some(value("1")));
    assert_eq!(other_batch.find(&stored).await.unwrap(), Some(value("1")));
}

async fn i7_aborted_or_dropped_nothing_is_found(store: Store) {
    let content = store.open().await.content();
    let kept = content.add(value("kept")).await.unwrap();
    let (aborted, dropped) = (begin(&content).await, begin(&content).await);
    let mut lost = Vec::new();
    for batch in [&aborted, &dropped] {
        batch.add(value("kept")).await.unwrap();
        lost.extend(add_each(&**batch, (0..10).map(value)).await);
    }
    aborted.abort().await.unwrap();
    drop(dropped);
    for stored in lost {
        assert!(absent(&*content, stored.to_hash()).await);
    }
    assert_eq!(listed(&*content).await, [kept]);
    assert_eq!(content.find(&kept).await.unwrap(), Some(value("kept")));
}

async fn i7_the_closure_commits_on_ok_and_aborts_otherwise(store: Store) {
    let content = store.open().await.content();
    let fine = content.batch(|batch| async move { batch.add(value("fine")).await }).await.unwrap();
    assert_eq!(content.find(&fine).await.unwrap(), Some(value("fine")));

    let failed: Result<(), Error> = content
        .batch(|batch| async move {
            batch.add(value("failed")).await?;
            Err(Error::new(ErrorKind::InvalidInput, "the body's own"))
        })
        .await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::InvalidInput);

    let body = content.batch(|batch| async move {
        batch.add(value("dropped")).await?;
        std::future::pending::<Result<(), Error>>().await
    });
    assert!(poll_then_drop(body, 50).await.is_none());
    assert_eq!(listed(&*content).await, [fine]);
}

async fn i7_afterwards_it_is_closed(store: Store) {
    let content = store.open().await.content();
    let stored = content.add(value("1")).await.unwrap();
    let (committed, aborted) = (begin(&content).await, begin(&content).await);
    committed.commit().await.unwrap();
    aborted.abort().await.unwrap();
    for batch in [committed, aborted] {
        let hash = stored.to_hash();
        let refusals = [
            batch.add(value("2")).await.unwrap_err(),
            batch.unsafe_add(hash, value("1")).await.unwrap_err(),
            batch.find(&stored).await.unwrap_err(),
            batch.mem(&stored).await.unwrap_err(),
            batch.index(&hash).await.unwrap_err(),
            batch.keys().try_collect::<Vec<_>>().await.unwrap_err(),
            batch.commit().await.unwrap_err(),
            batch.abort().await.unwrap_err(),
        ];
        for refusal in refusals {
            assert_eq!((refusal.kind(), refusal.effect()), (ErrorKind::Closed, Effect::NotApplied), "{refusal}");
        }
    }
    assert_eq!(listed(&*content).await, [stored]);
}

/// Commits batches while a reader asks for their values, in the order and against it: once one is found, all are.
async fn commit_and_look(writer: Arc<dyn Indexable>, reader: Arc<dyn Indexable>) {
    const ROUNDS: usize = 40;
    const VALUES: usize = 200;
    let hashes = |round: usize| -> Vec<ContentHash> {
        (0..VALUES).map(|i| reader.hash_function().hash(&value(format!("{round} {i}")))).collect()
    };
    for round in 0..ROUNDS {
        let mut order = hashes(round);
        if round % 2 == 0 {
            order.reverse();
        }
        let look = {
            let reader = Arc::clone(&reader);
            async move {
                while reader.find(&order[0].into()).await.unwrap().is_none() {}
                for hash in order {
                    assert!(reader.index(&hash).await.unwrap().is_some(), "I7: `index` sees part of a batch");
                    assert!(reader.find(&hash.into()).await.unwrap().is_some(), "I7: `find` sees part of a batch");
                }
            }
        };
        let looking = beside(look).await;
        let batch = begin(&writer).await;
        add_each(&*batch, (0..VALUES).map(|i| value(format!("{round} {i}")))).await;
        batch.commit().await.unwrap();
        soon("the reader's end", looking).await.unwrap();
    }
}

async fn i7_concurrent_readers_see_all_of_it_or_nothing(store: Store) {
    let instance = store.open().await;
    commit_and_look(instance.content(), instance.content()).await;
}

async fn i7_another_instance_sees_all_of_it_or_nothing(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    commit_and_look(one.content(), two.content()).await;
}

async fn i7_a_dropped_commit_is_whole_or_nothing(store: Store) {
    let content = store.open().await.content();
    for round in 0..30 {
        let batch = begin(&content).await;
        let keys = add_each(&*batch, (0..20).map(|i| value(format!("{round} {i}")))).await;
        poll_then_drop(batch.commit(), round % 5).await;
        drop(batch);
        let (last, others) = keys.split_last().unwrap();
        if content.find(last).await.unwrap().is_some() {
            for stored in others {
                assert!(content.find(stored).await.unwrap().is_some(), "I7: part of a batch");
            }
        }
        let stored = content.add(value(format!("after {round}"))).await.unwrap();
        assert!(content.mem(&stored).await.unwrap(), "the store goes on working");
    }
}

/// Every kind of operation, on other handles than those of an open batch.
async fn use_the_store(instance: &Instance, tag: &str) {
    let (entries, content) = (instance.entries(), instance.content());
    entries.set(&key(tag), value(tag)).await.unwrap();
    assert!(entries.test_and_set(&key(tag), Some(value(tag)), None).await.unwrap().is_applied());
    let stored = content.add(value(tag)).await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap(), Some(value(tag)));
    let batched = content.batch(|batch| async move { batch.add(value("batched")).await }).await.unwrap();
    assert!(content.mem(&batched).await.unwrap());
    assert!(listed(&*content).await.contains(&stored));
    instance.sync().await.unwrap();
}

async fn i7_an_open_batch_holds_up_nobody(store: Store) {
    let instance = store.open().await;
    let content = instance.content();
    let batch = begin(&content).await;
    let stored = batch.add(value("in the batch")).await.unwrap();
    soon("I7: operations beside an open batch", use_the_store(&instance, "beside")).await;
    let later = batch.add(value("later")).await.unwrap();
    batch.commit().await.unwrap();
    for (stored, text) in [(stored, "in the batch"), (later, "later")] {
        assert_eq!(content.find(&stored).await.unwrap(), Some(value(text)));
    }
}

async fn i7_from_inside_a_batch_the_store_goes_on(store: Store) {
    let instance = store.open().await;
    let content = instance.content();
    let inside = instance.clone();
    let stored = content.batch(|batch| async move {
        let stored = batch.add(value("in the batch")).await?;
        use_the_store(&inside, "inside").await;
        assert_eq!(batch.find(&stored).await?, Some(value("in the batch")));
        Ok::<_, Error>(stored)
    });
    let stored = soon("I7: operations from inside a batch", stored).await.unwrap();
    assert!(content.mem(&stored).await.unwrap());
}

async fn i7_two_batches_with_equal_values_both_commit(store: Store) {
    let content = store.open().await.content();
    let (one, two) = (begin(&content).await, begin(&content).await);
    let keys = [add_each(&*one, (0..10).map(value)).await, add_each(&*two, (5..15).map(value)).await].concat();
    content.add(value(7)).await.unwrap();
    let (first, second) = tokio::join!(one.commit(), two.commit());
    first.unwrap();
    second.unwrap();
    for (stored, i) in keys.iter().zip((0..10).chain(5..15)) {
        assert_eq!(content.find(stored).await.unwrap(), Some(value(i)));
    }
    assert_eq!(listed(&*content).await.len(), 15);
}

async fn i7_beyond_the_cap_it_refuses_and_stays_usable(store: Store) {
    let content = store.open_with(&["batch=1000000"]).await.unwrap().content();
    let large = |byte: u8| Bytes::from(vec![byte; 600_000]);
    let batch = begin(&content).await;
    let first = batch.add(large(1)).await.unwrap();
    let hash = batch.hash_function().hash(&large(2));
    let refusals = [batch.add(large(2)).await.unwrap_err(), batch.unsafe_add(hash, large(2)).await.unwrap_err()];
    for refusal in refusals {
        assert_eq!((refusal.kind(), refusal.effect()), (ErrorKind::ValueTooLarge, Effect::NotApplied), "{refusal}");
    }
    assert!(absent(&*batch, hash).await, "what was refused is not in the batch");
    let equal = batch.add(large(1)).await.unwrap();
    assert_eq!(equal, first, "an equal value takes no further room");
    let small = batch.add(value("small")).await.unwrap();
    batch.commit().await.unwrap();
    assert!(content.find(&first).await.unwrap() == Some(large(1)));
    assert_eq!(content.find(&small).await.unwrap(), Some(value("small")));
    assert!(absent(&*content, hash).await);
    content.add(large(2)).await.expect("the cap is the batch's, not the value's");
}

async fn i7_a_batch_of_many_megabytes_commits(store: Store) {
    let content = store.open().await.content();
    let large = |i: u8| Bytes::from(vec![i; 4 << 20]);
    let batch = begin(&content).await;
    let keys = add_each(&*batch, (0..8).map(large)).await;
    batch.commit().await.unwrap();
    for (stored, i) in keys.iter().zip(0..) {
        assert!(content.find(stored).await.unwrap() == Some(large(i)));
    }
}

async fn i7_a_false_hash_inside_a_batch_is_corrupt_until_repaired(store: Store) {
    let content = store.open().await.content();
    let truth = value("truth");
    let hash = content.hash_function().hash(&truth);
    let batch = begin(&content).await;
    let stored = batch.unsafe_add(hash, value("false")).await.unwrap();
    assert_eq!(batch.find(&stored).await.unwrap_err().kind(), ErrorKind::Corrupt, "I6 holds inside, too");
    batch.commit().await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap_err().kind(), ErrorKind::Corrupt);

    let batch = begin(&content).await;
    batch.add(truth.clone()).await.unwrap();
    assert_eq!(batch.find(&stored).await.unwrap(), Some(truth.clone()), "its own write comes before the store's");
    assert_eq!(content.find(&stored).await.unwrap_err().kind(), ErrorKind::Corrupt);
    batch.commit().await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap(), Some(truth));
}

async fn i7_a_batch_whose_instance_was_closed_leaves_nothing(store: Store) {
    let (observed, closing) = (store.open().await, store.open().await);
    let batch = begin(&closing.content()).await;
    let stored = batch.add(value("1")).await.unwrap();
    closing.close().await.unwrap();
    let refusals = [batch.commit().await.unwrap_err(), batch.add(value("2")).await.unwrap_err()];
    for refusal in refusals {
        assert_eq!((refusal.kind(), refusal.effect()), (ErrorKind::Closed, Effect::NotApplied), "{refusal}");
    }
    assert!(absent(&*observed.content(), stored.to_hash()).await);
}

async fn i7_a_committed_batch_is_there_after_a_reopen_and_an_open_one_is_not(store: Store) {
    let instance = store.open().await;
    let content = instance.content();
    let (committed, left_open) = (begin(&content).await, begin(&content).await);
    let kept = add_each(&*committed, (0..10).map(value)).await;
    let lost = add_each(&*left_open, (10..20).map(value)).await;
    committed.commit().await.unwrap();
    instance.close().await.unwrap();
    let content = store.open().await.content();
    for (i, stored) in kept.iter().enumerate() {
        assert_eq!(content.find(stored).await.unwrap(), Some(value(i)));
    }
    for stored in lost {
        assert!(absent(&*content, stored.to_hash()).await);
    }
}
