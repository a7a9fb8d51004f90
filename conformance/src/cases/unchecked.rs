//! I4 and I6: values under a hash that nobody checked, and bytes that do not match theirs.

use bytes::Bytes;
use store_api::{ContentKey, ContentRead, ContentReadExt, ErrorKind, Indexable};

use crate::{
    Settings,
    case::{Case, case},
    content::{
        Way, add_all, ensure_absent, ensure_all_found, ensure_found, ensure_indexed, ensure_listed, listed,
        values_of_many_lengths,
    },
    context::Context,
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    operations::value,
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("index/I4-unsafe-add-with-the-true-hash-is-add", [Content], the_true_hash),
    case!("index/I4-a-false-value-hurts-only-its-hash", [Content], hurts_only_its_hash),
    case!("index/I4-the-true-value-repairs-a-false-one", [Content], repaired),
    case!("index/I4-a-repair-by-another-instance-is-seen", [Content, SharedInstances], repaired_by_another_instance),
    case!("index/I4-a-repair-outlives-a-reopen", [Content, Reopens], repaired_after_a_reopen),
    case!("index/I4-a-false-value-over-the-true-one-is-never-given", [Content], over_the_true_one),
    case!("index/I4-without-verification-the-false-value-is-given", [Content], without_verification),
    case!("index/I6-bytes-that-do-not-match-their-hash-are-corrupt", [Content], mismatching_bytes),
    case!(
        "index/I6-another-instance-gives-no-bytes-that-do-not-match",
        [Content, SharedInstances],
        mismatching_bytes_in_another_instance
    ),
];

/// True values, and false ones that are stored under the hash of those.
fn falsehoods() -> Vec<(Bytes, Bytes)> {
    let long = |byte: u8| Bytes::from(vec![byte; 300_000]);
    vec![
        (value("truth"), value("false")),
        (value("truth, longer"), value("short")),
        (value("brief"), value("a falsehood that is longer")),
        (value(""), value("not empty")),
        (value("not nothing"), value("")),
        (long(b't'), long(b'f')),
        (long(b'u'), value("short for a long one")),
        (value("short, and the other long"), long(b'g')),
    ]
}

/// Stores a false value under the hash of the true one.
async fn spoil(content: &dyn Indexable, truth: &Bytes, falsehood: &Bytes) -> Outcome<ContentKey> {
    let hash = content.hash_function().hash(truth);
    let key = content.unsafe_add(hash, falsehood.clone()).await?;
    ensure_eq!(key.to_hash(), hash, "the hash of the key that `unsafe_add` gives");
    Ok(key)
}

/// Demands that bytes that do not match their hash are told from those that do.
async fn ensure_corrupt(content: &dyn ContentRead, key: &ContentKey, who: &str) -> Outcome {
    for key in [*key, key.to_hash().into()] {
        expect_error!(content.find(&key).await, Corrupt, "{who}: `find` of bytes that do not match their hash");
    }
    if content.index(&key.to_hash()).await?.is_some() {
        let resolved = content.resolve(&key.to_hash()).await;
        expect_error!(resolved, Corrupt, "{who}: `resolve` of bytes that do not match their hash");
    }
    Ok(())
}

async fn the_true_hash(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let mut added = Vec::new();
    for value in values_of_many_lengths() {
        let hash = content.hash_function().hash(&value);
        let key = content.unsafe_add(hash, value.clone()).await?;
        ensure_eq!(key.to_hash(), hash, "the hash of the key that `unsafe_add` gives");
        ensure_indexed(&*content, &value, "a handle").await?;
        ensure_eq!(content.add(value.clone()).await?, key, "the key that `add` gives for the same value");
        added.push((key, value));
    }
    ensure_all_found(&*content, &added, "a handle").await?;
    ensure_listed(&*content, added.iter().map(|(key, _)| *key), "a handle").await
}

async fn hurts_only_its_hash(context: Context) -> Outcome {
    for (truth, falsehood) in falsehoods() {
        let content = context.another_store().await?.open().await?.content();
        let others = add_all(&*content, ["another", "yet another"].map(value)).await?;
        let own = content.hash_function().hash(&falsehood);
        let key = spoil(&*content, &truth, &falsehood).await?;
        ensure_corrupt(&*content, &key, "the handle that added").await?;
        ensure_absent(&*content, &own, "a handle, asked for the hash of the false value,").await?;
        ensure_all_found(&*content, &others, "a handle, asked for another value,").await?;
        let keys = listed(&*content).await?;
        ensure!(
            others.iter().all(|(key, _)| keys.contains(key)),
            "a false `unsafe_add` takes another key out of `keys`"
        );
        ensure!(!keys.contains(&own.into()), "a false `unsafe_add` brings the hash of the false value into `keys`");

        let own = content.add(falsehood.clone()).await?;
        ensure_found(&*content, &own, &falsehood, "a handle, asked for the false value by its own hash,").await?;
        ensure_corrupt(&*content, &key, "a handle, after the false value was added under its own hash").await?;
    }
    Ok(())
}

async fn repaired(context: Context) -> Outcome {
    for way in Way::ALL {
        let instance = context.another_store().await?.open().await?;
        let (content, earlier) = (instance.content(), instance.content());
        let others = add_all(&*content, [value("another"), value("yet another")]).await?;
        for (truth, falsehood) in falsehoods() {
            let spoiled = spoil(&*content, &truth, &falsehood).await?;
            ensure_corrupt(&*earlier, &spoiled, "another handle").await?;
            let repaired = way.add(&*content, truth.clone()).await?;
            for key in [repaired, spoiled, spoiled.to_hash().into()] {
                ensure_found(&*earlier, &key, &truth, "another handle, after the true value was added,").await?;
            }
            ensure_indexed(&*content, &truth, "the handle that repaired").await?;
            ensure_all_found(&*content, &others, "a handle, asked for another value,").await?;
        }
        let function = content.hash_function();
        let repaired = falsehoods().into_iter().map(|(truth, _)| function.hash(&truth).into());
        ensure_listed(&*content, others.iter().map(|(key, _)| *key).chain(repaired), "a handle, after repairs,")
            .await?;
    }
    Ok(())
}

async fn repaired_by_another_instance(context: Context) -> Outcome {
    let (one, other) = (context.open().await?.content(), context.open().await?.content());
    for (i, (truth, falsehood)) in falsehoods().into_iter().enumerate() {
        let spoiled = spoil(&*one, &truth, &falsehood).await?;
        ensure_corrupt(&*one, &spoiled, "the instance that added").await?;
        ensure_corrupt(&*other, &spoiled, "another instance").await?;
        let repaired = Way::nth(i).add(&*other, truth.clone()).await?;
        for content in [&one, &other] {
            for key in [spoiled, repaired] {
                ensure_found(&**content, &key, &truth, "an instance, after the true value was added,").await?;
            }
        }
    }
    Ok(())
}

async fn repaired_after_a_reopen(context: Context) -> Outcome {
    let instance = context.open().await?;
    let mut spoiled = Vec::new();
    for (truth, falsehood) in falsehoods() {
        spoiled.push((spoil(&*instance.content(), &truth, &falsehood).await?, truth));
    }
    instance.close().await?;
    let instance = context.open().await?;
    let content = instance.content();
    for (i, (key, truth)) in spoiled.iter().enumerate() {
        ensure_corrupt(&*content, key, "a reopened store").await?;
        Way::nth(i).add(&*content, truth.clone()).await?;
        ensure_found(&*content, key, truth, "a reopened store, after the true value was added,").await?;
    }
    instance.close().await?;
    ensure_all_found(&*context.open().await?.content(), &spoiled, "a store reopened after the repair").await
}

async fn over_the_true_one(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let others = add_all(&*content, [value("another"), value("false")]).await?;
    for (i, (truth, falsehood)) in falsehoods().into_iter().enumerate() {
        let key = Way::nth(i).add(&*content, truth.clone()).await?;
        spoil(&*content, &truth, &falsehood).await?;
        match content.find(&key).await {
            Ok(found) => ensure_eq!(found.as_ref(), Some(&truth), "`find` of the hash of {}", shown(&truth)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error.into()),
        }
        ensure_all_found(&*content, &others, "a handle, asked for another value,").await?;
        Way::nth(i + 1).add(&*content, truth.clone()).await?;
        ensure_found(&*content, &key, &truth, "a handle, after the true value was added again,").await?;
    }
    Ok(())
}

async fn without_verification(context: Context) -> Outcome {
    let settings = Settings { verify: Some(false), ..Settings::default() };
    let content = context.open_with(&settings).await?.content();
    let others = add_all(&*content, [value("another"), value("false")]).await?;
    for (i, (truth, falsehood)) in falsehoods().into_iter().enumerate() {
        let key = spoil(&*content, &truth, &falsehood).await?;
        ensure_found(&*content, &key, &falsehood, "a handle that does not verify").await?;
        ensure_all_found(&*content, &others, "a handle, asked for another value,").await?;
        Way::nth(i).add(&*content, truth.clone()).await?;
        ensure_found(&*content, &key, &truth, "a handle, after the true value was added,").await?;
    }
    Ok(())
}

/// Values, and bytes near to each.
fn rotten() -> impl Iterator<Item = (Bytes, Bytes)> {
    [0, 1, 33, 4097, 262_145].into_iter().flat_map(|len: usize| {
        let truth: Vec<u8> = (0..=250).cycle().take(len).collect();
        let flipped = |at: usize| {
            let mut bytes = truth.clone();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (at % 8);
            }
            bytes
        };
        let longer = [&truth[..], &[0]].concat();
        let shorter = truth[..len.saturating_sub(1)].to_vec();
        let near = [flipped(0), flipped(len / 2), flipped(len.saturating_sub(1)), longer, shorter, Vec::new()];
        let rotten: Vec<_> = near.into_iter().filter(|bytes| *bytes != truth).collect();
        rotten.into_iter().map(move |bytes| (Bytes::from(truth.clone()), Bytes::from(bytes)))
    })
}

/// Adds bytes that do not match their hash, again and again under the same hashes, and looks for them with `reader`.
async fn rotten_is_told(adding: &dyn Indexable, reader: &dyn Indexable, who: &str) -> Outcome {
    for (truth, rotten) in rotten() {
        let told = async {
            let key = spoil(adding, &truth, &rotten).await?;
            ensure_corrupt(reader, &key, who).await?;
            ensure_corrupt(&*reader.begin().await?, &key, "an open batch").await
        };
        told.await.map_err(|failure: Failure| {
            failure.within(format_args!("{} bytes in the place of {}", rotten.len(), truth.len()))
        })?;
    }
    Ok(())
}

async fn mismatching_bytes(context: Context) -> Outcome {
    let instance = context.open().await?;
    rotten_is_told(&*instance.content(), &*instance.content(), "a handle").await
}

async fn mismatching_bytes_in_another_instance(context: Context) -> Outcome {
    let (one, other) = (context.open().await?, context.open().await?);
    rotten_is_told(&*one.content(), &*other.content(), "another instance").await
}
