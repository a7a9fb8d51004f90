//! Whatever is added to an indexable store, one thing after the other, it answers as a map from hashes to values would.
//!
//! An operation of a batch that nobody began begins it, so that every one is possible in every state.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use store_api::{Append, Batch, ContentHash, ContentKey, ContentRead, HashFunction, Indexable};

use crate::{
    case::{Case, case},
    content::{ensure_absent, ensure_found, ensure_indexed, ensure_indexed_by_another, ensure_listed},
    context::{Context, Instance},
    failure::{Outcome, ensure_eq},
    generated::for_any,
    script::{HANDLES, Script},
    show::Show,
};

pub(super) const CASES: &[Case] = &[
    case!("index/I2-any-operations-answer-as-a-map-would", [Content], of_one_instance),
    case!("index/I2-any-operations-of-instances-answer-as-a-map-would", [Content, SharedInstances], of_two_instances),
    case!("index/I2-any-operations-answer-as-a-map-would-when-reopened", [Content, Reopens], reopened),
];

/// What is there by its hash.
type Map = BTreeMap<ContentHash, Bytes>;

/// How a value is added.
#[derive(Clone, Copy, Debug)]
enum How {
    Add,
    Unchecked,
}

#[derive(Clone, Debug)]
enum Operation {
    Add(How, Bytes),
    AddToBatch(How, Bytes),
    Find(Bytes),
    FindInBatch(Bytes),
    Index(Bytes),
    Keys,
    Commit,
    Abort,
    /// Ends the batch as well.
    Drop,
    /// Nothing in a case that does not close its store.
    Reopen,
}

impl Show for Operation {
    fn show(&self) -> String {
        match self {
            Self::Add(How::Add, value) => format!("add {}", value.show()),
            Self::Add(How::Unchecked, value) => format!("unsafe_add {} under its hash", value.show()),
            Self::AddToBatch(How::Add, value) => format!("add {} to its batch", value.show()),
            Self::AddToBatch(How::Unchecked, value) => {
                format!("unsafe_add {} under its hash to its batch", value.show())
            }
            Self::Find(value) => format!("find {} by its hash", value.show()),
            Self::FindInBatch(value) => format!("find {} by its hash in its batch", value.show()),
            Self::Index(value) => format!("index of the hash of {}", value.show()),
            Self::Keys => "keys".into(),
            Self::Commit => "commit its batch".into(),
            Self::Abort => "abort its batch".into(),
            Self::Drop => "drop its batch".into(),
            Self::Reopen => "have the store closed, and opened again".into(),
        }
    }
}

/// Few values, so that one is added twice, in a batch and beside it; a long one may be kept elsewhere.
fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => prop::sample::select(VALUES).prop_map(Bytes::from),
        1 => (0..2_u8).prop_map(long),
    ]
}

const VALUES: &[&str] = &["", "0", "1", "01", "a value of some more bytes"];

fn long(byte: u8) -> Bytes {
    vec![b'x' + byte; 20_000].into()
}

/// All that is ever added.
fn all_values() -> impl Iterator<Item = Bytes> {
    VALUES.iter().copied().map(Bytes::from).chain((0..2).map(long))
}

fn operation() -> impl Strategy<Value = Operation> {
    let how = || prop_oneof![Just(How::Add), Just(How::Unchecked)];
    prop_oneof![
        4 => (how(), bytes()).prop_map(|(how, value)| Operation::Add(how, value)),
        6 => (how(), bytes()).prop_map(|(how, value)| Operation::AddToBatch(how, value)),
        3 => bytes().prop_map(Operation::Find),
        3 => bytes().prop_map(Operation::FindInBatch),
        3 => bytes().prop_map(Operation::Index),
        2 => Just(Operation::Keys),
        3 => Just(Operation::Commit),
        1 => Just(Operation::Abort),
        1 => Just(Operation::Drop),
        1 => Just(Operation::Reopen),
    ]
}

fn script() -> impl Strategy<Value = Script<Operation>> {
    Script::any(operation(), 30)
}

async fn of_one_instance(context: Context) -> Outcome {
    for_any(&context, 2, script, |context, script| async move {
        let store = context.another_store().await?;
        let instance = store.open().await?;
        follow(&store, &script, vec![instance], false).await
    })
    .await
}

async fn of_two_instances(context: Context) -> Outcome {
    for_any(&context, 1, script, |context, script| async move {
        let store = context.another_store().await?;
        let instances = vec![store.open().await?, store.open().await?];
        follow(&store, &script, instances, false).await
    })
    .await
}

async fn reopened(context: Context) -> Outcome {
    for_any(&context, 1, script, |context, script| async move {
        let store = context.another_store().await?;
        let instance = store.open().await?;
        follow(&store, &script, vec![instance], true).await
    })
    .await
}

/// A batch that is open, and what was added to it.
struct Open {
    batch: Box<dyn Batch>,
    added: Map,
}

/// The store and what it is to be.
struct Model<'c> {
    context: &'c Context,
    instances: Vec<Instance>,
    handles: Vec<Arc<dyn Indexable>>,
    batches: Vec<Option<Open>>,
    map: Map,
    reopened: bool,
}

/// Does the steps on a store and on a map, and compares the answers; closes and opens it where that is asked for, and so
/// wanted.
async fn follow(context: &Context, script: &Script<Operation>, instances: Vec<Instance>, reopens: bool) -> Outcome {
    let mut model =
        Model { context, instances, handles: Vec::new(), batches: Vec::new(), map: Map::new(), reopened: false };
    model.begin_anew();
    for (i, step) in script.steps() {
        let done = match &step.operation {
            Operation::Reopen if reopens => model.reopen().await,
            operation => model.do_step(step.handle, operation).await,
        };
        done.map_err(|failure| step.failed(i, failure))?;
    }
    model.expect_all().await.map_err(|failure| failure.within("at the end"))
}

/// Adds a value, under its hash, which is that of the key.
async fn add(to: &dyn Append, function: HashFunction, how: How, value: &Bytes) -> Outcome<ContentKey> {
    let hash = function.hash(value);
    let key = match how {
        How::Add => to.add(value.clone()).await?,
        How::Unchecked => to.unsafe_add(hash, value.clone()).await?,
    };
    ensure_eq!(key.to_hash(), hash, "I1: the hash of the key of an added value");
    Ok(key)
}

impl Model<'_> {
    /// With handles that have no batch.
    fn begin_anew(&mut self) {
        let of = |i: usize| self.instances[i * self.instances.len() / HANDLES].content();
        self.handles = (0..HANDLES).map(of).collect();
        self.batches = (0..HANDLES).map(|_| None).collect();
    }

    async fn reopen(&mut self) -> Outcome {
        for instance in &mut self.instances {
            instance.close().await?;
            *instance = self.context.open().await?;
        }
        self.begin_anew();
        self.reopened = true;
        self.expect_all().await
    }

    async fn do_step(&mut self, handle: usize, operation: &Operation) -> Outcome {
        let content = Arc::clone(&self.handles[handle]);
        let function = content.hash_function();
        match operation {
            Operation::Add(how, value) => {
                let key = add(&*content, function, *how, value).await?;
                ensure_found(&*content, &key, value, "the store").await?;
                self.map.insert(key.to_hash(), value.clone());
            }
            Operation::AddToBatch(how, value) => {
                let open = self.open(handle).await?;
                let key = add(&*open.batch, function, *how, value).await?;
                open.added.insert(key.to_hash(), value.clone());
                ensure_found(&*open.batch, &key, value, "the batch").await?;
            }
            Operation::Find(value) => {
                let due = self.map.get(&function.hash(value));
                ensure_eq!(content.find(&function.hash(value).into()).await?.as_ref(), due, "`find`");
            }
            Operation::FindInBatch(value) => {
                let hash = function.hash(value);
                let there = self.map.contains_key(&hash);
                let open = self.open(handle).await?;
                let due = (there || open.added.contains_key(&hash)).then_some(value);
                ensure_eq!(open.batch.find(&hash.into()).await?.as_ref(), due, "`find` in a batch");
            }
            Operation::Index(value) => self.expect_indexed(&*content, value).await?,
            Operation::Keys => self.expect_listed(&*content).await?,
            Operation::Commit => {
                self.open(handle).await?;
                if let Some(open) = self.batches[handle].take() {
                    open.batch.commit().await?;
                    self.map.extend(open.added);
                }
            }
            Operation::Abort => {
                if let Some(open) = self.batches[handle].take() {
                    open.batch.abort().await?;
                }
            }
            Operation::Drop => drop(self.batches[handle].take()),
            Operation::Reopen => {}
        }
        Ok(())
    }

    /// The batch of a handle, begun where it has none.
    async fn open(&mut self, handle: usize) -> Outcome<&mut Open> {
        if self.batches[handle].is_none() {
            let batch = self.handles[handle].begin().await?;
            self.batches[handle] = Some(Open { batch, added: Map::new() });
        }
        Ok(self.batches[handle].as_mut().expect("it was begun"))
    }

    /// Of what another instance added, as one that is closed by now, an index may be late, where it is said to be.
    async fn expect_indexed(&self, content: &dyn Indexable, value: &Bytes) -> Outcome {
        let hash = content.hash_function().hash(value);
        let by_this_one = self.instances.len() == 1 && !self.reopened;
        match self.map.contains_key(&hash) {
            true if by_this_one => ensure_indexed(content, value, "the store").await,
            true => ensure_indexed_by_another(self.context, content, value).await,
            false => ensure_absent(content, &hash, "the store").await,
        }
    }

    async fn expect_all(&self) -> Outcome {
        let content = &*self.handles[0];
        for value in all_values() {
            self.expect_indexed(content, &value).await?;
        }
        self.expect_listed(content).await
    }

    async fn expect_listed(&self, content: &dyn Indexable) -> Outcome {
        ensure_listed(content, self.map.keys().copied().map(ContentKey::from), "the store").await
    }
}
