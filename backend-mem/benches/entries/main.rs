//! What the contract costs in memory: beside a bare concurrent map, and beside a store that does nothing.
//!
//! All rows of a group do the same to ten thousand entries or values of 128 bytes; times are per operation.

mod nothing;

use std::{
    cell::Cell,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use backend_mem::MemOptions;
use bytes::Bytes;
use criterion::{Bencher, Criterion};
use dashmap::{DashMap, Entry};
use futures_util::TryStreamExt;
use store_api::{
    Append, AtomicWrite, Backend, ContentHash, ContentKey, ContentRead, HashFunction, Indexable, Key, Result,
};
use tokio::runtime::{Builder, Runtime};

use self::nothing::Nothing;

const COUNT: usize = 10_000;
const VALUE_LEN: usize = 128;
const BATCH: usize = 1000;

/// What the rows of a group do, and on what.
struct Workload {
    runtime: Runtime,
    keys: Vec<Key>,
    values: [Bytes; 2],
    turns: Cell<usize>,
}

struct Turn<'w> {
    key: &'w Key,
    old: &'w Bytes,
    new: &'w Bytes,
}

impl Workload {
    fn new() -> Self {
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            keys: (0..COUNT).map(|i| Key::new(format!("bench/entry/{i}")).unwrap()).collect(),
            values: [b'a', b'b'].map(|byte| vec![byte; VALUE_LEN].into()),
            turns: Cell::new(0),
        }
    }

    /// What each entry is before its first turn.
    fn first(&self) -> &Bytes {
        &self.values[1]
    }

    /// The keys one after another, and on each visit another value than was there.
    fn next(&self) -> Turn<'_> {
        let turn = self.turns.replace(self.turns.get() + 1);
        let key = &self.keys[turn * 3889 % COUNT];
        let round = turn / COUNT % 2;
        Turn { key, old: &self.values[1 - round], new: &self.values[round] }
    }

    /// A map with all entries, at its first turn.
    fn map(&self) -> DashMap<Key, Bytes> {
        self.turns.set(0);
        self.keys.iter().map(|key| (key.clone(), self.first().clone())).collect()
    }

    /// A store with all entries, at its first turn.
    fn store(&self) -> Arc<dyn AtomicWrite> {
        self.turns.set(0);
        self.runtime.block_on(async {
            let entries = MemOptions::new().open().await.unwrap().atomic_write().unwrap();
            for key in &self.keys {
                entries.set(key, self.first().clone()).await.unwrap();
            }
            entries
        })
    }

    /// A store that does nothing.
    fn nothing(&self) -> Arc<Nothing> {
        self.turns.set(0);
        Arc::new(Nothing { value: self.first().clone() })
    }

    fn time(&self, bencher: &mut Bencher<'_>, mut run: impl AsyncFnMut(Turn<'_>)) {
        bencher.iter_custom(|turns| {
            self.runtime.block_on(async {
                let began = Instant::now();
                for _ in 0..turns {
                    run(self.next()).await;
                }
                began.elapsed()
            })
        });
    }
}

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    let workload = Workload::new();
    let map = workload.map();
    group.bench_function("map", |bencher| {
        bencher.iter(|| map.get(workload.next().key).map(|value| value.clone()).unwrap());
    });
    for (name, store) in [("mem", workload.store()), ("nothing", workload.nothing())] {
        group.bench_function(name, |bencher| {
            workload.time(bencher, async |turn| {
                black_box(store.find(turn.key).await.unwrap().unwrap());
            });
        });
    }
}

fn set(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("set");
    let workload = Workload::new();
    let map = workload.map();
    group.bench_function("map", |bencher| {
        bencher.iter(|| {
            let turn = workload.next();
            map.insert(turn.key.clone(), turn.new.clone())
        });
    });
    for (name, store) in [("mem", workload.store()), ("nothing", workload.nothing())] {
        workload.turns.set(0);
        group.bench_function(name, |bencher| {
            workload.time(bencher, async |turn| store.set(turn.key, turn.new.clone()).await.unwrap());
        });
    }
}

fn test_and_set(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("test_and_set");
    let workload = Workload::new();
    let map = workload.map();
    group.bench_function("map", |bencher| {
        bencher.iter(|| {
            let turn = workload.next();
            let Entry::Occupied(mut entry) = map.entry(turn.key.clone()) else { panic!("it is there") };
            assert_eq!(entry.get(), turn.old);
            entry.insert(turn.new.clone())
        });
    });
    for (name, store) in [("mem", workload.store()), ("nothing", workload.nothing())] {
        workload.turns.set(0);
        group.bench_function(name, |bencher| {
            workload.time(bencher, async |turn| {
                let (test, set) = (Some(turn.old.clone()), Some(turn.new.clone()));
                assert!(store.test_and_set(turn.key, test, set).await.unwrap().is_applied());
            });
        });
    }
}

fn list(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("list of {COUNT}"));
    let workload = Workload::new();
    let map = workload.map();
    group.bench_function("map", |bencher| {
        bencher.iter(|| map.iter().map(|entry| entry.key().clone()).collect::<Vec<Key>>());
    });
    let store = workload.store();
    group.bench_function("mem", |bencher| {
        bencher.iter(|| {
            let keys: Vec<Key> = workload.runtime.block_on(store.list(&Key::root()).try_collect()).unwrap();
            assert_eq!(keys.len(), COUNT);
            keys
        });
    });
}

/// Values that differ, so many.
fn contents(count: usize) -> Vec<Bytes> {
    (0..count).map(|i| format!("{i:VALUE_LEN$}").into()).collect()
}

fn content() -> Arc<dyn Indexable> {
    futures_executor::block_on(MemOptions::new().open()).unwrap().indexable().unwrap()
}

fn hash(value: &Bytes) -> ContentHash {
    HashFunction::Blake3.hash(value)
}

/// Adds each value of a series to what is empty before; gives the time of so many series, per value.
fn time_series<S>(series: u64, empty: impl Fn() -> S, run: impl Fn(&S)) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..series {
        let store = empty();
        let began = Instant::now();
        run(&store);
        spent += began.elapsed();
    }
    spent
}

fn content_add(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("content add of {BATCH}"));
    let runtime = Workload::new().runtime;
    let values = contents(BATCH);
    group.bench_function("map", |bencher| {
        let run = |map: &DashMap<ContentHash, Bytes>| {
            for value in &values {
                map.insert(hash(value), value.clone());
            }
        };
        bencher.iter_custom(|series| time_series(series, DashMap::new, run));
    });
    let add_all = |store: &dyn Append| -> Result<()> {
        runtime.block_on(async {
            for value in &values {
                black_box(store.add(value.clone()).await?);
            }
            Ok(())
        })
    };
    group.bench_function("mem", |bencher| {
        bencher.iter_custom(|series| time_series(series, content, |store| add_all(&**store).unwrap()));
    });
    group.bench_function("mem in a batch", |bencher| {
        let run = |store: &Arc<dyn Indexable>| {
            let batch = runtime.block_on(store.begin()).unwrap();
            add_all(&*batch).unwrap();
            runtime.block_on(batch.commit()).unwrap();
        };
        bencher.iter_custom(|series| time_series(series, content, run));
    });
    group.bench_function("nothing", |bencher| {
        let empty = || Nothing { value: Bytes::new() };
        bencher.iter_custom(|series| time_series(series, empty, |store| add_all(store).unwrap()));
    });
}

fn content_find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("content find");
    let workload = Workload::new();
    let values = contents(COUNT);
    let hashes: Vec<ContentHash> = values.iter().map(hash).collect();
    let map: DashMap<ContentHash, Bytes> = hashes.iter().copied().zip(values.iter().cloned()).collect();
    let next = || &hashes[workload.turns.replace(workload.turns.get() + 1) * 3889 % COUNT];
    group.bench_function("map", |bencher| {
        bencher.iter(|| map.get(next()).map(|value| value.clone()).unwrap());
    });
    let store = content();
    for value in values {
        workload.runtime.block_on(store.add(value)).unwrap();
    }
    let stores: [(&str, Arc<dyn ContentRead>); 2] = [("mem", store), ("nothing", workload.nothing())];
    for (name, store) in stores {
        group.bench_function(name, |bencher| {
            workload.time(bencher, async |_| {
                black_box(store.find(&ContentKey::from(*next())).await.unwrap().unwrap());
            });
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    find(&mut criterion);
    set(&mut criterion);
    test_and_set(&mut criterion);
    list(&mut criterion);
    content_add(&mut criterion);
    content_find(&mut criterion);
    criterion.final_summary();
}
