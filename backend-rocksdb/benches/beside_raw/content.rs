//! Content: no value is there twice, but where that is what is measured.

use std::{
    hint::black_box,
    iter,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use backend_rocksdb::Sync;
use bytes::Bytes;
use criterion::Criterion;
use store_api::{Append, Backend, ContentRead, HashFunction, Indexable};

use crate::{
    raw::Raw,
    workload::{LEVELS, Scene, open, single},
};

const VALUE_LENS: [usize; 2] = [128, 4096];
const BATCH: usize = 1000;

/// Values that do not compress, one after another.
struct Values {
    bytes: fastrand::Rng,
    len: usize,
}

impl Values {
    fn new(len: usize) -> Self {
        Self { bytes: fastrand::Rng::with_seed(7), len }
    }

    fn next(&mut self) -> Bytes {
        iter::repeat_with(|| self.bytes.u8(..)).take(self.len).collect()
    }

    fn some(&mut self, count: usize) -> Vec<Bytes> {
        iter::repeat_with(|| self.next()).take(count).collect()
    }
}

async fn ours(path: &Path, sync: Sync) -> Arc<dyn Indexable> {
    open(path, sync).await.indexable().unwrap()
}

/// Where each value lies in a file, of which all is cached.
pub(crate) fn find(criterion: &mut Criterion) {
    for len in VALUE_LENS {
        let mut group = criterion.benchmark_group(format!("find content/{len}"));
        let (scene, runtime) = (Scene::new(), single());
        let values = Values::new(len).some(BATCH);

        let raw = Raw::open(&scene.path(), false);
        raw.add(&values.iter().map(|value| &**value));
        raw.flush();
        let hashes: Vec<_> = values.iter().map(|value| HashFunction::Blake3.hash(value)).collect();
        let mut keys = hashes.iter().cycle();
        group.bench_function("raw", |bencher| {
            bencher.iter(|| {
                let hash = keys.next().unwrap();
                let found = raw.find_content(hash.as_ref()).unwrap();
                assert_eq!(HashFunction::Blake3.hash(black_box(&found)), *hash);
            });
        });

        drop(raw);

        let path = scene.path();
        let content = runtime.block_on(async {
            let store = open(&path, Sync::Off).await;
            let content = store.indexable().unwrap();
            for value in &values {
                content.add(value.clone()).await.unwrap();
            }
            store.close().await.unwrap();
            ours(&path, Sync::Off).await
        });
        let mut keys = hashes.iter().cycle();
        group.bench_function("ours", |bencher| {
            bencher.iter_custom(|turns| {
                runtime.block_on(async {
                    let began = Instant::now();
                    for _ in 0..turns {
                        let key = (*keys.next().unwrap()).into();
                        assert!(black_box(content.find(&key).await.unwrap()).is_some());
                    }
                    began.elapsed()
                })
            });
        });
    }
}

pub(crate) fn add(criterion: &mut Criterion) {
    for len in VALUE_LENS {
        let mut group = criterion.benchmark_group(format!("add, not durable/{len}"));
        let (scene, runtime) = (Scene::new(), single());

        let (raw, mut values) = (Raw::open(&scene.path(), false), Values::new(len));
        group.bench_function("raw", |bencher| {
            bencher.iter_custom(|turns| time_each(turns, &mut values, |value| raw.add(&[&*value])));
        });

        drop(raw);

        let (content, mut values) = (runtime.block_on(ours(&scene.path(), Sync::Off)), Values::new(len));
        group.bench_function("ours", |bencher| {
            bencher.iter_custom(|turns| {
                time_each(turns, &mut values, |value| {
                    runtime.block_on(content.add(value)).unwrap();
                })
            });
        });
    }
}

/// Each is there already.
pub(crate) fn add_again(criterion: &mut Criterion) {
    for len in VALUE_LENS {
        for (sync, _, name) in LEVELS {
            let mut group = criterion.benchmark_group(format!("add of what is there, {name}/{len}"));
            let (scene, runtime) = (Scene::new(), single());
            let (content, values) = (runtime.block_on(ours(&scene.path(), sync)), Values::new(len).some(BATCH));
            runtime.block_on(add_in_a_batch(&*content, values.clone()));
            let mut turns = values.iter().cycle();
            group.bench_function("ours", |bencher| {
                bencher.iter(|| runtime.block_on(content.add(turns.next().unwrap().clone())).unwrap());
            });
        }
    }
}

fn time_each(turns: u64, values: &mut Values, mut run: impl FnMut(Bytes)) -> Duration {
    let mut taken = Duration::ZERO;
    for _ in 0..turns {
        let value = values.next();
        let began = Instant::now();
        run(value);
        taken += began.elapsed();
    }
    taken
}

/// The time of a whole batch.
pub(crate) fn batch(criterion: &mut Criterion) {
    for len in VALUE_LENS {
        for (sync, synced, name) in LEVELS {
            let mut group = criterion.benchmark_group(format!("batch of {BATCH} adds, {name}/{len}"));
            let (scene, runtime) = (Scene::new(), single());

            let (raw, mut values) = (Raw::open(&scene.path(), synced), Values::new(len));
            group.bench_function("raw", |bencher| {
                bencher.iter_custom(|turns| {
                    time_batches(turns, &mut values, |values| raw.add(&values.iter().map(|value| &**value)))
                });
            });

            drop(raw);

            let (content, mut values) = (runtime.block_on(ours(&scene.path(), sync)), Values::new(len));
            group.bench_function("ours", |bencher| {
                bencher.iter_custom(|turns| {
                    time_batches(turns, &mut values, |values| runtime.block_on(add_in_a_batch(&*content, values)))
                });
            });
        }
    }
}

async fn add_in_a_batch(content: &dyn Indexable, values: Vec<Bytes>) {
    let batch = content.begin().await.unwrap();
    for value in values {
        batch.add(value).await.unwrap();
    }
    batch.commit().await.unwrap();
}

fn time_batches(turns: u64, values: &mut Values, mut run: impl FnMut(Vec<Bytes>)) -> Duration {
    let mut taken = Duration::ZERO;
    for _ in 0..turns {
        let values = values.some(BATCH);
        let began = Instant::now();
        run(values);
        taken += began.elapsed();
    }
    taken
}
