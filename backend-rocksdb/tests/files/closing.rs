//! What a store leaves behind when it is closed, dropped, or killed.

use std::{env, fs, process::Command};

use backend_rocksdb::RocksdbOptions;
use store_api::{AtomicWrite, Backend};
use tokio::runtime::Runtime;

use crate::scene::{Scene, key, value};

#[tokio::test]
async fn a_close_leaves_nothing_in_the_log() {
    let scene = Scene::new();
    let store = scene.options().sync(false).open().await.unwrap();
    let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
    entries.set(&key("k"), value(1)).await.unwrap();
    let added = content.add(value(2)).await.unwrap();
    store.close().await.unwrap();
    for (name, _) in scene.logs() {
        fs::remove_file(scene.store().join(name)).unwrap();
    }
    let store = scene.open().await;
    assert_eq!(store.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(1)));
    assert_eq!(store.indexable().unwrap().find(&added).await.unwrap(), Some(value(2)));
}

#[tokio::test]
async fn a_store_that_was_dropped_has_let_go_of_its_folder() {
    let scene = Scene::new();
    let store = scene.open().await;
    store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
    drop(store);
    let store = scene.open().await;
    assert_eq!(store.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(1)));
}

/// RocksDB removes each file that it does not know from where it takes its own to be, and repairs a manifest that it does
/// not find there.
#[tokio::test]
async fn the_end_of_a_store_that_was_moved_touches_nothing_where_it_was() {
    for is_closed in [true, false] {
        let (scene, other) = (Scene::new(), Scene::new());
        for number in 2..4 {
            let store = other.open().await;
            store.atomic_write().unwrap().set(&key("k"), value(number)).await.unwrap();
            store.close().await.unwrap();
        }
        let store = scene.open().await;
        store.atomic_write().unwrap().set(&key("k"), value(1)).await.unwrap();
        let elsewhere = scene.store().with_file_name("elsewhere");
        fs::rename(scene.store(), &elsewhere).unwrap();
        fs::rename(other.store(), scene.store()).unwrap();
        let before = scene.files();
        if is_closed {
            store.close().await.unwrap();
        }
        drop(store);
        assert!(scene.files() == before, "closed: {is_closed}");
        for (options, number) in [(scene.options(), 3), (RocksdbOptions::new(elsewhere), 1)] {
            let store = options.open().await.unwrap();
            assert_eq!(store.atomic_write().unwrap().find(&key("k")).await.unwrap(), Some(value(number)));
        }
    }
}

/// How many threads of stores this process has.
fn count() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // One that ends meanwhile has no name any more.
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    // The system keeps 15 letters.
    names.filter(|name| name.starts_with("irminsul-rocksd")).count()
}

/// The variable that tells the process of one test that it is that.
const ALONE: &str = "IRMINSUL_TEST_ALONE";

/// What that process says at the end: without the test in it, it would succeed, too.
const ENDED: &str = "all threads have ended";

/// In a process of its own: the other tests have stores open.
#[test]
fn l4_the_thread_of_an_instance_ends_with_it() {
    if env::var_os(ALONE).is_none() {
        let mut alone = Command::new(env::current_exe().unwrap());
        alone.args(["closing::l4_the_thread_of_an_instance_ends_with_it", "--exact", "--nocapture"]).env(ALONE, "");
        let alone = alone.output().unwrap();
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && said.contains(ENDED), "{said}{}", String::from_utf8_lossy(&alone.stderr));
        return;
    }
    Runtime::new().unwrap().block_on(async {
        let scene = Scene::new();
        for round in 0..10 {
            let store = scene.open().await;
            store.atomic_write().unwrap().set(&key("k"), value(round)).await.unwrap();
            assert_eq!(count(), 1, "in round {round}");
            if round % 2 == 0 {
                store.close().await.unwrap();
            }
            drop(store);
            assert_eq!(count(), 0, "in round {round}");
        }
    });
    println!("{ENDED}");
}
