//! I7: how a batch ends where its commit is dropped, or others add, commit or abort beside it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use fastrand::Rng;
use store_api::{Append, Batch, ContentKey, Durability, ErrorKind, Indexable};
use tokio::task::yield_now;

use crate::{
    case::{Case, case},
    clients::{all, both},
    content::{add_all, ensure_absent, ensure_all_found, ensure_found},
    context::Context,
    failure::{Failure, Outcome, ensure, ensure_eq},
    luck::{Hopes, Luck, UnderWay},
    operations::{poll_then_drop, value},
};

pub(super) const CASES: &[Case] = &[
    case!("index/I7-a-dropped-commit-is-whole-or-nothing", [Content], dropped_commit),
    case!("index/I7-a-dropped-commit-is-whole-or-nothing-after-a-reopen", [Content, Reopens], dropped_commit_reopened),
    case!("index/I7-batches-on-many-threads-all-commit", [Content], many_batches),
    case!("index/I7-an-add-beside-the-commit-is-in-or-refused", [Content], add_beside_the_commit),
    case!("index/I7-of-commit-and-abort-at-once-one-decides", [Content], commit_beside_abort),
];

/// Whether a batch is there: all of it or nothing.
async fn is_there(content: &dyn Indexable, batch: &[(ContentKey, Bytes)]) -> Outcome<bool> {
    let Some(((last, _), others)) = batch.split_last() else { return Ok(false) };
    let there = content.find(last).await?.is_some();
    if there {
        ensure_all_found(content, others, "a handle that has found one value of a dropped commit").await?;
    }
    Ok(there)
}

/// [`is_there`] once it cannot change any more.
async fn ensure_whole_or_nothing(content: &dyn Indexable, batch: &[(ContentKey, Bytes)]) -> Outcome<bool> {
    let there = is_there(content, batch).await?;
    if !there {
        for (key, _) in batch {
            ensure_absent(content, &key.to_hash(), "a handle that has not found one value of a dropped commit").await?;
        }
    }
    Ok(there)
}

/// Polls a commit so often that it may have begun, and drops it; the batch, and whether it was acknowledged.
async fn drop_commit(content: &dyn Indexable, round: usize, polls: usize) -> Outcome<(Vec<(ContentKey, Bytes)>, bool)> {
    let batch = content.begin().await?;
    let added = add_all(&*batch, (0..20).map(|i| value(format_args!("{round} {i}")))).await?;
    let acknowledged = poll_then_drop(batch.commit(), polls).await.transpose()?.is_some();
    Ok((added, acknowledged))
}

/// From none to as many as an embedded engine needs.
fn growing_polls(rounds: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rounds).map(|round| (round, if round % 12 == 0 { 0 } else { 1 << (round % 12 - 1) }))
}

async fn dropped_commit(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (content, other) = (instance.content(), instance.content());
    let mut dropped = Vec::new();
    for (round, polls) in growing_polls(context.rounds(24)) {
        let (batch, acknowledged) = drop_commit(&*content, round, polls).await?;
        let there = is_there(&*other, &batch).await?;
        ensure!(there || !acknowledged, "an acknowledged commit is not there");
        let (after, found) = (value(format_args!("after {round}")), "a handle, after a dropped commit,");
        ensure_found(&*other, &content.add(after.clone()).await?, &after, found).await?;
        dropped.push((batch, there));
    }
    instance.sync().await?;
    for (batch, there_before) in dropped {
        let there = is_there(&*other, &batch).await?;
        ensure!(there || !there_before, "a batch that was there is there no longer");
        // A service may take it up later still (A9).
        if context.guarantees().durability != Durability::Service {
            let settled = ensure_whole_or_nothing(&*other, &batch).await?;
            ensure_eq!(settled, there, "A9: whether a dropped commit took effect, after a `sync` and later");
        }
    }
    Ok(())
}

async fn dropped_commit_reopened(context: Context) -> Outcome {
    for (round, polls) in growing_polls(context.rounds(12)) {
        let instance = context.open().await?;
        let (batch, acknowledged) = drop_commit(&*instance.content(), round, polls).await?;
        let there_before = is_there(&*instance.content(), &batch).await?;
        instance.close().await?;
        let instance = context.open().await?;
        let content = instance.content();
        let there = is_there(&*content, &batch).await?;
        ensure!(there || !acknowledged, "an acknowledged commit is lost by a reopen");
        ensure!(there || !there_before, "a batch that was there is lost by a reopen");
        if context.guarantees().durability != Durability::Service {
            ensure_whole_or_nothing(&*content, &batch).await?;
        }
        instance.close().await?;
    }
    Ok(())
}

/// Commits batches that share values with those of other threads, and adds such values one by one.
async fn batches_of_a_client(
    content: Arc<dyn Indexable>,
    mut random: Rng,
    luck: Arc<Luck>,
    commits: Arc<UnderWay>,
) -> Outcome {
    for round in luck.rounds() {
        let from = 50 * round + random.usize(..60);
        let mut values: Vec<Bytes> = (from..from + random.usize(1..40)).map(value).collect();
        random.shuffle(&mut values);
        let batch = content.begin().await?;
        let added = add_all(&*batch, values.clone()).await?;
        let single = random.choice(values).unwrap_or_default();
        let key = content.add(single.clone()).await?;
        commits.beside(&luck, batch.commit()).await?;
        ensure_all_found(&*content, &added, "a handle, after a commit beside others,").await?;
        ensure_found(&*content, &key, &single, "a handle, after a commit beside others,").await?;
    }
    Ok(())
}

async fn many_batches(context: Context) -> Outcome {
    let instance = context.open().await?;
    let mut random = context.random();
    let (luck, commits) = (context.luck(MANY_COMMITS.of_clients(2)), Arc::new(UnderWay::default()));
    let client = |_| {
        let (luck, commits) = (Arc::clone(&luck), Arc::clone(&commits));
        let working = batches_of_a_client(instance.content(), random.fork(), Arc::clone(&luck), commits);
        async move { working.await.inspect_err(|_| luck.give_up()) }
    };
    all((0..4).map(client).collect::<Vec<_>>()).await?;
    luck.judge("commits began while another one was under way")
}

/// How many commits are to begin while another one is under way.
const MANY_COMMITS: Hopes = Hopes { floor: 5, enough: 30, rounds: [15, 500] };

/// How often what is called beside the end of a batch is to be under way together with it.
const BESIDE_THE_END: Hopes = Hopes { floor: 5, enough: 50, rounds: [25, 2_000] };

/// How far the commit of a batch is.
struct TheEnd {
    begun: AtomicBool,
    done: AtomicBool,
    /// Counts the adds that were under way when it began.
    luck: Arc<Luck>,
}

/// Adds to a batch until it is closed, or holds enough: what was taken, and what was refused.
async fn add_until_closed(batch: Arc<dyn Batch>, end: Arc<TheEnd>, round: usize) -> Outcome<Vec<(Bytes, bool)>> {
    const ENOUGH: usize = 300;
    let mut answers = Vec::new();
    for i in 0..ENOUGH {
        let (before, after_the_end) = (!end.begun.load(Ordering::SeqCst), end.done.load(Ordering::SeqCst));
        let added = value(format_args!("{round} {i}"));
        let answer = batch.add(added.clone()).await;
        if before && end.begun.load(Ordering::SeqCst) {
            end.luck.meet();
        }
        match answer {
            Ok(_) if after_the_end => return Err(Failure::broken("`add` after the end of its batch is not `Closed`")),
            Ok(_) => answers.push((added, true)),
            Err(error) if error.kind() == ErrorKind::Closed => {
                answers.push((added, false));
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(answers)
}

async fn add_beside_the_commit(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let mut random = context.random();
    let luck = context.luck(BESIDE_THE_END.of_clients(2));
    for round in luck.rounds() {
        let batch: Arc<dyn Batch> = content.begin().await?.into();
        let [begun, done] = [false; 2].map(AtomicBool::new);
        let end = Arc::new(TheEnd { begun, done, luck: Arc::clone(&luck) });
        let adding = add_until_closed(Arc::clone(&batch), Arc::clone(&end), round);
        let yields = random.usize(..30);
        let commit = async move {
            for _ in 0..yields {
                yield_now().await;
            }
            end.begun.store(true, Ordering::SeqCst);
            let committed = batch.commit().await;
            end.done.store(true, Ordering::SeqCst);
            Ok(committed?)
        };
        let (answers, ()) = both(adding, commit).await?;
        for (added, taken) in answers {
            let there = content.find(&content.hash_function().hash(&added).into()).await?.is_some();
            ensure!(there || !taken, "an `add` that a batch took beside its commit is not there");
            ensure!(taken || !there, "an `add` that a batch refused beside its commit is there");
        }
    }
    luck.judge("adds were under way when a commit began")
}

async fn commit_beside_abort(context: Context) -> Outcome {
    let content = context.open().await?.content();
    let (luck, ends) = (context.luck(BESIDE_THE_END.of_clients(2)), Arc::new(UnderWay::default()));
    for round in luck.rounds() {
        let batch: Arc<dyn Batch> = content.begin().await?.into();
        let added = add_all(&*batch, (0..5).map(|i| value(format_args!("{round} {i}")))).await?;
        let (committing, aborting) = (Arc::clone(&batch), batch);
        let [one, other] = [(); 2].map(|()| (Arc::clone(&luck), Arc::clone(&ends)));
        let commit = async move { Ok(decided(one.1.beside(&one.0, committing.commit()).await)?) };
        let abort = async move { Ok(decided(other.1.beside(&other.0, aborting.abort()).await)?) };
        let (committed, aborted) = both(commit, abort).await?;
        ensure!(!(committed && aborted), "both `commit` and `abort` of one batch succeeded");
        ensure!(committed || aborted, "both `commit` and `abort` of one batch were refused");
        let there = ensure_whole_or_nothing(&*content, &added).await?;
        ensure_eq!(there, committed, "whether a batch is there whose commit and abort were called at once");
    }
    luck.judge("of a commit and an abort one began while the other was under way")
}

/// Whether a call ended its batch, or came too late.
fn decided(answer: store_api::Result<()>) -> store_api::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Closed => Ok(false),
        Err(error) => Err(error),
    }
}
