//! I7: what a batch holds, how it ends, and that it is in nobody's way. That it is one instant is [`super::batch_instant`]'s.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use store_api::{
    Append, Batch, ContentHash, ContentKey, ContentRead, Effect, Error, ErrorKind, Indexable, Indexed, IndexedExt,
};
use tokio::sync::oneshot;

use crate::{
    Settings,
    case::{Case, case},
    clients::beside,
    content::{
        Way, add_all, add_beside_a_batch, begin, ensure_absent, ensure_all_found, ensure_found, ensure_indexed,
        ensure_listed, listed,
    },
    context::{Context, Instance, key},
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    operations::{until_answered, value},
};

pub(super) const CASES: &[Case] = &[
    case!("index/I7-a-committed-batch-is-found", [Content], committed),
    case!("index/I7-an-empty-batch-ends-like-any-other", [Content], empty),
    case!("index/I7-inside-it-reads-its-own-writes-and-the-stores", [Content], inside),
    case!("index/I7-nothing-is-seen-before-the-commit", [Content], before_the_commit),
    case!(
        "index/I7-another-instance-sees-nothing-before-the-commit-and-all-after",
        [Content, SharedInstances],
        before_and_after_in_another_instance
    ),
    case!("index/I7-aborted-or-dropped-nothing-of-it-is-found", [Content], aborted),
    case!("index/I7-what-others-added-outlives-an-abort", [Content], aborted_beside_others),
    case!("index/I7-a-closure-commits-on-ok-and-aborts-otherwise", [Content], closure),
    case!("index/I7-afterwards-it-is-closed", [Content], afterwards),
    case!("index/I7-with-its-handle-closed-it-leaves-nothing", [Content], handle_closed),
    case!("index/I7-with-its-instance-closed-it-leaves-nothing", [Content, SharedInstances], instance_closed),
    case!("index/I7-a-reopened-store-has-committed-batches-only", [Content, Reopens], reopened),
    case!("index/I7-an-open-batch-holds-up-nobody", [Content], holds_up_nobody),
    case!("index/I7-an-open-batch-holds-up-no-other-instance", [Content, SharedInstances], holds_up_no_other_instance),
    case!("index/I7-from-inside-a-batch-the-store-goes-on", [Content], from_inside),
    case!("index/I7-batches-with-equal-values-all-commit", [Content], equal_values),
    case!("index/I7-beyond-its-cap-it-refuses-and-stays-as-it-was", [Content], cap),
    case!("index/I7-it-is-capped-by-default", [Content], default_cap),
    case!("index/I7-a-batch-of-many-megabytes-commits", [Content], many_megabytes),
    case!("index/I7-a-false-hash-inside-is-corrupt-until-repaired", [Content, Verified], false_hash),
];

const ANOTHER_HANDLE: &str = "another handle";
const ANOTHER_INSTANCE: &str = "another instance";

/// Demands that nothing of a batch is there, and that `keys` lists only what is expected.
async fn ensure_nothing_of(
    content: &dyn ContentRead,
    lost: &[(ContentKey, Bytes)],
    expected: &[ContentKey],
    who: &str,
) -> Outcome {
    for (key, _) in lost {
        ensure_absent(content, &key.to_hash(), who).await?;
        // With the locator that the batch gave, too.
        ensure_eq!(content.find(key).await?, None, "{who} gives by `find` of {key}, which is not there");
    }
    ensure_listed(content, expected.iter().copied(), who).await
}

async fn committed(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    let batch = begin(&context, &*content).await?;
    let added = add_all(&*batch, (0..100).map(value)).await?;
    for (key, value) in &added {
        ensure_eq!(key.to_hash(), content.hash_function().hash(value), "the hash of a key that a batch gives");
    }
    batch.commit().await?;
    for content in [content, instance.content()] {
        ensure_all_found(&*content, &added, "a handle, after the commit,").await?;
        for (_, value) in &added {
            ensure_indexed(&*content, value, "a handle, after the commit,").await?;
        }
        ensure_listed(&*content, added.iter().map(|(key, _)| *key), "a handle, after the commit,").await?;
    }
    Ok(())
}

async fn empty(context: Context) -> Outcome {
    let content = context.open().await?.content();
    begin(&context, &*content).await?.commit().await?;
    begin(&context, &*content).await?.abort().await?;
    drop(begin(&context, &*content).await?);
    ensure_nothing_of(&*content, &[], &[], "a handle, after empty batches,").await
}

async fn inside(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let outside = content.add(value("outside")).await?;
    let batch = begin(&context, &*content).await?;
    ensure_eq!(batch.hash_function(), content.hash_function(), "the hash function of a batch");
    let own = batch.add(value("own")).await?;
    let unchecked = batch.unsafe_add(batch.hash_function().hash(b"unchecked"), value("unchecked")).await?;
    let again = batch.add(value("outside")).await?;
    let empty = batch.add(Bytes::new()).await?;
    let expected = [(own, "own"), (unchecked, "unchecked"), (again, "outside"), (outside, "outside"), (empty, "")];
    let expected = expected.map(|(key, text)| (key, value(text)));
    ensure_all_found(&*batch, &expected, "a batch, from inside,").await?;
    for (_, value) in &expected {
        ensure_indexed(&*batch, value, "a batch, from inside,").await?;
    }
    // What is in the batch, in the store, and in both.
    ensure_listed(&*batch, [own, unchecked, outside, empty], "a batch, from inside,").await?;
    ensure_absent(&*batch, &batch.hash_function().hash(b"absent"), "a batch, from inside,").await?;
    let later = add_beside_a_batch(&context, &*content, Way::Add, value("later")).await?;
    ensure_found(&*batch, &later, &value("later"), "a batch, from inside, asked for what the store got meanwhile,")
        .await?;
    batch.commit().await?;
    ensure_all_found(&*content, &expected, "a handle, after the commit,").await
}

async fn before_the_commit(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    let (batch, other_batch) = (begin(&context, &*content).await?, begin(&context, &*content).await?);
    let mut added = Vec::new();
    for i in 0..4 {
        added.extend(add_all(&*batch, [value(i)]).await?);
        ensure_nothing_of(&*content, &added, &[], "its own handle, before the commit,").await?;
        ensure_nothing_of(&*instance.content(), &added, &[], "another handle, before the commit,").await?;
        ensure_nothing_of(&*other_batch, &added, &[], "another batch, before the commit,").await?;
    }
    batch.commit().await?;
    ensure_all_found(&*content, &added, "its own handle, after the commit,").await?;
    ensure_all_found(&*other_batch, &added, "another batch, after the commit,").await
}

async fn before_and_after_in_another_instance(context: Context) -> Outcome {
    let (one, other) = (context.open().await?.content(), context.open().await?.content());
    let kept = other.add(value("kept")).await?;
    let (committed, aborted) = (begin(&context, &*one).await?, begin(&context, &*one).await?);
    let added = add_all(&*committed, (0..10).map(value)).await?;
    let lost = add_all(&*aborted, (10..20).map(value)).await?;
    ensure_nothing_of(&*other, &added, &[kept], "another instance, before the commit,").await?;
    aborted.abort().await?;
    committed.commit().await?;
    ensure_all_found(&*other, &added, "another instance, after the commit,").await?;
    let expected: Vec<ContentKey> = added.iter().map(|(key, _)| *key).chain([kept]).collect();
    ensure_nothing_of(&*other, &lost, &expected, "another instance, after the abort,").await
}

async fn aborted(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    let kept = content.add(value("kept")).await?;
    let (aborted, dropped) = (begin(&context, &*content).await?, begin(&context, &*content).await?);
    let mut lost = Vec::new();
    for batch in [&aborted, &dropped] {
        batch.add(value("kept")).await?;
        lost.extend(add_all(&**batch, (0..10).map(value)).await?);
    }
    aborted.abort().await?;
    drop(dropped);
    ensure_nothing_of(&*content, &lost, &[kept], "its own handle, after the abort,").await?;
    ensure_nothing_of(&*instance.content(), &lost, &[kept], "another handle, after the abort,").await?;
    ensure_found(&*content, &kept, &value("kept"), "a handle, asked for what was there before").await
}

async fn aborted_beside_others(context: Context) -> Outcome {
    let content = context.open().await?.content();
    for (round, end) in ["aborted", "dropped"].into_iter().enumerate() {
        let batch = begin(&context, &*content).await?;
        let values: Vec<Bytes> = (0..Way::ALL.len()).map(|i| value(format_args!("{end} {i}"))).collect();
        add_all(&*batch, values.clone()).await?;
        let mut others = Vec::new();
        for (way, value) in Way::ALL.into_iter().zip(values) {
            others.push((add_beside_a_batch(&context, &*content, way, value.clone()).await?, value));
        }
        if round == 0 {
            batch.abort().await?;
        }
        drop(batch);
        ensure_all_found(&*content, &others, "a handle, asked for what others added beside an aborted batch,").await?;
    }
    Ok(())
}

async fn closure(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let fine = content.batch(|batch| async move { batch.add(value("fine")).await }).await?;
    ensure_found(&*content, &fine, &value("fine"), "a handle, after the closure's `Ok`,").await?;

    let failed: Result<(), Error> = content
        .batch(|batch| async move {
            batch.add(value("failed")).await?;
            Err(Error::new(ErrorKind::InvalidInput, "the closure's own"))
        })
        .await;
    expect_error!(failed, InvalidInput, "a closure that fails");

    let ended: Result<(), Error> = content
        .batch(|batch| async move {
            batch.abort().await?;
            Err(Error::new(ErrorKind::InvalidInput, "the closure's own"))
        })
        .await;
    expect_error!(ended, InvalidInput, "a closure that fails after it ended its batch");

    let (say, added) = oneshot::channel();
    let body = content.batch(|batch| async move {
        batch.add(value("dropped")).await?;
        // Who listens drops this closure.
        let _ = say.send(());
        std::future::pending::<Result<(), Error>>().await
    });
    tokio::select! {
        ended = body => ended?,
        told = added => told.map_err(Failure::harness)?,
    }
    let lost = ["failed", "dropped"].map(|text| (content.hash_function().hash(text.as_bytes()).into(), value(text)));
    ensure_nothing_of(&*content, &lost, &[fine], "a handle, after a closure's `Err` and a dropped one,").await
}

/// Demands that every operation of a batch is refused.
async fn ensure_batch_closed(batch: &dyn Batch, key: &ContentKey, when: &str) -> Outcome {
    let hash = key.to_hash();
    let answers = [
        ("add", batch.add(value("2")).await.map(drop)),
        ("unsafe_add", batch.unsafe_add(hash, value("1")).await.map(drop)),
        ("find", batch.find(key).await.map(drop)),
        ("mem", batch.mem(key).await.map(drop)),
        ("index", batch.index(&hash).await.map(drop)),
        ("keys", batch.keys().try_collect::<Vec<_>>().await.map(drop)),
        ("commit", batch.commit().await),
        ("abort", batch.abort().await),
    ];
    for (operation, answer) in answers {
        let refusal = expect_error!(answer, Closed, "`{operation}` of a batch {when}");
        ensure_eq!(refusal.effect(), Effect::NotApplied, "the effect of `{operation}` of a batch {when}");
    }
    Ok(())
}

async fn afterwards(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let stored = content.add(value("1")).await?;
    let (committed, aborted) = (begin(&context, &*content).await?, begin(&context, &*content).await?);
    committed.commit().await?;
    aborted.abort().await?;
    ensure_batch_closed(&*committed, &stored, "that was committed").await?;
    ensure_batch_closed(&*aborted, &stored, "that was aborted").await?;
    let refused = [(content.hash_function().hash(b"2").into(), value("2"))];
    ensure_nothing_of(&*content, &refused, &[stored], "a handle, after all was refused,").await
}

async fn handle_closed(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (closing, staying) = (instance.content(), instance.content());
    let batch = closing.begin().await?;
    let added = add_all(&*batch, (0..5).map(value)).await?;
    closing.close().await?;
    ensure_batch_closed(&*batch, &added[0].0, "whose handle was closed").await?;
    drop(batch);
    ensure_nothing_of(&*staying, &added, &[], ANOTHER_HANDLE).await
}

async fn instance_closed(context: Context) -> Outcome {
    let (closing, staying) = (context.open().await?, context.open().await?);
    let batch = closing.content().begin().await?;
    let added = add_all(&*batch, (0..5).map(value)).await?;
    closing.close().await?;
    ensure_batch_closed(&*batch, &added[0].0, "whose instance was closed").await?;
    drop(batch);
    ensure_nothing_of(&*staying.content(), &added, &[], ANOTHER_INSTANCE).await
}

async fn reopened(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    let batches =
        [begin(&context, &*content).await?, begin(&context, &*content).await?, begin(&context, &*content).await?];
    let [committed, aborted, left_open] = &batches;
    let kept = add_all(&**committed, (0..10).map(value)).await?;
    let mut lost = add_all(&**aborted, (10..20).map(value)).await?;
    lost.extend(add_all(&**left_open, (20..30).map(value)).await?);
    committed.commit().await?;
    aborted.abort().await?;
    instance.close().await?;
    let content = context.open().await?.content();
    ensure_all_found(&*content, &kept, "a reopened store").await?;
    let expected: Vec<ContentKey> = kept.iter().map(|(key, _)| *key).collect();
    ensure_nothing_of(&*content, &lost, &expected, "a reopened store").await
}

/// Every kind of operation, on handles of their own.
async fn use_the_store(instance: &Instance, tag: &'static str) -> Outcome {
    if let Some(entries) = instance.atomic_write() {
        let (name, entry) = (key(tag), value(tag));
        entries.set(&name, entry.clone()).await?;
        ensure!(entries.test_and_set(&name, Some(entry.clone()), None).await?.is_applied(), "A2: a false mismatch");
        ensure_eq!(entries.find(&name).await?, None, "A2: a key that was removed");
        entries.clear().await?;
    }
    let content = instance.content();
    for way in Way::ALL {
        let added = value(format_args!("{tag} {way:?}"));
        let key = way.add(&*content, added.clone()).await?;
        ensure_found(&*content, &key, &added, ANOTHER_HANDLE).await?;
        ensure!(listed(&*content).await?.contains(&key), "A7: `keys` lacks what was added");
    }
    content.begin().await?.abort().await?;
    instance.sync().await?;
    Ok(())
}

/// Lets another client use the store while a batch is open, on a thread of its own.
async fn used_beside_a_batch(context: &Context, batching: Arc<dyn Indexable>, using: Instance) -> Outcome {
    let batch = batching.begin().await?;
    let mut added = add_all(&*batch, (0..20).map(value)).await?;
    let using = beside(async move { until_answered(|| use_the_store(&using, "beside")).await }).await?;
    context.soon("operations of others while a batch is open", using).await???;
    added.extend(add_all(&*batch, [value("later")]).await?);
    batch.commit().await?;
    ensure_all_found(&*batching, &added, "a handle, after the commit,").await
}

async fn holds_up_nobody(context: Context) -> Outcome {
    let instance = context.open().await?;
    used_beside_a_batch(&context, instance.content(), instance).await
}

async fn holds_up_no_other_instance(context: Context) -> Outcome {
    let (one, other) = (context.open().await?, context.open().await?);
    used_beside_a_batch(&context, one.content(), other).await
}

async fn from_inside(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    let inside = async move {
        let batch = content.begin().await?;
        let stored = batch.add(value("in the batch")).await?;
        until_answered(|| use_the_store(&instance, "inside")).await?;
        ensure_found(&*batch, &stored, &value("in the batch"), "a batch, after other operations,").await?;
        batch.commit().await?;
        ensure_found(&*content, &stored, &value("in the batch"), "a handle, after the commit,").await
    };
    let inside = beside(inside).await?;
    context.soon("operations from inside a batch", inside).await??
}

async fn equal_values(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let (one, other) = (begin(&context, &*content).await?, begin(&context, &*content).await?);
    let mut added = add_all(&*one, (0..10).map(value)).await?;
    added.extend(add_all(&*other, (5..15).map(value)).await?);
    added.push((add_beside_a_batch(&context, &*content, Way::Add, value(7)).await?, value(7)));
    let (first, second) = context.soon("two commits", async { tokio::join!(one.commit(), other.commit()) }).await?;
    first?;
    second?;
    ensure_all_found(&*content, &added, "a handle, after both commits,").await?;
    ensure_listed(&*content, added.into_iter().map(|(key, _)| key), "a handle, after both commits,").await
}

fn large(byte: u8) -> Bytes {
    vec![byte; 600_000].into()
}

async fn cap(context: Context) -> Outcome {
    let settings = Settings { batch_limit: Some(1_000_000), ..Settings::default() };
    let content = context.open_with(&settings).await?.content();
    let batch = begin(&context, &*content).await?;
    let mut kept = add_all(&*batch, [large(1)]).await?;
    let hash = batch.hash_function().hash(&large(2));
    let refusals = [
        ("add", batch.add(large(2)).await.map(drop)),
        ("unsafe_add", batch.unsafe_add(hash, large(2)).await.map(drop)),
    ];
    for (operation, refusal) in refusals {
        let refusal = expect_error!(refusal, ValueTooLarge, "`{operation}` beyond the cap of a batch");
        ensure_eq!(refusal.effect(), Effect::NotApplied, "the effect of `{operation}` beyond the cap");
    }
    ensure_absent(&*batch, &hash, "a batch, asked for what it refused,").await?;
    kept.extend(add_all(&*batch, [value("small")]).await?);
    ensure_all_found(&*batch, &kept, "a batch, after a refusal,").await?;
    batch.commit().await?;
    ensure_all_found(&*content, &kept, "a handle, after the commit,").await?;
    ensure_absent(&*content, &hash, "a handle, asked for what the batch refused,").await?;
    let after = add_all(&*content, [large(2)]).await?;
    ensure_all_found(&*content, &after, "a handle: the cap is the batch's, not the store's,").await
}

/// More than a batch holds by default, of one value under many hashes: where a batch buffers, that takes the room of one.
async fn default_cap(context: Context) -> Outcome {
    const LEN: usize = 60 << 20;
    let content = context.open().await?.content();
    let same = Bytes::from(vec![0; LEN]);
    let batch = begin(&context, &*content).await?;
    let mut held = 0;
    let refusal = loop {
        let hash = ContentHash::new([held; ContentHash::LEN]);
        match batch.unsafe_add(hash, same.clone()).await {
            Ok(_) => held += 1,
            Err(refusal) => break refusal,
        }
        ensure!(
            usize::from(held) * LEN <= 256 << 20,
            "a batch holds {held} values of 60 MiB: more than the 256 MiB that are its cap unless told otherwise"
        );
    };
    let refusal = expect_error!(Err::<(), _>(refusal), ValueTooLarge, "`unsafe_add` beyond the cap of a batch");
    ensure_eq!(refusal.effect(), Effect::NotApplied, "the effect of `unsafe_add` beyond the cap");
    batch.abort().await?;
    ensure_listed(&*content, [], "a handle, after the abort,").await
}

async fn many_megabytes(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let large = |byte: u8| Bytes::from(vec![byte; 4 << 20]);
    let batch = begin(&context, &*content).await?;
    let added = add_all(&*batch, (0..4).map(large)).await?;
    batch.commit().await?;
    ensure_all_found(&*content, &added, "a handle, after the commit,").await
}

async fn false_hash(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let truth = value("truth");
    let hash = content.hash_function().hash(&truth);
    let batch = begin(&context, &*content).await?;
    let stored = batch.unsafe_add(hash, value("false")).await?;
    expect_error!(
        batch.find(&stored).await,
        Corrupt,
        "I6: `find` inside a batch of bytes that do not match their hash"
    );
    batch.commit().await?;
    expect_error!(content.find(&stored).await, Corrupt, "I6: `find` of bytes that do not match their hash");

    let batch = begin(&context, &*content).await?;
    batch.add(truth.clone()).await?;
    ensure_found(&*batch, &stored, &truth, "a batch, whose own writes come before the store's,").await?;
    expect_error!(content.find(&stored).await, Corrupt, "`find` before the repair is committed");
    batch.commit().await?;
    ensure_found(&*content, &stored, &truth, "a handle, after the repair was committed,").await
}
