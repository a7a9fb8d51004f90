//! What one call costs, one after another by one client: our backends beside the engines below them, and beside a store
//! that does nothing. No write is synced; what syncs cost is in the comparison.
//!
//! A row is an operation on an engine with values of one length; times are per operation, or per scan, or per batch.

mod content;
#[path = "../../engines/mod.rs"]
mod engines;
mod keyed;
mod wrapped;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use benches::{NullStore, Store, Subject};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion};
use fastrand::Rng;
use store_api::{Durability, Key, Result, TestAndSet};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use self::{
    engines::{map::Map, ours::Ours, rocksdb::RawRocksdb, sqlite::RawSqlite},
    keyed::Keyed,
    wrapped::{Wrapped, prefixed, traced},
};

/// The lengths of values, and how many entries of each a store holds.
const SIZES: [(usize, usize); 3] = [(128, 10_000), (4096, 1000), (1 << 20, 32)];

fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().expect("a runtime starts")
}

/// What no engine can shrink: how well one does that is not what is compared.
fn random(rng: &mut Rng, len: usize) -> Bytes {
    let mut value = vec![0; len];
    rng.fill(&mut value);
    value.into()
}

/// The entries of a store, of which each turn takes another; on each visit it gets another value than was there.
struct Entries {
    keys: Vec<Key>,
    values: [Bytes; 2],
    turn: usize,
}

impl Entries {
    fn new(len: usize, count: usize) -> Self {
        let key = |i| Key::new(format!("bench/{i:06}")).expect("digits and a slash are a key");
        // What no engine can shrink: how well one does that is not what is compared.
        let values = [1, 2].map(|seed| random(&mut Rng::with_seed(seed), len));
        Self { keys: (0..count).map(key).collect(), values, turn: 0 }
    }

    fn all(&self) -> Vec<(Key, Bytes)> {
        self.keys.iter().map(|key| (key.clone(), self.values[1].clone())).collect()
    }

    /// A key, what it has, and what it is to get.
    fn next(&mut self) -> (&Key, &Bytes, &Bytes) {
        let turn = self.turn;
        self.turn += 1;
        // A stride, so that neighbours in time are none in the file.
        let key = &self.keys[turn * 3889 % self.keys.len()];
        let round = turn / self.keys.len() % 2;
        (key, &self.values[1 - round], &self.values[round])
    }
}

/// The rows of one subject with values of one length.
struct Rows<'a, C> {
    criterion: &'a mut Criterion,
    runtime: &'a Runtime,
    id: BenchmarkId,
    client: C,
    entries: Entries,
}

impl<C: Keyed> Rows<'_, C> {
    fn row(&mut self, operation: &str, mut run: impl AsyncFnMut(&mut C, &mut Entries) -> Result<()>) {
        let Self { criterion, runtime, id, client, entries } = self;
        let mut group = criterion.benchmark_group(operation);
        group.bench_function(id.clone(), |bencher| {
            bencher.iter_custom(|turns| runtime.block_on(time(turns, async || run(client, entries).await)));
        });
    }

    fn reads(&mut self) {
        self.row("find, hit", async |client, entries| {
            client.find(entries.next().0).await.map(|found| drop(black_box(found)))
        });
        let absent = Key::new("bench/absent").expect("letters and a slash are a key");
        self.row("find, miss", async |client, _| client.find(&absent).await.map(|found| drop(black_box(found))));
        self.row("mem", async |client, entries| {
            client.mem(entries.next().0).await.map(|found| assert!(found, "the store has its entries"))
        });
        let under = Key::new("bench").expect("letters are a key");
        // A map has no ranges, and the floor has no entries.
        if self.runtime.block_on(self.client.scan(&under)).is_ok_and(|count| count > 0) {
            self.row("scan of all", async |client, _| {
                client.scan(&under).await.map(|count| assert!(count > 0, "the store has entries"))
            });
            self.row("list of all", async |client, _| {
                client.list(&under).await.map(|count| assert!(count > 0, "the store has entries"))
            });
        }
    }

    fn writes(&mut self) {
        self.entries.turn = 0;
        self.row("test_and_set, applied", async |client, entries| {
            let (key, old, new) = entries.next();
            let ended = client.test_and_set(key, Some(old.clone()), Some(new.clone())).await?;
            assert!(ended.is_applied(), "another client is at work");
            Ok(())
        });
        self.row("set", async |client, entries| {
            let (key, _, new) = entries.next();
            client.set(key, new.clone()).await
        });
    }

    /// Those for which it matters what the store has.
    fn writes_that_depend(&mut self) {
        self.row("test_and_set, mismatch", async |client, entries| {
            let (key, _, new) = entries.next();
            let ended = client.test_and_set(key, Some(Bytes::from_static(b"other")), Some(new.clone())).await?;
            assert!(matches!(ended, TestAndSet::Mismatch { .. }), "no entry has this value");
            Ok(())
        });
        self.removals();
    }

    /// The clock runs while entries are removed, and stands while they are set again.
    fn removals(&mut self) {
        let Self { criterion, runtime, id, client, entries } = self;
        criterion.benchmark_group("remove").bench_function(id.clone(), |bencher| {
            bencher.iter_custom(|turns| {
                let (mut left, mut spent) = (turns, Duration::ZERO);
                while left > 0 {
                    let some = left.min(entries.keys.len() as u64);
                    let first = entries.turn;
                    runtime.block_on(time(some, async || {
                        let (key, _, new) = entries.next();
                        client.set(key, new.clone()).await
                    }));
                    entries.turn = first;
                    spent += runtime.block_on(time(some, async || client.remove(entries.next().0).await));
                    left -= some;
                }
                spent
            });
        });
    }
}

/// How long so many turns take.
async fn time(turns: u64, mut run: impl AsyncFnMut() -> Result<()>) -> Duration {
    let began = Instant::now();
    for _ in 0..turns {
        run().await.expect("the store answers");
    }
    began.elapsed()
}

fn measure<S: Subject>(criterion: &mut Criterion, runtime: &Runtime, subject: &S, sizes: &[(usize, usize)], keeps: bool)
where
    S::Store: Store<Client: Keyed>,
{
    for &(len, count) in sizes {
        let place = TempDir::new().expect("a directory is made");
        let entries = Entries::new(len, count);
        let store = runtime.block_on(subject.open(place.path())).expect("the store opens");
        runtime.block_on(store.fill(entries.all())).expect("the store takes its entries");
        let client = store.client().expect("the store has room for a client");
        let id = BenchmarkId::new(subject.facts().name, len);
        let mut rows = Rows { criterion, runtime, id, client, entries };
        rows.reads();
        rows.writes();
        if keeps {
            rows.writes_that_depend();
        }
        drop(rows);
        runtime.block_on(store.close()).expect("the store closes");
    }
}

/// Our backends, by the names of their schemes; no write is synced.
fn unsynced() -> [Ours; 3] {
    let ours = |scheme, options, durability| Ours { name: scheme, scheme, options, durability, beside: "" };
    [
        ours("mem", &[], Durability::Volatile),
        ours("sqlite", &[("sync", "off")], Durability::Process),
        ours("rocksdb", &[("sync", "off")], Durability::Process),
    ]
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    let runtime = runtime();
    let [mem, sqlite, rocksdb] = unsynced();
    let durability = Durability::Process;
    measure(&mut criterion, &runtime, &Map, &SIZES, true);
    measure(&mut criterion, &runtime, &mem, &SIZES, true);
    for (name, wrap) in [("mem, traced", traced as fn(_) -> _), ("mem, prefixed", prefixed)] {
        measure(&mut criterion, &runtime, &Wrapped { name, store: mem, wrap }, &SIZES[..1], true);
    }
    measure(&mut criterion, &runtime, &NullStore { value: Bytes::from_static(b"a") }, &SIZES, false);
    measure(&mut criterion, &runtime, &RawSqlite { name: "raw SQLite", durability }, &SIZES, true);
    measure(&mut criterion, &runtime, &sqlite, &SIZES, true);
    measure(&mut criterion, &runtime, &RawRocksdb { name: "raw RocksDB", durability }, &SIZES, true);
    measure(&mut criterion, &runtime, &rocksdb, &SIZES, true);
    content::measure(&mut criterion, &runtime);
    criterion.final_summary();
}
