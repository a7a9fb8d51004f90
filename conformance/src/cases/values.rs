//! V1: a value is 0 to 64 MiB of any bytes, in both stores.

use std::iter::successors;

use bytes::Bytes;
use store_api::{ContentKey, Effect, EntryReadExt, Key, MAX_VALUE_LEN, TestAndSet};

use crate::{
    case::{Case, case},
    context::{Context, key},
    failure::{Outcome, ensure, ensure_eq, expect_error},
    operations::value,
};

pub(super) const CASES: &[Case] = &[
    case!("value/V1-an-empty-value-is-not-absent", [Entries], empty_value),
    case!("value/V1-an-empty-content-is-not-absent", [Content], empty_content),
    case!("value/V1-any-bytes-of-any-length-are-kept", [Entries], any_values),
    case!("value/V1-any-content-of-any-length-is-kept", [Content], any_contents),
    case!("value/V1-what-was-read-stays-what-it-was", [Entries], what_was_read),
    case!("value/V1-the-longest-value-is-kept", [Entries], longest_value),
    case!("value/V1-the-longest-content-is-kept", [Content], longest_content),
    case!("value/V1-a-longer-value-is-refused-and-nothing-written", [Entries], longer_value),
    case!("value/V1-a-longer-content-is-refused-and-nothing-written", [Content], longer_content),
];

async fn empty_value(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, empty) = (key("k"), Bytes::new());
    entries.set(&k, empty.clone()).await?;
    ensure!(entries.mem(&k).await?, "`mem` of an empty value is false");
    ensure_eq!(entries.find(&k).await?, Some(empty.clone()), "`find` of an empty value");
    ensure_eq!(entries.entries_sorted(&k).await?, [(k.clone(), empty.clone())], "the entries");
    let verdict = entries.test_and_set(&k, None, Some(value("1"))).await?;
    ensure_eq!(verdict, TestAndSet::Mismatch { current: Some(empty.clone()) }, "absent tested for, empty there");
    entries.remove(&k).await?;
    let verdict = entries.test_and_set(&k, Some(empty.clone()), Some(value("1"))).await?;
    ensure_eq!(verdict, TestAndSet::Mismatch { current: None }, "empty tested for, absent there");
    ensure_eq!(entries.find(&k).await?, None, "`find` afterwards");
    ensure!(!entries.mem(&k).await?, "`mem` of what was removed is true");
    Ok(())
}

async fn empty_content(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let hash = content.hash_function().hash(b"");
    ensure_eq!(content.find(&ContentKey::from(hash)).await?, None, "`find` of the empty value before it is added");
    ensure_eq!(content.index(&hash).await?, None, "`index` of the empty value before it is added");
    let stored = content.add(Bytes::new()).await?;
    ensure_eq!(content.find(&stored).await?, Some(Bytes::new()), "`find` of the empty value");
    ensure!(content.mem(&stored).await?, "`mem` of the empty value is false");
    ensure_eq!(content.index(&hash).await?, Some(stored), "`index` of the empty value");
    Ok(())
}

/// Lengths around those at which a store may change how it keeps a value.
fn lengths() -> impl Iterator<Item = usize> {
    successors(Some(1), |len| (*len < 1 << 20).then_some(len * 2)).flat_map(|len| [len - 1, len, len + 1])
}

/// So many bytes, each of the 256 among them, that are not UTF-8 and differ for each seed.
fn bytes_of(len: usize, seed: usize) -> Bytes {
    (0..len).map(|i| (i.wrapping_mul(7) + i / 256 + seed).to_le_bytes()[0] ^ 0xff).collect()
}

async fn any_values(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    for (i, len) in lengths().enumerate() {
        let (k, one, other) = (key(i.to_string()), bytes_of(len, 1), bytes_of(len, 2));
        entries.set(&k, one.clone()).await?;
        ensure_eq!(entries.find(&k).await?, Some(one.clone()), "a value of {len} bytes");
        let verdict = entries.test_and_set(&k, None, Some(other.clone())).await?;
        ensure_eq!(verdict, TestAndSet::Mismatch { current: Some(one.clone()) }, "a mismatch with {len} bytes");
        ensure!(
            entries.test_and_set(&k, Some(one), Some(other.clone())).await?.is_applied(),
            "{len} bytes differ from themselves"
        );
        ensure_eq!(entries.entries_sorted(&k).await?, [(k, other)], "the entry of {len} bytes");
    }
    Ok(())
}

async fn any_contents(context: Context) -> Outcome {
    let content = context.open().await?.content();
    for len in lengths() {
        let bytes = bytes_of(len, 1);
        let stored = content.add(bytes.clone()).await?;
        ensure_eq!(content.find(&stored).await?, Some(bytes), "a value of {len} bytes");
    }
    Ok(())
}

/// A value is the caller's, also when the store reuses what it lay in, and a part of a buffer is that part alone.
async fn what_was_read(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, other) = (key("k"), key("other"));
    let mut read = Vec::new();
    for (round, len) in [1, 100, 5_000, 300_000].into_iter().cycle().take(24).enumerate() {
        let buffer = bytes_of(len + 20, round);
        let part = buffer.slice(10..len + 10);
        entries.set(&k, part.clone()).await?;
        entries.set(&other, bytes_of(len, round + 1)).await?;
        read.push((part, entries.find(&k).await?));
        if round % 3 == 0 {
            entries.remove(&k).await?;
        }
    }
    entries.clear().await?;
    for (round, (written, found)) in read.into_iter().enumerate() {
        ensure_eq!(found, Some(written), "what `find` {round} gave, looked at after the entry had changed");
    }
    Ok(())
}

/// As long as a value may be, and different in every page of it.
fn longest() -> Bytes {
    let mut bytes = vec![0; MAX_VALUE_LEN];
    for (i, word) in (0_u64..).zip(bytes.chunks_exact_mut(8)) {
        word.copy_from_slice(&i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    bytes.into()
}

async fn longest_value(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, longest) = (key("x".repeat(context.max_key_len())), longest());
    entries.set(&k, longest.clone()).await?;
    ensure_eq!(entries.find(&k).await?, Some(longest.clone()), "`find` of the longest value");
    let removed = entries.test_and_set(&k, Some(longest), None).await?;
    ensure!(removed.is_applied(), "the longest value differs from itself");
    ensure_eq!(entries.find(&k).await?, None, "`find` afterwards");
    Ok(())
}

async fn longest_content(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let longest = longest();
    let stored = content.add(longest.clone()).await?;
    ensure_eq!(content.find(&stored).await?, Some(longest), "`find` of the longest value");
    Ok(())
}

fn too_long() -> Bytes {
    vec![0; MAX_VALUE_LEN + 1].into()
}

async fn longer_value(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, other, before) = (key("k"), key("other"), || Some(value("before")));
    entries.set(&k, value("before")).await?;
    let long = || Some(too_long());
    let refusals = [
        expect_error!(entries.set(&k, too_long()).await, ValueTooLarge, "`set` of an entry"),
        expect_error!(entries.set(&other, too_long()).await, ValueTooLarge, "`set` of an absent entry"),
        expect_error!(entries.test_and_set(&k, before(), long()).await, ValueTooLarge, "`test_and_set` that matches"),
        expect_error!(entries.test_and_set(&other, None, long()).await, ValueTooLarge, "`test_and_set` from absent"),
    ];
    for refusal in refusals {
        ensure_eq!(refusal.effect(), Effect::NotApplied, "the effect of `{refusal}`");
    }
    ensure_eq!(entries.entries_sorted(&Key::root()).await?, [(k, value("before"))], "the entries afterwards");
    Ok(())
}

async fn longer_content(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let hash = content.hash_function().hash(&too_long());
    let batch = content.begin().await?;
    let refusals = [
        expect_error!(content.add(too_long()).await, ValueTooLarge, "`add`"),
        expect_error!(content.unsafe_add(hash, too_long()).await, ValueTooLarge, "`unsafe_add`"),
        expect_error!(batch.add(too_long()).await, ValueTooLarge, "`add` in a batch"),
        expect_error!(batch.unsafe_add(hash, too_long()).await, ValueTooLarge, "`unsafe_add` in a batch"),
    ];
    for refusal in refusals {
        ensure_eq!(refusal.effect(), Effect::NotApplied, "the effect of `{refusal}`");
    }
    batch.commit().await?;
    ensure_eq!(content.index(&hash).await?, None, "`index` afterwards");
    ensure!(!content.mem(&ContentKey::from(hash)).await?, "`mem` afterwards is true");
    Ok(())
}
