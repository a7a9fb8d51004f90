//! Entries: a thousand of them.

use std::{hint::black_box, path::Path, sync::Arc, time::Instant};

use backend_rocksdb::Sync;
use criterion::{Bencher, BenchmarkId, Criterion};
use futures_util::future::join_all;
use store_api::{AtomicWrite, Backend};

use crate::{
    raw::Raw,
    workload::{LEVELS, Scene, Turn, Workload, open, shared, single, time_tasks, time_threads},
};

const VALUE_LENS: [usize; 2] = [128, 4096];

/// How many clients write at a time.
const CLIENTS: [u32; 2] = [64, 512];

fn raw(path: &Path, sync: bool, workload: &Workload) -> Raw {
    let raw = Raw::open(path, sync);
    for key in &workload.keys {
        raw.set(key.as_str().as_bytes(), workload.first());
    }
    raw
}

async fn ours(path: &Path, sync: Sync, workload: &Workload) -> Arc<dyn AtomicWrite> {
    let entries = open(path, sync).await.atomic_write().unwrap();
    for written in join_all(workload.keys.iter().map(|key| entries.set(key, workload.first().clone()))).await {
        written.unwrap();
    }
    entries
}

/// Where each entry lies in a file, of which all is cached.
pub(crate) fn find(criterion: &mut Criterion) {
    for len in VALUE_LENS {
        let mut group = criterion.benchmark_group(format!("find/{len}"));
        let (scene, runtime) = (Scene::new(), single());

        let workload = Workload::new(len);
        let raw = raw(&scene.path(), false, &workload);
        raw.flush();
        group.bench_function("raw", |bencher| {
            bencher.iter(|| assert!(black_box(raw.find(workload.next().name())).is_some()));
        });

        // What it has yet to compact would be at the cost of the next row.
        drop(raw);

        let workload = Workload::new(len);
        let path = scene.path();
        let entries = runtime.block_on(async {
            // The next open puts what is in the log into its place.
            drop(ours(&path, Sync::Off, &workload).await);
            open(&path, Sync::Off).await.atomic_write().unwrap()
        });
        group.bench_function("ours", |bencher| {
            one_client(bencher, &workload, async |turn| {
                assert!(black_box(entries.find(turn.key).await.unwrap()).is_some());
            });
        });
    }
}

pub(crate) fn set(criterion: &mut Criterion) {
    beside(
        criterion,
        "set",
        |raw, turn| raw.set(turn.name(), turn.new),
        &async |entries: &dyn AtomicWrite, turn: Turn<'_>| entries.set(turn.key, turn.new.clone()).await.unwrap(),
    );
}

pub(crate) fn test_and_set(criterion: &mut Criterion) {
    beside(
        criterion,
        "test_and_set",
        |raw, turn| assert!(raw.test_and_set(turn.name(), turn.old, turn.new)),
        &async |entries: &dyn AtomicWrite, turn: Turn<'_>| {
            let (test, set) = (Some(turn.old.clone()), Some(turn.new.clone()));
            assert!(entries.test_and_set(turn.key, test, set).await.unwrap().is_applied());
        },
    );
}

/// A write by one client, on each level of durability: by RocksDB itself, which is closed before ours begins, and by ours.
fn beside(
    criterion: &mut Criterion,
    write: &str,
    by_raw: impl Fn(&Raw, Turn<'_>),
    by_ours: &impl AsyncFn(&dyn AtomicWrite, Turn<'_>),
) {
    for len in VALUE_LENS {
        for (sync, synced, name) in LEVELS {
            let mut group = criterion.benchmark_group(format!("{write}, {name}/{len}"));
            let (scene, runtime) = (Scene::new(), single());

            let workload = Workload::new(len);
            let raw = raw(&scene.path(), synced, &workload);
            group.bench_function("raw", |bencher| bencher.iter(|| by_raw(&raw, workload.next())));
            drop(raw);

            let workload = Workload::new(len);
            let entries = runtime.block_on(ours(&scene.path(), sync, &workload));
            group.bench_function("ours", |bencher| {
                one_client(bencher, &workload, async |turn| by_ours(&*entries, turn).await);
            });
        }
    }
}

/// Writes of many clients: by RocksDB's own threads, and by our tasks.
pub(crate) fn set_by_many(criterion: &mut Criterion) {
    let len = VALUE_LENS[0];
    for (sync, synced, name) in LEVELS {
        let mut group = criterion.benchmark_group(format!("set by many, {name}/{len}"));
        let (scene, runtime) = (Scene::new(), shared());
        let workload = Workload::new(len);
        let one = raw(&scene.path(), synced, &workload);
        group.bench_function("raw, one by one", |bencher| {
            bencher.iter(|| {
                let turn = workload.next();
                one.set(turn.name(), turn.new);
            });
        });
        drop(one);
        for clients in CLIENTS {
            let workload = Workload::new(len);
            let raw = raw(&scene.path(), synced, &workload);
            group.bench_function(BenchmarkId::new("raw", clients), |bencher| {
                bencher.iter_custom(|turns| {
                    time_threads(clients, turns, || {
                        let turn = workload.next();
                        raw.set(turn.name(), turn.new);
                    })
                });
            });

            drop(raw);

            let workload = Arc::new(Workload::new(len));
            let entries = runtime.block_on(ours(&scene.path(), sync, &workload));
            group.bench_function(BenchmarkId::new("ours", clients), |bencher| {
                bencher.iter_custom(|turns| {
                    runtime.block_on(time_tasks(clients, turns, |turns| set_all(&entries, &workload, turns)))
                });
            });
        }
    }
}

fn set_all(entries: &Arc<dyn AtomicWrite>, workload: &Arc<Workload>, turns: u64) -> impl Future<Output = ()> + 'static {
    let (entries, workload) = (Arc::clone(entries), Arc::clone(workload));
    async move {
        for _ in 0..turns {
            let turn = workload.next();
            entries.set(turn.key, turn.new.clone()).await.unwrap();
        }
    }
}

/// One turn after another.
fn one_client(bencher: &mut Bencher<'_>, workload: &Workload, mut run: impl AsyncFnMut(Turn<'_>)) {
    bencher.iter_custom(|turns| {
        single().block_on(async {
            let began = Instant::now();
            for _ in 0..turns {
                run(workload.next()).await;
            }
            began.elapsed()
        })
    });
}
