//! I7: a batch takes effect at one instant, whole or not at all, whoever reads, writes, aborts or drops beside it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use fastrand::Rng;
use store_api::{Append, Batch, ContentHash, ContentKey, Durability, ErrorKind, IndexLevel, Indexable, Indexed};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::yield_now,
};

use crate::{
    case::{Case, case},
    clients::{all, both, poll_then_drop},
    content::{add_all, ensure_absent, ensure_all_found, ensure_found, listed},
    context::Context,
    failure::{Failure, Outcome, ensure, ensure_eq},
    operations::value,
};

pub(super) const CASES: &[Case] = &[
    case!("index/I7-readers-see-all-of-a-batch-or-nothing", [Content], all_or_nothing),
    case!(
        "index/I7-readers-in-another-instance-see-all-of-a-batch-or-nothing",
        [Content, SharedInstances],
        all_or_nothing_in_another_instance
    ),
    case!("index/I7-who-lists-one-value-of-a-batch-finds-all", [Content], listed_or_not),
    case!(
        "index/I7-who-lists-one-value-of-a-batch-in-another-instance-finds-all",
        [Content, SharedInstances],
        listed_or_not_in_another_instance
    ),
    case!("index/I7-a-dropped-commit-is-whole-or-nothing", [Content], dropped_commit),
    case!("index/I7-a-dropped-commit-is-whole-or-nothing-after-a-reopen", [Content, Reopens], dropped_commit_reopened),
    case!("index/I7-batches-on-many-threads-all-commit", [Content], many_batches),
    case!("index/I7-an-add-beside-the-commit-is-in-or-refused", [Content], add_beside_the_commit),
    case!("index/I7-of-commit-and-abort-at-once-one-decides", [Content], commit_beside_abort),
];

/// The values of a batch: few, so that its instant is short, and many, so that a store that adds them one by one is slow.
fn values_of(round: usize) -> impl Iterator<Item = Bytes> {
    const LENGTHS: [usize; 3] = [2, 5, 40];
    (0..LENGTHS[round % LENGTHS.len()]).map(move |i| value(format_args!("{round} {i}")))
}

/// How many batches a writer began to commit, and how many were acknowledged.
#[derive(Default)]
struct Progress {
    begun: AtomicUsize,
    acknowledged: AtomicUsize,
}

/// Commits batch after batch, each once the reader looks for it.
async fn commit_each(
    rounds: impl Iterator<Item = usize>,
    content: Arc<dyn Indexable>,
    progress: Arc<Progress>,
    mut ready: Receiver<()>,
) -> Outcome {
    for round in rounds {
        let batch = content.begin().await?;
        add_all(&*batch, values_of(round)).await?;
        if ready.recv().await.is_none() {
            // The reader has found a fault.
            break;
        }
        progress.begun.store(round + 1, Ordering::SeqCst);
        batch.commit().await?;
        progress.acknowledged.store(round + 1, Ordering::SeqCst);
    }
    Ok(())
}

/// A way to ask for a hash.
#[derive(Clone, Copy, Debug)]
enum Question {
    Find,
    Mem,
    Index,
}

impl Question {
    /// Those whose answers a batch at one instant determines: a best-effort index is only bound by what is acknowledged.
    fn all(index: IndexLevel) -> &'static [Self] {
        if index == IndexLevel::Exact { &[Self::Find, Self::Mem, Self::Index] } else { &[Self::Find, Self::Mem] }
    }

    async fn ask(self, content: &dyn Indexable, hash: ContentHash) -> Outcome<bool> {
        Ok(match self {
            Self::Find => content.find(&hash.into()).await?.is_some(),
            Self::Mem => content.mem(&hash.into()).await?,
            Self::Index => content.index(&hash).await?.is_some(),
        })
    }
}

/// What a reader has, and how it knows what the writer does.
struct Reader {
    content: Arc<dyn Indexable>,
    progress: Arc<Progress>,
    ready: Sender<()>,
    questions: &'static [Question],
    random: Rng,
}

impl Reader {
    fn question(&mut self) -> Question {
        self.questions[self.random.usize(..self.questions.len())]
    }

    /// The hashes of a batch as they were added, against that, or in any order: a store that takes one after the other is
    /// caught by who asks for the first first.
    fn hashes(&mut self, round: usize) -> Vec<(usize, ContentHash)> {
        let function = self.content.hash_function();
        let mut hashes: Vec<_> = values_of(round).map(|value| function.hash(&value)).enumerate().collect();
        match self.random.u8(..3) {
            0 => {}
            1 => hashes.reverse(),
            _ => self.random.shuffle(&mut hashes),
        }
        hashes
    }

    /// Lets the writer commit the next batch; whether there is one.
    async fn begin(&self) -> bool {
        self.ready.send(()).await.is_ok()
    }

    fn is_acknowledged(&self, round: usize) -> bool {
        self.progress.acknowledged.load(Ordering::SeqCst) > round
    }

    /// Whether the writer goes on no further than to a commit that has not been acknowledged.
    fn is_over(&self, round: usize) -> bool {
        self.ready.is_closed() && !self.is_acknowledged(round)
    }

    fn ensure_begun(&self, round: usize, question: &str) -> Outcome {
        let begun = self.progress.begun.load(Ordering::SeqCst) > round;
        ensure!(begun, "{question} sees a value of a batch before its commit was called");
        Ok(())
    }

    /// Asks for one value until it is there, then at once for the others.
    async fn ask(mut self) -> Outcome {
        for round in 0.. {
            let hashes = self.hashes(round);
            let Some(((first, hash), others)) = hashes.split_first() else { break };
            let (question, then) = (self.question(), self.question());
            if !self.begin().await {
                break;
            }
            while !question.ask(&*self.content, *hash).await? {
                if self.is_acknowledged(round) {
                    // It was acknowledged after the question, perhaps: whoever asks for the others sees.
                    break;
                }
                if self.is_over(round) {
                    return Ok(());
                }
            }
            self.ensure_begun(round, &format!("`{question:?}`"))?;
            for (i, hash) in others {
                ensure!(
                    then.ask(&*self.content, *hash).await?,
                    "part of a batch of {} values: `{question:?}` sees number {first}, and then `{then:?}` not number {i}",
                    hashes.len()
                );
            }
            ensure!(question.ask(&*self.content, *hash).await?, "`{question:?}` sees no value of a committed batch");
        }
        Ok(())
    }

    /// Lists until one of the values is there, then asks for all of them, and lists again. A list by itself may have a
    /// part: it is no snapshot (A7).
    async fn list(mut self) -> Outcome {
        for round in 0.. {
            let hashes = self.hashes(round);
            if !self.begin().await {
                break;
            }
            loop {
                let keys = listed(&*self.content).await?;
                if hashes.iter().any(|(_, hash)| keys.contains(&(*hash).into())) {
                    self.ensure_begun(round, "`keys`")?;
                    break;
                }
                if self.is_acknowledged(round) {
                    break;
                }
                if self.is_over(round) {
                    return Ok(());
                }
            }
            let then = self.question();
            for (i, hash) in &hashes {
                let there = then.ask(&*self.content, *hash).await?;
                ensure!(there, "part of a batch: `keys` lists a value of it, and then `{then:?}` sees not number {i}");
            }
            let keys = listed(&*self.content).await?;
            let missing = hashes.iter().find(|(_, hash)| !keys.contains(&(*hash).into()));
            ensure!(
                missing.is_none(),
                "part of a batch: `{then:?}` sees all its values, and then `keys` lists not all"
            );
        }
        Ok(())
    }
}

/// A reader of a kind beside a writer. Where a batch has two instants, each round shows it if the reader's question falls
/// between them: with a core for each, in about one round of four for a microsecond, and always for a sync.
async fn read_beside_commits<F>(
    context: &Context,
    rounds: impl Iterator<Item = usize> + Send + 'static,
    [writing, reading]: [Arc<dyn Indexable>; 2],
    read: fn(Reader) -> F,
) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let progress = Arc::<Progress>::default();
    let (ready, readied) = channel(1);
    let reader = Reader {
        content: reading,
        progress: Arc::clone(&progress),
        ready,
        questions: Question::all(context.guarantees().index),
        random: context.random(),
    };
    both(read(reader), commit_each(rounds, writing, progress, readied)).await.map(drop)
}

async fn all_or_nothing(context: Context) -> Outcome {
    let instance = context.open().await?;
    let contents = [instance.content(), instance.content()];
    read_beside_commits(&context, context.rounds_of_luck(60, 3000), contents, Reader::ask).await
}

async fn all_or_nothing_in_another_instance(context: Context) -> Outcome {
    let contents = [context.open().await?.content(), context.open().await?.content()];
    read_beside_commits(&context, context.rounds_of_luck(60, 3000), contents, Reader::ask).await
}

async fn listed_or_not(context: Context) -> Outcome {
    let instance = context.open().await?;
    let contents = [instance.content(), instance.content()];
    read_beside_commits(&context, context.rounds_of_luck(30, 300), contents, Reader::list).await
}

async fn listed_or_not_in_another_instance(context: Context) -> Outcome {
    let contents = [context.open().await?.content(), context.open().await?.content()];
    read_beside_commits(&context, context.rounds_of_luck(30, 300), contents, Reader::list).await
}

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
async fn batches_of_a_client(content: Arc<dyn Indexable>, mut random: Rng, rounds: usize) -> Outcome {
    for _ in 0..rounds {
        let from = random.usize(..60);
        let mut values: Vec<Bytes> = (from..from + random.usize(1..40)).map(value).collect();
        random.shuffle(&mut values);
        let batch = content.begin().await?;
        let added = add_all(&*batch, values.clone()).await?;
        let single = random.choice(values).unwrap_or_default();
        let key = content.add(single.clone()).await?;
        batch.commit().await?;
        ensure_all_found(&*content, &added, "a handle, after a commit beside others,").await?;
        ensure_found(&*content, &key, &single, "a handle, after a commit beside others,").await?;
    }
    Ok(())
}

async fn many_batches(context: Context) -> Outcome {
    let instance = context.open().await?;
    let mut random = context.random();
    let rounds = context.rounds(15);
    let clients: Vec<_> = (0..4).map(|_| batches_of_a_client(instance.content(), random.fork(), rounds)).collect();
    context.soon("batches on several threads that share values", all(clients)).await?.map(drop)
}

/// Adds to a batch until it is closed: what was taken, and what was refused.
async fn add_until_closed(batch: Arc<dyn Batch>, ended: Arc<AtomicBool>, round: usize) -> Outcome<Vec<(Bytes, bool)>> {
    let mut answers = Vec::new();
    for i in 0.. {
        let after_the_end = ended.load(Ordering::SeqCst);
        let added = value(format_args!("{round} {i}"));
        match batch.add(added.clone()).await {
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
    for round in 0..context.rounds(25) {
        let batch: Arc<dyn Batch> = content.begin().await?.into();
        let ended = Arc::new(AtomicBool::new(false));
        let adding = add_until_closed(Arc::clone(&batch), Arc::clone(&ended), round);
        let yields = random.usize(..30);
        let commit = async move {
            for _ in 0..yields {
                yield_now().await;
            }
            let committed = batch.commit().await;
            ended.store(true, Ordering::SeqCst);
            Ok(committed?)
        };
        let (answers, ()) = both(adding, commit).await?;
        for (added, taken) in answers {
            let there = content.find(&content.hash_function().hash(&added).into()).await?.is_some();
            ensure!(there || !taken, "an `add` that a batch took beside its commit is not there");
            ensure!(taken || !there, "an `add` that a batch refused beside its commit is there");
        }
    }
    Ok(())
}

async fn commit_beside_abort(context: Context) -> Outcome {
    let content = context.open().await?.content();
    for round in 0..context.rounds(25) {
        let batch: Arc<dyn Batch> = content.begin().await?.into();
        let added = add_all(&*batch, (0..5).map(|i| value(format_args!("{round} {i}")))).await?;
        let (committing, aborting) = (Arc::clone(&batch), batch);
        let commit = async move { Ok(decided(committing.commit().await)?) };
        let abort = async move { Ok(decided(aborting.abort().await)?) };
        let (committed, aborted) = both(commit, abort).await?;
        ensure!(!(committed && aborted), "both `commit` and `abort` of one batch succeeded");
        ensure!(committed || aborted, "both `commit` and `abort` of one batch were refused");
        let there = ensure_whole_or_nothing(&*content, &added).await?;
        ensure_eq!(there, committed, "whether a batch is there whose commit and abort were called at once");
    }
    Ok(())
}

/// Whether a call ended its batch, or came too late.
fn decided(answer: store_api::Result<()>) -> store_api::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Closed => Ok(false),
        Err(error) => Err(error),
    }
}
