//! How a file becomes a store, and what is refused before anything is touched.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use backend_sqlite::{Sqlite, SqliteOptions};
use futures_util::future::join_all;
use store_api::{Backend, Durability, ErrorKind, HashFunction, Result, Visibility};
use tokio::sync::Barrier;

use crate::{
    refusal::{refused, value},
    scene::{Scene, content_of, entries_of, key},
};

#[tokio::test]
async fn e1_a_folder_is_not_a_file() {
    let scene = Scene::new();
    let error = refused(ErrorKind::InvalidInput, SqliteOptions::new(scene.directory()).open().await);
    assert!(error.to_string().contains("is a folder"), "{error}");
    assert!(scene.files().is_empty());
}

#[tokio::test]
async fn e1_an_empty_path_is_not_a_file() {
    refused(ErrorKind::InvalidInput, SqliteOptions::new("").open().await);
}

#[tokio::test]
async fn e1_a_missing_folder_is_named_and_not_created() {
    let scene = Scene::new();
    let folder = scene.directory().join("missing");
    let error = refused(ErrorKind::InvalidInput, SqliteOptions::new(folder.join("store.db")).open().await);
    assert!(error.to_string().contains("missing/store.db lies in a folder that does not exist"), "{error}");
    assert!(!folder.exists());
}

#[tokio::test]
async fn e1_a_path_through_a_file_is_refused() {
    let scene = Scene::with_file("");
    refused(ErrorKind::InvalidInput, SqliteOptions::new(scene.file().join("store.db")).open().await);
    assert_eq!(fs::metadata(scene.file()).unwrap().len(), 0);
}

#[tokio::test]
async fn e1_a_missing_file_is_not_created_when_it_may_not_be() {
    let scene = Scene::new();
    let error = refused(ErrorKind::InvalidInput, scene.options().create(false).open().await);
    assert!(error.to_string().contains("does not exist"), "{error}");
    assert!(scene.files().is_empty());
}

#[tokio::test]
async fn l4_an_existing_store_is_opened_when_none_may_be_created() {
    let scene = Scene::new();
    let store = scene.open().await;
    entries_of(&store).set(&key("k"), value("kept")).await.unwrap();
    store.close().await.unwrap();
    let store = scene.options().create(false).open().await.unwrap();
    assert_eq!(entries_of(&store).find(&key("k")).await.unwrap(), Some(value("kept")));
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let scene = Scene::with_file("");
    let store = scene.options().create(false).open().await.unwrap();
    entries_of(&store).set(&key("k"), value("kept")).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(entries_of(&scene.open().await).find(&key("k")).await.unwrap(), Some(value("kept")));
}

#[tokio::test]
async fn a_name_that_looks_like_an_option_is_a_name() {
    let scene = Scene::new();
    let path = scene.directory().join("file:memory?mode=ro#x%20");
    let store = SqliteOptions::new(&path).open().await.unwrap();
    entries_of(&store).set(&key("k"), value("kept")).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(scene.files().into_keys().collect::<Vec<_>>(), [path]);
}

#[tokio::test]
async fn only_its_owner_can_read_a_store_that_was_created() {
    let scene = Scene::new();
    let store = scene.open().await;
    entries_of(&store).set(&key("k"), value("private")).await.unwrap();
    let modes = fs::read_dir(scene.directory()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().permissions().mode() & 0o777)
    });
    let mut modes: Vec<_> = modes.collect();
    modes.sort();
    let owned = ["store.db", "store.db-shm", "store.db-wal"].map(|name| (name.to_owned(), 0o600));
    assert_eq!(modes, owned);
}

#[tokio::test]
async fn a_store_declares_what_it_was_opened_with() {
    let scene = Scene::new();
    let full = scene.open().await.guarantees();
    assert_eq!((full.durability, full.visibility), (Durability::Power, Visibility::Host));
    let normal = scene.options().sync(false).open().await.unwrap().guarantees();
    assert_eq!((normal.durability, normal.visibility), (Durability::Process, Visibility::Host));
    let temporary = SqliteOptions::temporary().open().await.unwrap().guarantees();
    assert_eq!((temporary.durability, temporary.visibility), (Durability::Volatile, Visibility::Instance));
}

/// Opens one new file from many threads at once.
async fn open_at_once(scene: &Scene, options: impl Fn(usize) -> SqliteOptions) -> Vec<Result<Sqlite>> {
    const OPENERS: usize = 16;
    assert!(!scene.file().exists());
    let start = Arc::new(Barrier::new(OPENERS));
    let opening = (0..OPENERS).map(|opener| {
        let (start, options) = (Arc::clone(&start), options(opener));
        tokio::spawn(async move {
            start.wait().await;
            options.open().await
        })
    });
    join_all(opening).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn l4_many_that_create_one_store_at_once_share_it() {
    for _ in 0..10 {
        let scene = Scene::new();
        let stores = open_at_once(&scene, |_| scene.options()).await;
        let stores: Vec<_> = stores.into_iter().map(Result::unwrap).collect();
        for (i, store) in stores.iter().enumerate() {
            entries_of(store).set(&key(i.to_string()), value(i)).await.unwrap();
        }
        for store in &stores {
            for i in 0..stores.len() {
                assert_eq!(entries_of(store).find(&key(i.to_string())).await.unwrap(), Some(value(i)));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn l5_many_that_create_one_store_at_once_agree_on_its_hash_function() {
    for _ in 0..10 {
        let scene = Scene::new();
        let stores = open_at_once(&scene, |i| scene.options().hash(HashFunction::ALL[i % 2])).await;
        let found = scene.open().await;
        let found = content_of(&found).hash_function();
        for (i, store) in stores.into_iter().enumerate() {
            if HashFunction::ALL[i % 2] == found {
                assert_eq!(content_of(&store.unwrap()).hash_function(), found);
            } else {
                refused(ErrorKind::Incompatible, store);
            }
        }
    }
}
