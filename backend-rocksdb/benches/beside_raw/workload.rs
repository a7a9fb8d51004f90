//! What the rows do, and on what stores.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use backend_rocksdb::{Rocksdb, RocksdbOptions, Sync};
use bytes::Bytes;
use futures_util::future::join_all;
use store_api::Key;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const ENTRIES: usize = 1000;

/// How ours calls what RocksDB calls a synced write.
pub(crate) const LEVELS: [(Sync, bool, &str); 2] = [(Sync::Off, false, "not durable"), (Sync::On, true, "durable")];

/// Whose turn it is, on whatever store: the keys one after another, and on each visit another value than was there.
pub(crate) struct Workload {
    pub(crate) keys: Vec<Key>,
    values: [Bytes; 2],
    turns: AtomicUsize,
}

pub(crate) struct Turn<'w> {
    pub(crate) key: &'w Key,
    pub(crate) old: &'w Bytes,
    pub(crate) new: &'w Bytes,
}

impl Turn<'_> {
    /// The key as RocksDB takes it.
    pub(crate) fn name(&self) -> &[u8] {
        self.key.as_str().as_bytes()
    }
}

impl Workload {
    pub(crate) fn new(value_len: usize) -> Self {
        Self {
            keys: (0..ENTRIES).map(|i| Key::new(format!("bench/entry/{i}")).unwrap()).collect(),
            values: [b'a', b'b'].map(|byte| vec![byte; value_len].into()),
            turns: AtomicUsize::new(0),
        }
    }

    /// What each entry is before its first turn.
    pub(crate) fn first(&self) -> &Bytes {
        &self.values[1]
    }

    pub(crate) fn next(&self) -> Turn<'_> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        // A stride, so that neighbours in time are none in the order of the keys.
        let key = &self.keys[turn * 389 % ENTRIES];
        let round = turn / ENTRIES % 2;
        Turn { key, old: &self.values[1 - round], new: &self.values[round] }
    }
}

/// Room for the stores of a group.
pub(crate) struct Scene {
    directory: TempDir,
    count: AtomicUsize,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), count: AtomicUsize::new(0) }
    }

    /// A path for one more store.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(self.count.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

/// Where a client alone runs.
pub(crate) fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Where many run.
pub(crate) fn shared() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) async fn open(path: &Path, sync: Sync) -> Rocksdb {
    RocksdbOptions::new(path).sync(sync).open().await.unwrap()
}

/// So many turns, shared by threads that each run `turn` as often; gives how long they take.
pub(crate) fn time_threads(clients: u32, turns: u64, turn: impl Fn() + std::marker::Sync) -> Duration {
    let each = turns.div_ceil(clients.into());
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| (0..each).for_each(|_| turn()));
        }
    });
    share(began.elapsed(), clients, each, turns)
}

/// So many turns, shared by tasks that each run `client` with as many; gives how long they take.
pub(crate) async fn time_tasks<F>(clients: u32, turns: u64, client: impl Fn(u64) -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let each = turns.div_ceil(clients.into());
    let began = Instant::now();
    let tasks: Vec<_> = (0..clients).map(|_| tokio::spawn(client(each))).collect();
    join_all(tasks).await.into_iter().for_each(Result::unwrap);
    share(began.elapsed(), clients, each, turns)
}

/// How much of a time the turns have that were asked for: each client took as many, rounded up.
fn share(took: Duration, clients: u32, each: u64, turns: u64) -> Duration {
    let nanos = took.as_nanos() * u128::from(turns) / u128::from(each * u64::from(clients));
    Duration::from_nanos(nanos.try_into().unwrap())
}
