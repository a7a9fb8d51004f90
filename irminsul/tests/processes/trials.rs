//! The trials: each has a SQLite file of its own, and children that share it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use irminsul::{AtomicWrite, Backend, ContentKey, Key, prelude::*};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    child::Role,
    roles::{BATCH, INCREMENTS, WRITERS, batch, counter, latest, number, value},
};

/// How often a writer is killed.
const KILLS: usize = 6;

fn address(directory: &TempDir, sync: &str) -> String {
    let path: &Path = directory.path();
    format!("sqlite:{}?sync={sync}&busy=60000", path.join("store.db").display())
}

/// Runs `body` with the store in this process.
fn with_store<T>(address: &str, body: impl AsyncFnOnce(Arc<dyn Backend>) -> T) -> T {
    Runtime::new().unwrap().block_on(async {
        let store = irminsul::open(address).await.unwrap();
        let output = body(Arc::clone(&store)).await;
        store.close().await.unwrap();
        output
    })
}

/// Starts a child over and over on the same store, kills it after a random number of lines, and gives each round's
/// lines to `check`.
fn kill_at_random(role: &str, address: &str, check: impl Fn(&[String])) {
    for _ in 0..KILLS {
        let child = Role::start(role, address);
        let lines = fastrand::usize(..200);
        let mut said: Vec<String> = (0..lines).map(|_| child.line()).collect();
        said.extend(child.kill());
        check(&said);
    }
}

pub(crate) fn eight_processes_lose_no_increment(sync: &str) {
    const PROCESSES: u64 = 8;
    let directory = TempDir::new().unwrap();
    let address = address(&directory, sync);
    let mut children: Vec<Role> = (0..PROCESSES).map(|_| Role::start("increment", &address)).collect();
    for child in &children {
        child.until("ready");
    }
    for child in &mut children {
        child.go();
    }
    for child in children {
        child.finish();
    }
    let count = with_store(&address, async |store| {
        number(store.atomic_write().unwrap().find(&counter()).await.unwrap().as_ref())
    });
    assert_eq!(count, PROCESSES * INCREMENTS);
}

pub(crate) fn a_killed_writer_loses_nothing_acknowledged(sync: &str) {
    let directory = TempDir::new().unwrap();
    let address = address(&directory, sync);
    kill_at_random("acknowledge", &address, |said| {
        with_store(&address, async |store| {
            let entries = store.atomic_write().unwrap();
            for line in said {
                let (writer, i) = line.split_once(' ').unwrap();
                let i = i.parse().unwrap();
                let own = entries.find(&Key::new(format!("own/{writer}/{i}")).unwrap()).await.unwrap();
                assert_eq!(own, Some(value(i)), "A10: acknowledged and lost");
                let counting = entries.find(&Key::new(format!("counting/{writer}")).unwrap()).await.unwrap();
                assert!(number(counting.as_ref()) >= i, "A10: an acknowledged value was lost to an older one");
            }
            let counting = entries.list_sorted(&Key::new("counting").unwrap()).await.unwrap();
            assert!(counting.len() <= WRITERS);
        });
    });
}

pub(crate) fn a_killed_writer_leaves_whole_batches(sync: &str) {
    let directory = TempDir::new().unwrap();
    let address = address(&directory, sync);
    kill_at_random("batches", &address, |said| {
        with_store(&address, async |store| {
            let content = store.indexable().unwrap();
            let committed = said.last().map_or(0, |line| line.parse::<u64>().unwrap() + 1);
            for number in 0..committed + 2 {
                let mut found = 0;
                for value in batch(number) {
                    let hash = content.hash_function().hash(&value);
                    if let Some(there) = content.find(&hash.into()).await.unwrap() {
                        assert_eq!(there, value);
                        found += 1;
                    }
                }
                assert!(found == 0 || found == BATCH, "I7: {found} values of {BATCH} after a crash");
                assert!(found == BATCH || number >= committed, "I7: a committed batch is lost");
            }
        });
    });
}

pub(crate) fn a_killed_writer_leaves_no_name_without_content(sync: &str) {
    let directory = TempDir::new().unwrap();
    let address = address(&directory, sync);
    kill_at_random("name", &address, |said| {
        let acknowledged = said.last().map_or(0, |line| line.parse().unwrap());
        with_store(&address, async |store| {
            let Some(named) = store.atomic_write().unwrap().find(&latest()).await.unwrap() else {
                assert_eq!(acknowledged, 0, "A10: the name is lost");
                return;
            };
            let key: ContentKey = std::str::from_utf8(&named).unwrap().parse().unwrap();
            let content = store.indexable().unwrap();
            let found = content.find(&key).await.unwrap().expect("X1: the content behind a name");
            assert_eq!(content.resolve(&key.to_hash()).await.unwrap(), Some(found.clone()));
            assert!(number(Some(&found)) >= acknowledged, "A10: the name went back");
        });
    });
}

/// What a follower said, folded.
struct Follower {
    child: Role,
    state: BTreeMap<String, String>,
}

impl Follower {
    fn start(address: &str) -> Self {
        let child = Role::start("follow", address);
        child.until("caught up");
        Self { child, state: BTreeMap::new() }
    }

    /// Reads until what it was told folds to the entries of the store.
    fn converge(&mut self, expected: &BTreeMap<String, String>) {
        while self.state != *expected {
            let line = self.child.line();
            if let Some((key, value)) = line.split_once('\t') {
                let before = self.state.insert(key.into(), value.into());
                assert_ne!(before.as_deref(), Some(value), "W3: {key} told twice");
            } else {
                let before = self.state.remove(&line);
                assert!(before.is_some(), "W3: {line} was removed from a baseline without it");
            }
        }
    }
}

/// Sets entries, many at a time, and keeps account of them.
async fn set(entries: &dyn AtomicWrite, state: &mut BTreeMap<String, String>, all: Vec<(String, String)>) {
    state.extend(all.iter().cloned());
    stream::iter(all)
        .map(|(key, value)| async move { entries.set(&Key::new(key)?, value.into()).await })
        .buffer_unordered(64)
        .try_collect::<()>()
        .await
        .unwrap();
}

async fn remove(entries: &dyn AtomicWrite, state: &mut BTreeMap<String, String>, key: &str) {
    state.remove(key);
    entries.remove(&Key::new(key).unwrap()).await.unwrap();
}

fn numbered(under: &str, count: usize, text: &str) -> Vec<(String, String)> {
    (0..count).map(|i| (format!("{under}/{i}"), format!("{text} {i}"))).collect()
}

pub(crate) fn another_process_is_told_every_final_value(sync: &str) {
    let directory = TempDir::new().unwrap();
    let address = address(&directory, sync);
    with_store(&address, async |store| {
        let entries = store.atomic_write().unwrap();
        let mut follower = Follower::start(&address);
        let mut state = BTreeMap::new();
        set(&*entries, &mut state, numbered("many", 500, "first")).await;
        follower.converge(&state);
        set(&*entries, &mut state, numbered("many", 250, "second")).await;
        for i in 200..300 {
            remove(&*entries, &mut state, &format!("many/{i}")).await;
        }
        follower.converge(&state);
        entries.clear().await.unwrap();
        state.clear();
        set(&*entries, &mut state, numbered("many", 50, "first")).await;
        follower.converge(&state);
        entries.clear().await.unwrap();
        follower.converge(&BTreeMap::new());
    });
}

/// The change log keeps the last 16,384 changes at least; who slept through more compares its whole scope.
pub(crate) fn a_stopped_watcher_catches_up_past_the_trimmed_log(sync: &str) {
    const CHANGES: usize = 45_000;
    let directory = TempDir::new().unwrap();
    let address = address(&directory, sync);
    with_store(&address, async |store| {
        let entries = store.atomic_write().unwrap();
        let mut follower = Follower::start(&address);
        let mut state = BTreeMap::new();
        set(&*entries, &mut state, numbered("stays", 100, "before")).await;
        set(&*entries, &mut state, numbered("goes", 100, "before")).await;
        set(&*entries, &mut state, numbered("changes", 100, "before")).await;
        follower.converge(&state);

        follower.child.stop();
        for i in 0..100 {
            remove(&*entries, &mut state, &format!("goes/{i}")).await;
        }
        for round in 0..CHANGES / 100 {
            set(&*entries, &mut state, numbered("changes", 100, &format!("round {round}"))).await;
        }
        follower.child.resume();
        follower.converge(&state);

        follower.child.stop();
        entries.clear().await.unwrap();
        state.clear();
        for round in 0..CHANGES / 100 {
            set(&*entries, &mut state, numbered("changes", 100, &format!("again {round}"))).await;
        }
        follower.child.resume();
        follower.converge(&state);
        set(&*entries, &mut state, numbered("live", 10, "after")).await;
        follower.converge(&state);
    });
}
