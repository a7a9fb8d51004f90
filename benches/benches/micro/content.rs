//! Content: one value and a thousand in a batch, beside what each engine does for as many, hashing included.

use std::{hint::black_box, path::Path, sync::Arc, time::Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion};
use dashmap::DashMap;
use fastrand::Rng;
use rocksdb::{DB, DBCompressionType, Options, WriteBatch};
use rusqlite::{Connection, params};
use store_api::{Append, Backend, ContentHash, ContentKey, HashFunction, Indexable};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::engines::rocksdb::{cache, options};

/// The lengths of values, and how many of them a batch has.
const SIZES: [(usize, usize); 3] = [(128, 1000), (4096, 1000), (1 << 20, 16)];

/// Random values of one length: none comes twice.
struct Values {
    len: usize,
    rng: Rng,
}

impl Values {
    fn new(len: usize) -> Self {
        Self { len, rng: Rng::with_seed(0) }
    }

    fn next(&mut self, count: usize) -> Vec<Bytes> {
        (0..count).map(|_| super::random(&mut self.rng, self.len)).collect()
    }
}

fn hash(value: &Bytes) -> ContentHash {
    HashFunction::Blake3.hash(value)
}

pub(crate) fn measure(criterion: &mut Criterion, runtime: &Runtime) {
    for (len, batch) in SIZES {
        let place = TempDir::new().expect("a directory is made");
        raw_batches(criterion, place.path(), len, batch);
        for subject in super::unsynced() {
            let place = TempDir::new().expect("a directory is made");
            let backend = runtime.block_on(subject.backend(place.path())).expect("the store opens");
            ours(criterion, runtime, &*backend, &BenchmarkId::new(subject.name, len), Values::new(len), batch);
            runtime.block_on(backend.close()).expect("the store closes");
        }
    }
}

fn ours(
    criterion: &mut Criterion,
    runtime: &Runtime,
    backend: &dyn Backend,
    id: &BenchmarkId,
    mut values: Values,
    batch: usize,
) {
    let content: Arc<dyn Indexable> = backend.indexable().expect("it keeps content");
    criterion.benchmark_group("content, batch").bench_function(id.clone(), |bencher| {
        timed(bencher, &mut values, batch, |values| runtime.block_on(add_in_batch(&*content, values)));
    });
    criterion.benchmark_group("content, add").bench_function(id.clone(), |bencher| {
        timed(bencher, &mut values, 1, |values| runtime.block_on(add_all(&*content, values)));
    });
    let known = values.next(100);
    runtime.block_on(add_in_batch(&*content, known.clone()));
    let hashes: Vec<ContentHash> = known.iter().map(hash).collect();
    let keys: Vec<ContentKey> = runtime.block_on(async {
        let mut keys = Vec::new();
        for hash in &hashes {
            keys.extend(content.index(hash).await.expect("the store answers"));
        }
        keys
    });
    criterion.benchmark_group("content, find").bench_function(id.clone(), |bencher| {
        let mut turn = keys.iter().cycle();
        bencher.iter_custom(|turns| {
            runtime.block_on(super::time(turns, async || {
                content.find(turn.next().expect("a cycle has no end")).await.map(|found| drop(black_box(found)))
            }))
        });
    });
    criterion.benchmark_group("content, index").bench_function(id.clone(), |bencher| {
        let mut turn = hashes.iter().cycle();
        bencher.iter_custom(|turns| {
            runtime.block_on(super::time(turns, async || {
                content
                    .index(turn.next().expect("a cycle has no end"))
                    .await
                    .map(|found| assert!(found.is_some(), "it was added"))
            }))
        });
    });
}

/// The time of so many rounds, each with values that are new to the store and were made before the clock starts.
fn timed(bencher: &mut criterion::Bencher<'_>, values: &mut Values, count: usize, mut run: impl FnMut(Vec<Bytes>)) {
    bencher.iter_custom(|rounds| {
        let mut spent = std::time::Duration::ZERO;
        for _ in 0..rounds {
            let values = values.next(count);
            let began = Instant::now();
            run(values);
            spent += began.elapsed();
        }
        spent
    });
}

async fn add_all(content: &(impl Append + ?Sized), values: Vec<Bytes>) {
    for value in values {
        black_box(content.add(value).await.expect("the store answers"));
    }
}

async fn add_in_batch(content: &dyn Indexable, values: Vec<Bytes>) {
    let batch = content.begin().await.expect("a batch begins");
    add_all(&*batch, values).await;
    batch.commit().await.expect("the batch is committed");
}

/// The engines' own batches.
fn raw_batches(criterion: &mut Criterion, place: &Path, len: usize, batch: usize) {
    let mut group = criterion.benchmark_group("content, batch");
    let mut values = Values::new(len);
    let map: DashMap<ContentHash, Bytes, foldhash::fast::RandomState> = DashMap::default();
    group.bench_function(BenchmarkId::new("concurrent map", len), |bencher| {
        timed(bencher, &mut values, batch, |values| {
            for value in values {
                map.insert(hash(&value), value);
            }
        });
    });
    let mut sqlite = Connection::open(place.join("raw.db")).expect("SQLite opens");
    let table = "PRAGMA journal_mode = wal; PRAGMA synchronous = normal;
                 CREATE TABLE content (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, value BLOB NOT NULL) STRICT";
    sqlite.execute_batch(table).expect("the table is made");
    group.bench_function(BenchmarkId::new("raw SQLite", len), |bencher| {
        timed(bencher, &mut values, batch, |values| insert(&mut sqlite, &values).expect("SQLite answers"));
    });
    let rocksdb = DB::open(&rocksdb_options(), place.join("raw")).expect("RocksDB opens");
    group.bench_function(BenchmarkId::new("raw RocksDB", len), |bencher| {
        timed(bencher, &mut values, batch, |values| {
            let mut batch = WriteBatch::default();
            for value in &values {
                batch.put(hash(value), value);
            }
            rocksdb.write(batch).expect("RocksDB answers");
        });
    });
}

/// Long values are in files of their own.
fn rocksdb_options() -> Options {
    let cache = cache();
    let mut options = options(&cache);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(4096);
    options.set_blob_compression_type(DBCompressionType::Lz4);
    options.set_blob_cache(&cache);
    options
}

fn insert(sqlite: &mut Connection, values: &[Bytes]) -> rusqlite::Result<()> {
    let transaction = sqlite.transaction()?;
    let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO content (hash, value) VALUES (?1, ?2)")?;
    for value in values {
        insert.execute(params![hash(value).as_bytes(), &**value])?;
    }
    drop(insert);
    transaction.commit()
}
