//! Whatever is done to a store, one thing after the other, it answers as a map of entries would.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use proptest::{collection::vec, prelude::*};
use store_api::{AtomicWrite, EntryRead, EntryReadExt, Key, TestAndSet};

use crate::{
    case::{Case, case},
    context::{Context, Instance, key},
    failure::{Outcome, ensure_eq},
    following::State,
    generated::for_any,
    operations::{set_all, value},
    script::{HANDLES, Script},
    show::{Show, shown},
};

pub(super) const CASES: &[Case] = &[
    case!("key/K2-any-keys-are-listed-exactly", [Entries], any_keys),
    case!("atomic/A2-any-operations-answer-as-a-map-would", [Entries], of_one_instance),
    case!("atomic/A2-any-operations-of-instances-answer-as-a-map-would", [Entries, SharedInstances], of_two_instances),
    case!("atomic/A2-any-operations-answer-as-a-map-would-when-reopened", [Entries, Reopens], reopened),
];

/// What a key is, or what is there at the time.
#[derive(Clone, Debug)]
enum Test {
    Current,
    State(Option<Bytes>),
}

#[derive(Clone, Debug)]
enum Operation {
    Mem(Key),
    Find(Key),
    Set(Key, Bytes),
    Remove(Key),
    TestAndSet(Key, Test, Option<Bytes>),
    Clear,
    List(Key),
    Entries(Key),
    /// All that is there is looked at after this one; else only what it is about.
    LookAtAll,
    /// Nothing in a case that does not close its store.
    Reopen,
}

impl Show for Operation {
    fn show(&self) -> String {
        match self {
            Self::Mem(k) => format!("mem {}", k.show()),
            Self::Find(k) => format!("find {}", k.show()),
            Self::Set(k, value) => format!("set {} to {}", k.show(), value.show()),
            Self::Remove(k) => format!("remove {}", k.show()),
            Self::TestAndSet(k, Test::Current, set) => {
                format!("test_and_set {}, from what it is to {}", k.show(), set.show())
            }
            Self::TestAndSet(k, Test::State(test), set) => {
                format!("test_and_set {}, from {} to {}", k.show(), test.show(), set.show())
            }
            Self::Clear => "clear".into(),
            Self::List(under) => format!("list under {}", under.show()),
            Self::Entries(under) => format!("entries under {}", under.show()),
            Self::LookAtAll => "look at every key".into(),
            Self::Reopen => "have the store closed, and opened again".into(),
        }
    }
}

/// A few keys, so that operations meet, and near to each other, so that they may be mistaken.
const PATHS: &[&str] = &["a", "a/b", "ab", "A", "a/b/c", "a%2Fb", "b"];

fn entry() -> impl Strategy<Value = Key> {
    prop::sample::select(PATHS).prop_map(key)
}

fn scope() -> impl Strategy<Value = Key> {
    prop_oneof![3 => entry(), 2 => Just(Key::root()), 1 => Just(key("a/b/c/d"))]
}

/// Few values, so that a compare often finds what it tests for; a long one may be kept elsewhere.
fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => prop::sample::select(vec!["", "0", "1", "01"]).prop_map(Bytes::from),
        1 => (0..2_u8).prop_map(|byte| Bytes::from(vec![b'x' + byte; 20_000])),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let state = || prop::option::of(bytes());
    let test = prop_oneof![Just(Test::Current), state().prop_map(Test::State)];
    prop_oneof![
        4 => entry().prop_map(Operation::Find),
        2 => entry().prop_map(Operation::Mem),
        6 => (entry(), bytes()).prop_map(|(key, value)| Operation::Set(key, value)),
        3 => entry().prop_map(Operation::Remove),
        8 => (entry(), test, state()).prop_map(|(key, test, set)| Operation::TestAndSet(key, test, set)),
        1 => Just(Operation::Clear),
        2 => scope().prop_map(Operation::List),
        2 => scope().prop_map(Operation::Entries),
        1 => Just(Operation::LookAtAll),
        1 => Just(Operation::Reopen),
    ]
}

fn script() -> impl Strategy<Value = Script<Operation>> {
    Script::any(operation(), 40)
}

async fn of_one_instance(context: Context) -> Outcome {
    for_any(&context, 2, script, |context, script| async move {
        let instance = context.another_store().await?.open().await?;
        follow(&script, &mut [instance], None).await
    })
    .await
}

async fn of_two_instances(context: Context) -> Outcome {
    for_any(&context, 1, script, |context, script| async move {
        let store = context.another_store().await?;
        follow(&script, &mut [store.open().await?, store.open().await?], None).await
    })
    .await
}

async fn reopened(context: Context) -> Outcome {
    for_any(&context, 1, script, |context, script| async move {
        let store = context.another_store().await?;
        follow(&script, &mut [store.open().await?], Some(&store)).await
    })
    .await
}

/// Does the steps on a store and on a map, and compares the answers; `store` is given where it may be opened again.
async fn follow(script: &Script<Operation>, instances: &mut [Instance], store: Option<&Context>) -> Outcome {
    let mut map = State::new();
    let mut handles = handles_of(instances);
    for (i, step) in script.steps() {
        let done = if let (Operation::Reopen, Some(store)) = (&step.operation, store) {
            reopen(instances, store).await?;
            handles = handles_of(instances);
            expect_all(&*handles[0], &map).await
        } else {
            do_step(&*handles[step.handle], &mut map, &step.operation).await
        };
        done.map_err(|failure| step.failed(i, failure))?;
    }
    expect_all(&*handles[0], &map).await.map_err(|failure| failure.within("at the end"))
}

async fn reopen(instances: &mut [Instance], store: &Context) -> Outcome {
    for instance in instances {
        instance.close().await?;
        *instance = store.open().await?;
    }
    Ok(())
}

fn handles_of(instances: &[Instance]) -> Vec<Arc<dyn AtomicWrite>> {
    (0..HANDLES).map(|i| instances[i * instances.len() / HANDLES].entries()).collect()
}

async fn do_step(entries: &dyn AtomicWrite, map: &mut State, operation: &Operation) -> Outcome {
    match operation {
        Operation::Mem(k) => ensure_eq!(entries.mem(k).await?, map.contains_key(k), "`mem`"),
        Operation::Find(k) => ensure_eq!(entries.find(k).await?, map.get(k).cloned(), "`find`"),
        Operation::Set(k, value) => {
            entries.set(k, value.clone()).await?;
            map.insert(k.clone(), value.clone());
        }
        Operation::Remove(k) => {
            entries.remove(k).await?;
            map.remove(k);
        }
        Operation::TestAndSet(k, test, set) => {
            let current = map.get(k).cloned();
            let test = match test {
                Test::Current => current.clone(),
                Test::State(test) => test.clone(),
            };
            let due = if current == test { TestAndSet::Applied } else { TestAndSet::Mismatch { current } };
            ensure_eq!(entries.test_and_set(k, test, set.clone()).await?, due, "the verdict");
            if due.is_applied() {
                put(map, k, set.clone());
            }
        }
        Operation::Clear => {
            entries.clear().await?;
            map.clear();
        }
        Operation::List(under) => {
            let below: Vec<Key> = map.keys().filter(|key| under.covers(key)).cloned().collect();
            ensure_eq!(entries.list_sorted(under).await?, below, "the keys");
        }
        Operation::Entries(under) => {
            let below = map.iter().filter(|(key, _)| under.covers(key));
            let below: Vec<_> = below.map(|(key, value)| (key.clone(), value.clone())).collect();
            ensure_eq!(entries.entries_sorted(under).await?, below, "the entries");
        }
        Operation::LookAtAll => expect_all(entries, map).await?,
        Operation::Reopen => {}
    }
    Ok(())
}

fn put(map: &mut State, k: &Key, state: Option<Bytes>) {
    match state {
        Some(value) => drop(map.insert(k.clone(), value)),
        None => drop(map.remove(k)),
    }
}

async fn expect_all(entries: &dyn EntryRead, map: &State) -> Outcome {
    for k in PATHS.iter().map(key) {
        ensure_eq!(entries.find(&k).await?, map.get(&k).cloned(), "`find` of {}", shown(&k));
    }
    let all: Vec<_> = map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    ensure_eq!(entries.entries_sorted(&Key::root()).await?, all, "the entries of the store");
    Ok(())
}

/// Any keys that the store takes.
fn keys(len: usize) -> impl Strategy<Value = Vec<Key>> {
    let path = vec("[^/]{1,8}", 1..5).prop_map(|steps| steps.join("/"));
    let path = path.prop_filter("it is too long", move |path| path.len() <= len);
    prop::collection::btree_set(path.prop_map(key), 1..30).prop_map(Vec::from_iter)
}

async fn any_keys(context: Context) -> Outcome {
    let len = context.max_key_len();
    for_any(
        &context,
        1,
        move || keys(len),
        |context, keys: Vec<Key>| async move {
            let entries = context.another_store().await?.open().await?.entries();
            let all: State = keys.iter().map(|k| (k.clone(), value(k))).collect();
            set_all(&*entries, all.clone()).await?;
            for scope in keys.iter().flat_map(Key::ancestors).map(key) {
                let below: Vec<Key> = keys.iter().filter(|key| scope.covers(key)).cloned().collect();
                ensure_eq!(entries.list_sorted(&scope).await?, below, "the list under {}", shown(&scope));
            }
            let listed: Vec<(Key, Bytes)> = entries.entries(&Key::root()).try_collect().await?;
            ensure_eq!(listed.len(), all.len(), "how many entries there are");
            ensure_eq!(listed.into_iter().collect::<State>(), all, "the entries");
            Ok(())
        },
    )
    .await
}
