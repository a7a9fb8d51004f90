//! Any sequence of operations answers as a map of entries would, and watches fold to that map.

use irminsul::{AtomicWrite, Bytes, Init, Key, TestAndSet, prelude::*};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::{
    following::{Follower, State, known},
    store::{Store, entries_sorted, set_all},
};

contract! { on every store:
    k2_any_keys_are_listed_exactly,
    a2_any_operations_answer_as_a_map_would,
    w3_watches_of_any_operations_fold_to_the_map,
}

#[derive(Clone, Debug)]
enum Operation {
    Set(Key, Bytes),
    Remove(Key),
    TestAndSet(Key, Option<Bytes>, Option<Bytes>),
    Clear,
    /// What is listed below a path.
    List(Key),
    /// So many events are read from a watch.
    Read(usize),
    /// The watch is dropped, and starts again from what it saw.
    Resume,
}

/// A few keys, so that operations meet.
fn entry() -> impl Strategy<Value = Key> {
    prop::sample::select(vec!["a", "a/b", "ab", "a/b/c", "b"]).prop_map(|path| Key::new(path).unwrap())
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "0", "1"]).prop_map(Bytes::from)
}

fn operation() -> impl Strategy<Value = Operation> {
    let state = || prop::option::of(bytes());
    prop_oneof![
        6 => (entry(), bytes()).prop_map(|(key, value)| Operation::Set(key, value)),
        3 => entry().prop_map(Operation::Remove),
        6 => (entry(), state(), state()).prop_map(|(key, test, set)| Operation::TestAndSet(key, test, set)),
        1 => Just(Operation::Clear),
        2 => prop_oneof![entry(), Just(Key::root())].prop_map(Operation::List),
        3 => (1..4_usize).prop_map(Operation::Read),
        1 => Just(Operation::Resume),
    ]
}

/// Runs `check` on generated inputs from within the runtime; each case finds the entries empty.
async fn for_any<T, F>(inputs: impl Strategy<Value = T> + Send + 'static, check: impl Fn(T) -> F + Send + 'static)
where
    T: std::fmt::Debug + Send + 'static,
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Handle::current();
    let cases = tokio::task::spawn_blocking(move || {
        let config = Config { cases: 40, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
        TestRunner::new(config).run(&inputs, |input| {
            runtime.block_on(check(input));
            Ok(())
        })
    });
    if let Err(failure) = cases.await.unwrap() {
        panic!("{failure}");
    }
}

/// Does an operation on the store and on the map, and compares the answers.
async fn step(entries: &dyn AtomicWrite, map: &mut State, operation: &Operation) {
    match operation.clone() {
        Operation::Set(key, value) => {
            entries.set(&key, value.clone()).await.unwrap();
            map.insert(key, value);
        }
        Operation::Remove(key) => {
            entries.remove(&key).await.unwrap();
            map.remove(&key);
        }
        Operation::TestAndSet(key, test, set) => {
            let current = map.get(&key).cloned();
            let verdict = entries.test_and_set(&key, test.clone(), set.clone()).await.unwrap();
            if current != test {
                assert_eq!(verdict, TestAndSet::Mismatch { current });
                return;
            }
            assert_eq!(verdict, TestAndSet::Applied);
            match set {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Operation::Clear => {
            entries.clear().await.unwrap();
            map.clear();
        }
        Operation::List(under) => {
            let below: Vec<_> = map.iter().filter(|(key, _)| under.covers(key)).collect();
            assert!(entries_sorted(entries, &under).await.iter().map(|(key, value)| (key, value)).eq(below));
        }
        Operation::Read(_) | Operation::Resume => {}
    }
}

async fn k2_any_keys_are_listed_exactly(store: Store) {
    let entries = store.open().await.entries();
    let len = store.max_key_len();
    let key = vec("[^/]{1,8}", 1..5).prop_map(|steps| steps.join("/"));
    let key = key.prop_filter("short enough", move |path| path.len() <= len).prop_map(|path| Key::new(path).unwrap());
    let all = prop::collection::btree_map(key, bytes(), 1..30);
    for_any(all, move |all| {
        let entries = entries.clone();
        async move {
            entries.clear().await.unwrap();
            set_all(&*entries, all.clone()).await;
            for scope in all.keys().flat_map(Key::ancestors).map(|path| Key::new(path).unwrap()) {
                let below: Vec<_> = all.keys().filter(|key| scope.covers(key)).cloned().collect();
                assert_eq!(entries.list_sorted(&scope).await.unwrap(), below);
            }
            assert!(entries_sorted(&*entries, &Key::root()).await.into_iter().eq(all));
        }
    })
    .await;
}

async fn a2_any_operations_answer_as_a_map_would(store: Store) {
    let instance = store.open().await;
    let handles = [instance.entries(), instance.entries()];
    for_any(vec(operation(), 1..40), move |operations| {
        let handles = handles.clone();
        async move {
            handles[0].clear().await.unwrap();
            let mut map = State::new();
            for (operation, handle) in operations.iter().zip(handles.iter().cycle()) {
                step(&**handle, &mut map, operation).await;
            }
            assert!(entries_sorted(&*handles[0], &Key::root()).await.into_iter().eq(map));
        }
    })
    .await;
}

async fn w3_watches_of_any_operations_fold_to_the_map(store: Store) {
    let instance = store.open().await;
    let entries = instance.entries();
    let inputs = (prop_oneof![entry(), Just(Key::root())], vec(operation(), 1..40), vec(operation(), 1..40));
    for_any(inputs, move |(scope, before, operations)| {
        let entries = entries.clone();
        async move {
            entries.clear().await.unwrap();
            let mut map = State::new();
            for operation in &before {
                step(&*entries, &mut map, operation).await;
            }
            watch_and_step(&*entries, &scope, map, &operations).await;
        }
    })
    .await;
}

/// Does the operations beside two watches of a scope, one of which resumes, and expects both to fold to the map.
async fn watch_and_step(entries: &dyn AtomicWrite, scope: &Key, mut map: State, operations: &[Operation]) {
    let below = |map: &State| -> State {
        map.iter().filter(|(key, _)| scope.covers(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let current = entries.watch(scope, Init::Current).await.unwrap();
    let mut current = Follower::current(current, below(&map));
    let resumed = entries.watch(scope, known(&State::new())).await.unwrap();
    let mut resumed = Follower::known(resumed, State::new());
    for operation in operations {
        step(entries, &mut map, operation).await;
        match operation {
            Operation::Read(events) => {
                for _ in 0..*events {
                    if resumed.state == below(&map) {
                        break;
                    }
                    resumed.next().await;
                }
            }
            Operation::Resume => {
                let seen = resumed.state.clone();
                resumed = Follower::known(entries.watch(scope, known(&seen)).await.unwrap(), seen);
            }
            _ => {}
        }
    }
    current.converge(&below(&map)).await;
    resumed.converge(&below(&map)).await;
    // The end of what is told is seen by a change that nothing else can be.
    let end = if scope.is_root() { Key::new("end").unwrap() } else { scope.clone() };
    let last = Bytes::from_static(b"the end");
    entries.set(&end, last.clone()).await.unwrap();
    map.insert(end, last);
    current.converge(&below(&map)).await;
    resumed.converge(&below(&map)).await;
}
