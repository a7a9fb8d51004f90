//! I1 to I6 and I8: values under the hash of their content.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::TryStreamExt;
use irminsul::{Append, Bytes, ContentHash, ContentKey, ErrorKind, HashFunction, Indexable, Indexed, prelude::*};

use crate::store::{Store, together, value};

contract! { on every store:
    i1_a_key_has_the_hash_of_its_value,
    i1_equal_values_are_one_value,
    i1_sha256_is_had_by_choice,
    i2_every_handle_finds_what_was_added,
    i3_index_finds_what_was_added_and_nothing_else,
    i4_unsafe_add_with_the_true_hash_is_add,
    i4_a_false_hash_hurts_no_other_and_is_repaired,
    i4_a_false_hash_never_replaces_what_is_true,
    i4_without_verification_a_false_value_is_given,
    i5_a_key_without_a_locator_is_found,
    i5_a_foreign_key_gives_the_value_or_none,
    i5_a_stale_locator_never_gives_another_value,
    i6_a_value_that_does_not_match_its_hash_is_corrupt,
    i8_concurrent_adds_of_one_value_all_give_readable_keys,
}

contract! { where instances share a store:
    i2_every_instance_finds_what_was_added,
    i3_index_is_exact_among_instances,
    i4_a_repair_by_another_instance_is_seen,
    i8_concurrent_adds_of_one_value_by_several_instances,
}

contract! { where a store outlives its instances:
    i2_content_is_there_after_a_reopen,
    i5_keys_of_before_a_reopen_are_found,
}

/// Values of many lengths: empty, small, at the edges of pages, beyond what an async worker hashes.
fn values() -> Vec<Bytes> {
    [0, 1, 31, 32, 33, 4095, 4096, 4097, 262_143, 262_145, 3_000_000]
        .map(|len| (0..=250).cycle().take(len).collect())
        .into()
}

async fn add_all(content: &dyn Indexable) -> Vec<(ContentKey, Bytes)> {
    let mut added = Vec::new();
    for value in values() {
        added.push((content.add(value.clone()).await.unwrap(), value));
    }
    added
}

async fn expect_all(content: &dyn Indexable, added: &[(ContentKey, Bytes)]) {
    for (stored, value) in added {
        assert!(content.find(stored).await.unwrap().as_ref() == Some(value), "{stored}");
        assert!(content.mem(stored).await.unwrap(), "{stored}");
        let indexed = content.index(&stored.to_hash()).await.unwrap().expect("the index knows what was added");
        assert_eq!(indexed.to_hash(), stored.to_hash());
        assert!(content.find(&indexed).await.unwrap().as_ref() == Some(value), "{stored}");
    }
}

async fn keys(content: &dyn Indexable) -> Vec<ContentKey> {
    content.keys().try_collect().await.unwrap()
}

async fn i1_a_key_has_the_hash_of_its_value(store: Store) {
    let content = store.open().await.content();
    assert_eq!(content.hash_function(), HashFunction::Blake3);
    for (stored, value) in add_all(&*content).await {
        assert_eq!(stored.to_hash(), HashFunction::Blake3.hash(&value));
    }
}

async fn i1_equal_values_are_one_value(store: Store) {
    let content = store.open().await.content();
    let first = add_all(&*content).await;
    let second = add_all(&*content).await;
    assert!(first == second);
    let listed = keys(&*content).await;
    assert_eq!(listed.len(), values().len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), first.into_iter().map(|(key, _)| key).collect());
}

async fn i1_sha256_is_had_by_choice(store: Store) {
    let content = store.open_with(&["hash=sha256"]).await.unwrap().content();
    assert_eq!(content.hash_function(), HashFunction::Sha256);
    let stored = content.add(value("abc")).await.unwrap();
    let standard = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(stored.to_hash().to_string(), standard);
    assert_eq!(content.find(&stored).await.unwrap(), Some(value("abc")));
}

async fn i2_every_handle_finds_what_was_added(store: Store) {
    let instance = store.open().await;
    let added = add_all(&*instance.content()).await;
    expect_all(&*instance.content(), &added).await;
}

async fn i2_every_instance_finds_what_was_added(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    let added = add_all(&*one.content()).await;
    expect_all(&*two.content(), &added).await;
    expect_all(&*store.open().await.content(), &added).await;
}

async fn i2_content_is_there_after_a_reopen(store: Store) {
    let instance = store.open().await;
    let added = add_all(&*instance.content()).await;
    instance.close().await.unwrap();
    let content = store.open().await.content();
    expect_all(&*content, &added).await;
    assert_eq!(keys(&*content).await.len(), added.len());
}

async fn i3_index_finds_what_was_added_and_nothing_else(store: Store) {
    let content = store.open().await.content();
    let absent = content.hash_function().hash(b"absent");
    let added = add_all(&*content).await;
    for near in added.iter().map(|(stored, _)| stored.to_hash()).chain([absent]) {
        let mut bytes = *near.as_bytes();
        bytes[31] ^= 1;
        assert_eq!(content.index(&ContentHash::new(bytes)).await.unwrap(), None);
        assert!(!content.mem(&ContentHash::new(bytes).into()).await.unwrap());
    }
    assert_eq!(content.index(&absent).await.unwrap(), None);
    assert_eq!(content.resolve(&absent).await.unwrap(), None);
    expect_all(&*content, &added).await;
}

async fn i3_index_is_exact_among_instances(store: Store) {
    let (one, two) = (store.open().await.content(), store.open().await.content());
    for i in 0..100 {
        let hash = one.hash_function().hash(&value(i));
        assert_eq!(two.index(&hash).await.unwrap(), None);
        let stored = one.add(value(i)).await.unwrap();
        assert_eq!(two.index(&hash).await.unwrap(), Some(stored), "I3: added before the call");
    }
}

async fn i4_unsafe_add_with_the_true_hash_is_add(store: Store) {
    let content = store.open().await.content();
    let mut added = Vec::new();
    for value in values() {
        let hash = content.hash_function().hash(&value);
        let stored = content.unsafe_add(hash, value.clone()).await.unwrap();
        assert_eq!(stored.to_hash(), hash);
        assert_eq!(content.add(value.clone()).await.unwrap(), stored);
        added.push((stored, value));
    }
    expect_all(&*content, &added).await;
    assert_eq!(keys(&*content).await.len(), added.len());
}

async fn i4_a_false_hash_hurts_no_other_and_is_repaired(store: Store) {
    let content = store.open().await.content();
    let others = add_all(&*content).await;
    let repairs = ["by add", "by unsafe_add", "by a batch"];
    for repair in repairs {
        let truth = value(repair);
        let hash = content.hash_function().hash(&truth);
        let false_key = content.unsafe_add(hash, value("false")).await.unwrap();
        assert_eq!(false_key.to_hash(), hash);
        assert_eq!(content.find(&false_key).await.unwrap_err().kind(), ErrorKind::Corrupt);
        let falsehood = content.hash_function().hash(&value("false"));
        assert_eq!(content.index(&falsehood).await.unwrap(), None, "I4: the hash of the false value is not stored");
        expect_all(&*content, &others).await;

        let repaired = match repair {
            "by add" => content.add(truth.clone()).await,
            "by unsafe_add" => content.unsafe_add(hash, truth.clone()).await,
            _ => {
                let added = truth.clone();
                content.batch(|batch| async move { batch.add(added).await }).await
            }
        };
        for key in [repaired.unwrap(), false_key, hash.into()] {
            assert_eq!(content.find(&key).await.unwrap(), Some(truth.clone()), "I4: repaired {repair}");
        }
        assert_eq!(content.resolve(&hash).await.unwrap(), Some(truth));
    }
    assert_eq!(keys(&*content).await.len(), others.len() + repairs.len());
}

async fn i4_a_repair_by_another_instance_is_seen(store: Store) {
    let (one, two) = (store.open().await.content(), store.open().await.content());
    let truth = value("truth");
    let hash = one.hash_function().hash(&truth);
    let false_key = one.unsafe_add(hash, value("false")).await.unwrap();
    assert_eq!(two.find(&hash.into()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    two.add(truth.clone()).await.unwrap();
    for content in [one, two] {
        assert_eq!(content.find(&false_key).await.unwrap(), Some(truth.clone()));
    }
}

async fn i4_a_false_hash_never_replaces_what_is_true(store: Store) {
    let content = store.open().await.content();
    let truth = value("truth");
    let stored = content.add(truth.clone()).await.unwrap();
    content.unsafe_add(stored.to_hash(), value("false")).await.unwrap();
    match content.find(&stored).await {
        Ok(found) => assert_eq!(found, Some(truth.clone())),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
    }
    content.add(truth.clone()).await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap(), Some(truth));
}

async fn i4_without_verification_a_false_value_is_given(store: Store) {
    let content = store.open_with(&["verify=off"]).await.unwrap().content();
    let truth = value("truth");
    let hash = content.hash_function().hash(&truth);
    let stored = content.unsafe_add(hash, value("false")).await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap(), Some(value("false")));
    content.add(truth.clone()).await.unwrap();
    assert_eq!(content.find(&stored).await.unwrap(), Some(truth), "I4: a later `add` repairs it");
}

async fn i5_a_key_without_a_locator_is_found(store: Store) {
    let content = store.open().await.content();
    for (stored, value) in add_all(&*content).await {
        let bare = ContentKey::from(stored.to_hash());
        assert!(bare.locator().is_empty());
        assert!(content.mem(&bare).await.unwrap());
        assert!(content.find(&bare).await.unwrap() == Some(value));
    }
}

async fn i5_a_foreign_key_gives_the_value_or_none(store: Store) {
    let content = store.open().await.content();
    for other in [Store::mem(), Store::sqlite_temporary()] {
        let foreign = other.open().await.content();
        foreign.add(value("shifts the locators")).await.unwrap();
        for i in 0..20 {
            let only_there = foreign.add(value(format!("only there {i}"))).await.unwrap();
            content.add(value(format!("only here {i}"))).await.unwrap();
            assert_eq!(content.find(&only_there).await.unwrap(), None);
            assert!(!content.mem(&only_there).await.unwrap());
            content.add(value(format!("both {i}"))).await.unwrap();
            let both = foreign.add(value(format!("both {i}"))).await.unwrap();
            assert_eq!(content.find(&both).await.unwrap(), Some(value(format!("both {i}"))));
            assert!(content.mem(&both).await.unwrap());
        }
    }
}

async fn i5_a_stale_locator_never_gives_another_value(store: Store) {
    let content = store.open().await.content();
    let mut added = BTreeMap::new();
    for i in 0..20 {
        added.insert(content.add(value(i)).await.unwrap(), value(i));
    }
    let absent = content.hash_function().hash(b"absent");
    let junk = (0..=ContentKey::MAX_LOCATOR_LEN).flat_map(|len| [0, 1, 0x7f, 0xff].map(|byte| vec![byte; len]));
    let locators: Vec<Vec<u8>> = added.keys().map(|key| key.locator().to_vec()).chain(junk).collect();
    for locator in &locators {
        for (stored, value) in added.iter().step_by(7) {
            let stale = ContentKey::with_locator(stored.to_hash(), locator).unwrap();
            assert_eq!(content.find(&stale).await.unwrap().as_ref(), Some(value), "{stale}");
            assert!(content.mem(&stale).await.unwrap(), "{stale}");
        }
        let of_nothing = ContentKey::with_locator(absent, locator).unwrap();
        assert_eq!(content.find(&of_nothing).await.unwrap(), None, "{of_nothing}");
        assert!(!content.mem(&of_nothing).await.unwrap(), "{of_nothing}");
    }
}

async fn i5_keys_of_before_a_reopen_are_found(store: Store) {
    let instance = store.open().await;
    let stored = instance.content().add(value("1")).await.unwrap();
    instance.close().await.unwrap();
    let written = stored.to_bytes();
    let content = store.open().await.content();
    let read = ContentKey::from_bytes(&written).unwrap();
    assert_eq!(content.find(&read).await.unwrap(), Some(value("1")));
}

async fn i6_a_value_that_does_not_match_its_hash_is_corrupt(store: Store) {
    let content = store.open().await.content();
    for (i, truth) in values().into_iter().enumerate() {
        let hash = content.hash_function().hash(&truth);
        let mut rotten = truth.to_vec();
        match rotten.last_mut() {
            Some(last) => *last ^= 1 << (i % 8),
            None => rotten.push(0),
        }
        let stored = content.unsafe_add(hash, rotten.into()).await.unwrap();
        for key in [stored, hash.into()] {
            assert_eq!(content.find(&key).await.unwrap_err().kind(), ErrorKind::Corrupt, "{} bytes", truth.len());
        }
    }
}

/// Adds the same values from many tasks at once, by `add`, `unsafe_add` and batches; each key is readable at once.
async fn add_concurrently(contents: Vec<Arc<dyn Indexable>>) {
    const ROUNDS: usize = 10;
    for round in 0..ROUNDS {
        let adding = (0..12).zip(contents.iter().cycle()).map(|(task, content)| {
            let content = Arc::clone(content);
            async move {
                let same = Bytes::from(format!("{round} ").repeat(5000));
                let stored = match task % 3 {
                    0 => content.add(same.clone()).await.unwrap(),
                    1 => content.unsafe_add(content.hash_function().hash(&same), same.clone()).await.unwrap(),
                    _ => add_in_batch(&*content, same.clone()).await,
                };
                assert_eq!(content.find(&stored).await.unwrap(), Some(same), "I8");
                stored
            }
        });
        let stored: BTreeSet<_> = together(adding).await.into_iter().collect();
        assert_eq!(stored.len(), 1);
        for content in &contents {
            for key in &stored {
                assert!(content.find(key).await.unwrap().is_some(), "I8: a key stays readable");
            }
        }
    }
    for content in contents {
        assert_eq!(keys(&*content).await.len(), ROUNDS);
    }
}

async fn add_in_batch(content: &dyn Indexed, value: Bytes) -> ContentKey {
    content.batch(|batch| async move { batch.add(value).await }).await.unwrap()
}

async fn i8_concurrent_adds_of_one_value_all_give_readable_keys(store: Store) {
    let instance = store.open().await;
    add_concurrently(vec![instance.content(), instance.content()]).await;
}

async fn i8_concurrent_adds_of_one_value_by_several_instances(store: Store) {
    let (one, two) = (store.open().await, store.open().await);
    add_concurrently(vec![one.content(), two.content()]).await;
}
