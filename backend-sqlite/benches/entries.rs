//! What an entry costs here beside SQLite itself, driven as well as one can: a connection that is kept, prepared
//! statements, the same table without the log of changes, the same settings.
//!
//! All rows of a group do the same to a thousand entries; times are per operation.

use std::{
    hint::black_box,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use backend_sqlite::{SqliteOptions, Sync};
use bytes::Bytes;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, measurement::WallTime};
use futures_util::future::join_all;
use rusqlite::{Connection, OptionalExtension, params};
use store_api::{AtomicWrite, Backend, Key};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const ENTRIES: usize = 1000;
const VALUE_LENS: [usize; 2] = [128, 4096];
const CLIENTS: usize = 64;

/// Whose turn it is, on whatever store: the keys one after another, and on each visit another value than was there.
struct Workload {
    keys: Vec<Key>,
    values: [Bytes; 2],
    turns: AtomicUsize,
}

struct Turn<'w> {
    key: &'w Key,
    old: &'w Bytes,
    new: &'w Bytes,
}

impl Workload {
    fn new(value_len: usize) -> Self {
        Self {
            keys: (0..ENTRIES).map(|i| Key::new(format!("bench/entry/{i}")).unwrap()).collect(),
            values: [b'a', b'b'].map(|byte| vec![byte; value_len].into()),
            turns: AtomicUsize::new(0),
        }
    }

    /// What each entry is before its first turn.
    fn first(&self) -> &Bytes {
        &self.values[1]
    }

    fn next(&self) -> Turn<'_> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        // A stride, so that neighbours in time are none in the file.
        let key = &self.keys[turn * 389 % ENTRIES];
        let round = turn / ENTRIES % 2;
        Turn { key, old: &self.values[1 - round], new: &self.values[round] }
    }
}

/// SQLite itself.
struct Raw(Connection);

impl Raw {
    fn open(path: &Path, synchronous: &str) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_mins(1)).unwrap();
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).unwrap();
        connection.pragma_update(None, "synchronous", synchronous).unwrap();
        Self(connection)
    }

    fn filled(path: &Path, synchronous: &str, workload: &Workload) -> Self {
        let raw = Self::open(path, synchronous);
        raw.0
            .execute_batch(
                "CREATE TABLE entries
                     (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, frame BLOB NOT NULL) STRICT;
                 BEGIN",
            )
            .unwrap();
        workload.keys.iter().for_each(|key| raw.set(key, workload.first()));
        raw.0.execute_batch("COMMIT").unwrap();
        raw
    }

    fn find(&self, key: &Key) -> Option<Vec<u8>> {
        let mut find = self.0.prepare_cached("SELECT frame FROM entries WHERE key = ?1").unwrap();
        find.query_row([key.as_str().as_bytes()], |row| row.get(0)).optional().unwrap()
    }

    fn set(&self, key: &Key, value: &Bytes) {
        let sql = "INSERT INTO entries (key, seq, frame) VALUES (?1, 0, ?2)
                   ON CONFLICT (key) DO UPDATE SET frame = excluded.frame";
        self.0.prepare_cached(sql).unwrap().execute(params![key.as_str().as_bytes(), &**value]).unwrap();
    }

    fn test_and_set(&self, key: &Key, test: &Bytes, set: &Bytes) -> bool {
        let sql = "UPDATE entries SET frame = ?3 WHERE key = ?1 AND frame = ?2";
        let mut update = self.0.prepare_cached(sql).unwrap();
        update.execute(params![key.as_str().as_bytes(), &**test, &**set]).unwrap() == 1
    }
}

async fn filled(path: &Path, sync: Sync, workload: &Workload) -> Arc<dyn AtomicWrite> {
    let entries = SqliteOptions::new(path).sync(sync).open().await.unwrap().atomic_write().unwrap();
    for written in join_all(workload.keys.iter().map(|key| entries.set(key, workload.first().clone()))).await {
        written.unwrap();
    }
    entries
}

/// How SQLite calls what ours are called.
const LEVELS: [(Sync, &str); 2] = [(Sync::Normal, "normal"), (Sync::Full, "full")];

/// A group of a kind of operation on values of one length; its rows are added one by one.
struct Rows<'g, 'c> {
    group: &'g mut BenchmarkGroup<'c, WallTime>,
    workload: Workload,
    directory: TempDir,
    runtime: Runtime,
}

impl Rows<'_, '_> {
    fn raw(&mut self, synchronous: &str, run: impl Fn(&Raw, Turn<'_>)) {
        let path = self.directory.path().join(format!("raw-{synchronous}.db"));
        self.workload.turns.store(0, Ordering::Relaxed);
        let raw = Raw::filled(&path, synchronous, &self.workload);
        let id = BenchmarkId::new("raw", synchronous);
        self.group.bench_function(id, |bencher| bencher.iter(|| run(&raw, self.workload.next())));
    }

    fn ours(&mut self, sync: Sync, name: &str, mut run: impl AsyncFnMut(&dyn AtomicWrite, Turn<'_>)) {
        let path = self.directory.path().join(format!("ours-{name}.db"));
        self.workload.turns.store(0, Ordering::Relaxed);
        let entries = self.runtime.block_on(filled(&path, sync, &self.workload));
        self.group.bench_function(BenchmarkId::new("ours", name), |bencher| {
            bencher.iter_custom(|turns| {
                self.runtime.block_on(async {
                    let began = Instant::now();
                    for _ in 0..turns {
                        run(&*entries, self.workload.next()).await;
                    }
                    began.elapsed()
                })
            });
        });
    }
}

/// Runs `rows` for each length of values, on one client.
fn by_value_len(criterion: &mut Criterion, operation: &str, rows: impl Fn(&mut Rows<'_, '_>)) {
    for len in VALUE_LENS {
        let mut group = criterion.benchmark_group(format!("{operation}/{len}"));
        rows(&mut Rows {
            group: &mut group,
            workload: Workload::new(len),
            directory: TempDir::new().unwrap(),
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
        });
        group.finish();
    }
}

fn find(criterion: &mut Criterion) {
    by_value_len(criterion, "find", |rows| {
        rows.raw("normal", |raw, turn| assert!(black_box(raw.find(turn.key)).is_some()));
        rows.ours(Sync::Normal, "normal", async |entries, turn| {
            assert!(black_box(entries.find(turn.key).await.unwrap()).is_some());
        });
    });
}

fn set(criterion: &mut Criterion) {
    by_value_len(criterion, "set", |rows| {
        for (sync, name) in LEVELS {
            rows.raw(name, |raw, turn| raw.set(turn.key, turn.new));
            rows.ours(sync, name, async |entries, turn| entries.set(turn.key, turn.new.clone()).await.unwrap());
        }
    });
}

fn test_and_set(criterion: &mut Criterion) {
    by_value_len(criterion, "test_and_set", |rows| {
        for (sync, name) in LEVELS {
            rows.raw(name, |raw, turn| assert!(raw.test_and_set(turn.key, turn.old, turn.new)));
            rows.ours(sync, name, async |entries, turn| {
                let (test, set) = (Some(turn.old.clone()), Some(turn.new.clone()));
                assert!(entries.test_and_set(turn.key, test, set).await.unwrap().is_applied());
            });
        }
    });
}

/// Durable writes of many clients: on a connection one by one, on a connection each, and ours.
fn set_by_many(criterion: &mut Criterion) {
    for len in VALUE_LENS {
        let mut group = criterion.benchmark_group(format!("set by {CLIENTS}/{len}"));
        let directory = TempDir::new().unwrap();
        let path = |name| directory.path().join(name);

        let workload = Workload::new(len);
        let raw = Raw::filled(&path("one.db"), "full", &workload);
        group.bench_function("raw/one by one", |bencher| {
            bencher.iter(|| {
                let turn = workload.next();
                raw.set(turn.key, turn.new);
            });
        });

        let workload = Workload::new(len);
        drop(Raw::filled(&path("each.db"), "full", &workload));
        group.bench_function("raw/a connection each", |bencher| {
            bencher.iter_custom(|turns| set_on_connections(&path("each.db"), &workload, turns));
        });

        let workload = Arc::new(Workload::new(len));
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let entries = runtime.block_on(filled(&path("ours.db"), Sync::Full, &workload));
        group.bench_function("ours", |bencher| {
            bencher.iter_custom(|turns| runtime.block_on(set_in_tasks(&entries, &workload, turns)));
        });
        group.finish();
    }
}

/// Each client writes so many times; gives how long one write took of the time of all.
fn set_on_connections(path: &Path, workload: &Workload, turns: u64) -> Duration {
    let connections: Vec<Raw> = (0..CLIENTS).map(|_| Raw::open(path, "full")).collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for raw in connections {
            scope.spawn(move || {
                for _ in 0..turns {
                    let turn = workload.next();
                    raw.set(turn.key, turn.new);
                }
            });
        }
    });
    began.elapsed() / u32::try_from(CLIENTS).unwrap()
}

/// The same, by tasks.
async fn set_in_tasks(entries: &Arc<dyn AtomicWrite>, workload: &Arc<Workload>, turns: u64) -> Duration {
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (entries, workload) = (Arc::clone(entries), Arc::clone(workload));
        tokio::spawn(async move {
            for _ in 0..turns {
                let turn = workload.next();
                entries.set(turn.key, turn.new.clone()).await.unwrap();
            }
        })
    });
    join_all(clients.collect::<Vec<_>>()).await.into_iter().for_each(Result::unwrap);
    began.elapsed() / u32::try_from(CLIENTS).unwrap()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    find(&mut criterion);
    set(&mut criterion);
    test_and_set(&mut criterion);
    set_by_many(&mut criterion);
    criterion.final_summary();
}
