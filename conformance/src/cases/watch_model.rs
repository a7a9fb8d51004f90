//! W3: whatever is done to a store, what its watches tell folds to a map that it is done to as well.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use store_api::{AtomicWrite, Key, TestAndSet};

use crate::{
    case::{Case, case},
    context::{Context, Instance, key},
    failure::{Outcome, ensure_eq},
    following::{Follower, Scope, State},
    generated::for_any,
    operations::value,
    show::{Show, shown},
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W3-watches-of-any-operations-fold-to-the-map", [Entries], of_one_instance),
    case!(
        "watch/W3-watches-of-any-operations-of-instances-fold-to-the-map",
        [Entries, SharedInstances],
        of_several_instances
    ),
];

#[derive(Clone, Debug)]
enum Operation {
    Set(Key, Bytes),
    Remove(Key),
    TestAndSet(Key, Option<Bytes>, Option<Bytes>),
    Clear,
    /// So many events are read from a watch.
    Read(usize),
    /// The watch is dropped, and starts again from what it saw.
    Resume,
}

impl Show for Operation {
    fn show(&self) -> String {
        match self {
            Self::Set(key, value) => format!("set {} to {}", shown(key), shown(value)),
            Self::Remove(key) => format!("remove {}", shown(key)),
            Self::TestAndSet(key, test, set) => {
                format!("test_and_set {}, from {} to {}", shown(key), shown(test), shown(set))
            }
            Self::Clear => "clear".into(),
            Self::Read(events) => format!("read up to {events} events of the second watch"),
            Self::Resume => "drop the second watch, and start it again from what it saw".into(),
        }
    }
}

/// What is watched, what is done before the watches start, and what is done then.
#[derive(Clone, Debug)]
struct Script {
    scope: Scope,
    before: Vec<Operation>,
    then: Vec<Operation>,
}

impl Show for Script {
    fn show(&self) -> String {
        let watches = format!("watch {} from the current state; the same from nothing, twice", shown(&self.scope));
        let lines = self.before.iter().map(Show::show).chain([watches]).chain(self.then.iter().map(Show::show));
        lines.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }
}

/// A few keys, so that operations meet.
fn entry() -> impl Strategy<Value = Key> {
    prop::sample::select(vec!["a", "a/b", "ab", "a/b/c", "b"]).prop_map(key)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "0", "1"]).prop_map(Bytes::from)
}

fn write() -> impl Strategy<Value = Operation> {
    let state = || prop::option::of(bytes());
    prop_oneof![
        6 => (entry(), bytes()).prop_map(|(key, value)| Operation::Set(key, value)),
        3 => entry().prop_map(Operation::Remove),
        6 => (entry(), state(), state()).prop_map(|(key, test, set)| Operation::TestAndSet(key, test, set)),
        1 => Just(Operation::Clear),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        16 => write(),
        3 => (1..4_usize).prop_map(Operation::Read),
        1 => Just(Operation::Resume),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let scope = prop_oneof![Just(Scope::everything()), entry().prop_map(Scope::Under), entry().prop_map(Scope::Key),];
    let parts = (scope, vec(write(), 0..20), vec(operation(), 1..30));
    parts.prop_map(|(scope, before, then)| Script { scope, before, then })
}

/// What the store is to be, and what each key was since the watches started.
#[derive(Default)]
struct Model {
    map: State,
    courses: BTreeMap<Key, Vec<Option<Bytes>>>,
}

impl Model {
    fn put(&mut self, key: &Key, state: Option<Bytes>) {
        let before = match state.clone() {
            Some(value) => self.map.insert(key.clone(), value),
            None => self.map.remove(key),
        };
        if before != state {
            self.courses.entry(key.clone()).or_insert_with(|| vec![before]).push(state);
        }
    }

    /// The course of a key, also of one that did not change.
    fn course(&self, key: &Key) -> Vec<Option<Bytes>> {
        self.courses.get(key).cloned().unwrap_or_else(|| vec![self.map.get(key).cloned()])
    }

    /// Does an operation on the store and on the map.
    async fn step(&mut self, entries: &dyn AtomicWrite, operation: &Operation) -> Outcome {
        match operation {
            Operation::Set(key, value) => {
                entries.set(key, value.clone()).await?;
                self.put(key, Some(value.clone()));
            }
            Operation::Remove(key) => {
                entries.remove(key).await?;
                self.put(key, None);
            }
            Operation::TestAndSet(key, test, set) => {
                let verdict = entries.test_and_set(key, test.clone(), set.clone()).await?;
                let current = self.map.get(key).cloned();
                if current == *test {
                    ensure_eq!(verdict, TestAndSet::Applied, "A2: {}", shown(operation));
                    self.put(key, set.clone());
                } else {
                    ensure_eq!(verdict, TestAndSet::Mismatch { current }, "A2: {}", shown(operation));
                }
            }
            Operation::Clear => {
                entries.clear().await?;
                for key in self.map.clone().keys() {
                    self.put(key, None);
                }
            }
            Operation::Read(_) | Operation::Resume => {}
        }
        Ok(())
    }
}

async fn of_one_instance(context: Context) -> Outcome {
    let instance = context.open().await?;
    follow_any(&context, 2, &instance, [&instance, &instance]).await
}

async fn of_several_instances(context: Context) -> Outcome {
    let (one, two) = (context.open().await?, context.open().await?);
    follow_any(&context, 1, &one, [&one, &two]).await
}

/// Runs scripts, whose operations are done through one handle and the other by turns.
async fn follow_any(context: &Context, rounds: usize, watching: &Instance, writing: [&Instance; 2]) -> Outcome {
    let (watcher, writers) = (watching.entries(), writing.map(Instance::entries));
    let run = move |context, script| run(context, Arc::clone(&watcher), writers.clone(), script);
    for_any(context, rounds, script, run).await
}

async fn run(
    context: Context,
    watcher: Arc<dyn AtomicWrite>,
    writers: [Arc<dyn AtomicWrite>; 2],
    script: Script,
) -> Outcome {
    let mut writers = writers.iter().cycle();
    let mut by_turns = || writers.next().expect("there are two, over and over");
    let mut model = Model::default();
    by_turns().clear().await?;
    for operation in &script.before {
        model.step(&**by_turns(), operation).await?;
    }
    model.courses.clear();

    let scope = &script.scope;
    let current = Follower::current(&context, &*watcher, scope, &model.map).await?;
    let mut second = Follower::from_nothing(&context, &*watcher, scope).await?;
    let unread = Follower::from_nothing(&context, &*watcher, scope).await?;
    for operation in &script.then {
        model.step(&**by_turns(), operation).await?;
        match operation {
            Operation::Read(events) => read_some(&mut second, *events, &scope.part_of(&model.map)).await?,
            Operation::Resume => {
                expect_courses(&second, &model)?;
                let seen = second.state().clone();
                second = Follower::known(&context, &*watcher, scope, &seen).await?;
            }
            _ => {}
        }
    }
    let mut followers = [current, second, unread];
    for follower in &mut followers {
        follower.converge(&model.map).await?;
    }
    // What is told too much is told before a change that nothing else can be.
    let last = match scope {
        Scope::Under(path) if path.is_root() => key("end"),
        Scope::Under(path) | Scope::Key(path) => path.clone(),
    };
    model.step(&**by_turns(), &Operation::Set(last, value("the end"))).await?;
    for follower in &mut followers {
        follower.converge(&model.map).await?;
        expect_courses(follower, &model)?;
    }
    Ok(())
}

/// Reads some events of a watch, as far as there must be any.
async fn read_some(follower: &mut Follower, events: usize, due: &State) -> Outcome {
    for _ in 0..events {
        if follower.state() == due {
            break;
        }
        follower.next().await?;
    }
    Ok(())
}

fn expect_courses(follower: &Follower, model: &Model) -> Outcome {
    let mut keys = model.map.keys().chain(model.courses.keys());
    keys.try_for_each(|key| follower.expect_course(key, &model.course(key)))
}
