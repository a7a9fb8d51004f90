//! What is left of a store that was closed or dropped (L2 to L4).

use std::sync::Arc;

use futures_util::future::join_all;
use store_api::{Backend, Effect, ErrorKind, Init, Key};

use crate::{
    refusal::{shows_no_value, value},
    scene::{Scene, entries_of, key, soon, soon_gone},
};

#[tokio::test]
async fn l4_a_closed_store_is_one_file() {
    for sync in [true, false] {
        let scene = Scene::new();
        let store = scene.options().sync(sync).open().await.unwrap();
        let _watch = entries_of(&store).watch(&Key::root(), Init::Current).await.unwrap();
        entries_of(&store).set(&key("k"), value("kept")).await.unwrap();
        assert_eq!(entries_of(&store).find(&key("k")).await.unwrap(), Some(value("kept")));
        store.close().await.unwrap();
        assert_eq!(scene.files().into_keys().collect::<Vec<_>>(), [scene.file()]);
        assert!(!scene.directory().join("store.db-shm").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l3_what_was_in_flight_at_close_is_there_or_was_closed() {
    for sync in [true, false] {
        let scene = Scene::new();
        let store = scene.options().sync(sync).open().await.unwrap();
        let entries = entries_of(&store);
        let writing = (0..64).map(|i| {
            let entries = Arc::clone(&entries);
            tokio::spawn(async move { (i, entries.set(&key(i.to_string()), value(i)).await) })
        });
        let writing: Vec<_> = writing.collect();
        store.close().await.unwrap();
        let outcomes = soon("each write ends", join_all(writing)).await;
        let store = scene.open().await;
        for outcome in outcomes {
            let (i, outcome) = outcome.unwrap();
            let found = entries_of(&store).find(&key(i.to_string())).await.unwrap();
            match outcome {
                Ok(()) => assert_eq!(found, Some(value(i)), "A10: acknowledged and lost"),
                Err(error) => {
                    assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::NotApplied), "{error:?}");
                    shows_no_value(&error);
                    assert_eq!(found, None, "A5: `NotApplied`, and applied");
                }
            }
        }
    }
}

#[tokio::test]
async fn l2_a_handle_outlives_the_store_that_it_came_from() {
    let scene = Scene::new();
    let entries = entries_of(&scene.open().await);
    entries.set(&key("k"), value("kept")).await.unwrap();
    assert_eq!(entries.find(&key("k")).await.unwrap(), Some(value("kept")));
    drop(entries);
    // The log is removed with the last connection.
    soon_gone(&scene.log()).await;
}
