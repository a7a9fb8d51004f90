//! I7: a batch takes effect at one instant, whole or not at all, whoever reads meanwhile. What else may happen to it beside
//! its commit is [`super::batch_end`]'s.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use fastrand::Rng;
use store_api::{ContentHash, IndexLevel, Indexable, Indexed};
use tokio::task::yield_now;

use crate::{
    case::{Case, case},
    clients::both,
    content::{add_all, listed},
    context::Context,
    failure::{Outcome, ensure},
    luck::{Hopes, Luck},
    operations::value,
};

pub(super) const CASES: &[Case] = &[
    case!("index/I7-readers-see-all-of-a-batch-or-nothing", [Content], all_or_nothing),
    case!(
        "index/I7-readers-in-another-instance-see-all-of-a-batch-or-nothing",
        [Content, SharedInstances],
        all_or_nothing_in_another_instance
    ),
    case!("index/I7-between-the-steps-of-a-commit-all-or-nothing-is-seen", [Content], between_the_steps),
    case!("index/I7-who-lists-one-value-of-a-batch-finds-all", [Content], listed_or_not),
    case!(
        "index/I7-who-lists-one-value-of-a-batch-in-another-instance-finds-all",
        [Content, SharedInstances],
        listed_or_not_in_another_instance
    ),
];

/// How many values a batch of a round has, by turns: few, so that many are committed, and many, so that a store that needs
/// two steps takes its time between them.
type Lengths = [usize; 3];

fn value_of(round: usize, i: usize) -> Bytes {
    value(format_args!("{round} {i}"))
}

/// How many batches a writer began to commit, and how many were acknowledged.
#[derive(Default)]
struct Progress {
    begun: AtomicUsize,
    acknowledged: AtomicUsize,
}

/// Commits batch after batch, and does not wait for anyone: whenever it loses its core, it is as likely within a commit as
/// commits have a part in its time.
struct Writer {
    content: Arc<dyn Indexable>,
    progress: Arc<Progress>,
    lengths: Lengths,
    /// How many batches there are at least, and at most, while more looks at commits are wanted.
    rounds: [usize; 2],
    looks: Arc<Luck>,
    _at_work: Arc<()>,
}

impl Writer {
    async fn write(self) -> Outcome {
        let [least, most] = self.rounds;
        for round in 0..most {
            if round >= least && !self.looks.is_wanted() || Arc::strong_count(&self.progress) == 1 {
                // Nobody looks any more, or there is no need to.
                break;
            }
            let batch = self.content.begin().await?;
            let len = self.lengths[round % self.lengths.len()];
            add_all(&*batch, (0..len).map(|i| value_of(round, i))).await?;
            self.progress.begun.store(round + 1, Ordering::SeqCst);
            batch.commit().await?;
            self.progress.acknowledged.store(round + 1, Ordering::SeqCst);
        }
        Ok(())
    }
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

/// Looks at the batch that a writer commits, over and over.
struct Reader {
    content: Arc<dyn Indexable>,
    progress: Arc<Progress>,
    /// A look at a batch that began while it was committed is one that met.
    looks: Arc<Luck>,
    lengths: Lengths,
    lists: bool,
    questions: &'static [Question],
    random: Rng,
    at_work: Weak<()>,
}

impl Reader {
    async fn read(mut self) -> Outcome {
        let mut last = None;
        loop {
            let over = self.at_work.strong_count() == 0;
            self.ensure_unseen(self.progress.begun.load(Ordering::SeqCst)).await?;
            if let Some(round) = self.progress.begun.load(Ordering::SeqCst).checked_sub(1) {
                // What is seen once half-way is what may be torn. How long the look takes then is no matter: a list of a
                // remote store takes longer than a commit.
                let amid = self.progress.acknowledged.load(Ordering::SeqCst) <= round;
                if self.lists {
                    self.list(round).await?;
                } else {
                    self.ask(round).await?;
                }
                if amid && last.replace(round) != Some(round) {
                    self.looks.meet();
                }
            }
            if over {
                return Ok(());
            }
            yield_now().await;
        }
    }

    fn question(&mut self) -> Question {
        self.questions[self.random.usize(..self.questions.len())]
    }

    fn hash(&self, round: usize, i: usize) -> ContentHash {
        self.content.hash_function().hash(&value_of(round, i))
    }

    fn len(&self, round: usize) -> usize {
        self.lengths[round % self.lengths.len()]
    }

    /// Some hashes of a batch, the first and the last among them, as they were added, against that, or in any order: a
    /// store that takes one value after the other is caught by who asks for the first first.
    fn hashes(&mut self, round: usize) -> Vec<(usize, ContentHash)> {
        const ASKED: usize = 6;
        let len = self.len(round);
        let inner = (2..ASKED).map(|_| self.random.usize(..len));
        let asked: BTreeSet<usize> = inner.chain([0, len - 1]).collect();
        let mut hashes: Vec<_> = asked.into_iter().map(|i| (i, self.hash(round, i))).collect();
        match self.random.u8(..3) {
            0 => {}
            1 => hashes.reverse(),
            _ => self.random.shuffle(&mut hashes),
        }
        hashes
    }

    /// Demands that nothing is seen of a batch whose commit was not called.
    async fn ensure_unseen(&mut self, round: usize) -> Outcome {
        let (question, i) = (self.question(), self.random.usize(..self.len(round)));
        if question.ask(&*self.content, self.hash(round, i)).await? {
            let begun = self.progress.begun.load(Ordering::SeqCst) > round;
            ensure!(begun, "`{question:?}` sees a value of a batch before its commit was called");
        }
        Ok(())
    }

    /// Asks for one value, and where it is there, at once for others.
    async fn ask(&mut self, round: usize) -> Outcome {
        let (question, then, hashes) = (self.question(), self.question(), self.hashes(round));
        let acknowledged = self.progress.acknowledged.load(Ordering::SeqCst) > round;
        let Some(((first, hash), others)) = hashes.split_first() else { return Ok(()) };
        if !question.ask(&*self.content, *hash).await? {
            ensure!(!acknowledged, "`{question:?}` sees not number {first} of a batch whose commit has returned");
            return Ok(());
        }
        for (i, hash) in others {
            ensure!(
                then.ask(&*self.content, *hash).await?,
                "part of a batch of {} values: `{question:?}` sees number {first}, and then `{then:?}` not number {i}",
                self.len(round)
            );
        }
        Ok(())
    }

    /// Lists, and where one of the values is there, asks for others, and lists again. A list by itself may have a part: it
    /// is no snapshot (A7).
    async fn list(&mut self, round: usize) -> Outcome {
        let (then, hashes) = (self.question(), self.hashes(round));
        let keys = listed(&*self.content).await?;
        if !hashes.iter().any(|(_, hash)| keys.contains(&(*hash).into())) {
            return Ok(());
        }
        for (i, hash) in &hashes {
            let there = then.ask(&*self.content, *hash).await?;
            ensure!(there, "part of a batch: `keys` lists a value of it, and then `{then:?}` sees not number {i}");
        }
        let keys = listed(&*self.content).await?;
        let missing = hashes.iter().find(|(_, hash)| !keys.contains(&(*hash).into()));
        ensure!(missing.is_none(), "part of a batch: `{then:?}` sees all its values, and then `keys` lists not all");
        Ok(())
    }
}

/// Where the reader asks.
#[derive(Clone, Copy)]
enum Asking {
    InTheSameInstance,
    InAnother,
}

impl Asking {
    /// Handles for the writer and the reader.
    async fn handles(self, context: &Context) -> Outcome<[Arc<dyn Indexable>; 2]> {
        let writing = context.open().await?;
        let reading = match self {
            Self::InTheSameInstance => writing.clone(),
            Self::InAnother => context.open().await?,
        };
        Ok([writing.content(), reading.content()])
    }
}

/// What a reader does, and in how many stores.
#[derive(Clone, Copy)]
struct Looks {
    lists: bool,
    /// How many batches a writer commits in each store at least, and at most.
    batches: [usize; 2],
    /// How many of the commits the reader is to look at, and how many stores there are.
    hopes: Hopes,
}

/// A store that shows a part of a batch in a twentieth of the time that a commit takes is missed about once in a hundred by
/// two hundred looks, by thirty with one in five, and hardly ever by those of the standard profile.
const ASKS: Looks =
    Looks { lists: false, batches: [30, 1_000], hopes: Hopes { floor: 30, enough: 200, rounds: [1, 1] } };

/// A list reads every batch that was ever committed, and is to end while one commit is under way: so there are several
/// stores with three batches each, and not one with many.
const LISTS: Looks = Looks { lists: true, batches: [3, 3], hopes: Hopes { floor: 12, enough: 200, rounds: [12, 24] } };

fn writer_and_reader(
    context: &Context,
    wanted: Looks,
    looks: &Arc<Luck>,
    [writing, reading]: [Arc<dyn Indexable>; 2],
    random: Rng,
) -> (Writer, Reader) {
    let lengths = [2, 40, 1000];
    let (progress, at_work) = (Arc::<Progress>::default(), Arc::new(()));
    let reader = Reader {
        content: reading,
        progress: Arc::clone(&progress),
        looks: Arc::clone(looks),
        lengths,
        lists: wanted.lists,
        questions: Question::all(context.guarantees().index),
        random,
        at_work: Arc::downgrade(&at_work),
    };
    let writer = Writer {
        content: writing,
        progress,
        lengths,
        rounds: wanted.batches.map(|batches| context.rounds(batches)),
        looks: Arc::clone(looks),
        _at_work: at_work,
    };
    (writer, reader)
}

/// A writer and a reader on threads of their own, who go on until the reader has looked at many batches while they were
/// committed.
async fn look_amid_commits(context: &Context, wanted: Looks, asking: Asking) -> Outcome {
    let mut random = context.random();
    let looks = context.luck(wanted.hopes);
    for _ in looks.rounds() {
        let store = context.another_store().await?;
        let handles = asking.handles(&store).await?;
        let (writer, reader) = writer_and_reader(&store, wanted, &looks, handles, random.fork());
        both(reader.read(), writer.write()).await?;
    }
    looks.judge("batches were looked at while they were committed")
}

async fn all_or_nothing(context: Context) -> Outcome {
    look_amid_commits(&context, ASKS, Asking::InTheSameInstance).await
}

async fn all_or_nothing_in_another_instance(context: Context) -> Outcome {
    look_amid_commits(&context, ASKS, Asking::InAnother).await
}

async fn listed_or_not(context: Context) -> Outcome {
    look_amid_commits(&context, LISTS, Asking::InTheSameInstance).await
}

async fn listed_or_not_in_another_instance(context: Context) -> Outcome {
    look_amid_commits(&context, LISTS, Asking::InAnother).await
}

/// Both take turns on one thread, so that the reader looks wherever a commit waits for something. It takes no luck: where
/// there are no such steps, there is nothing to look behind.
async fn between_the_steps(context: Context) -> Outcome {
    let wanted = Looks { batches: [30, 30], ..ASKS };
    let handles = Asking::InTheSameInstance.handles(&context).await?;
    let looks = context.luck(wanted.hopes);
    let (writer, reader) = writer_and_reader(&context, wanted, &looks, handles, context.random());
    let (read, written) = tokio::join!(reader.read(), writer.write());
    read.and(written)
}
