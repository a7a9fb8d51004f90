//! Rot that hides rows: no read sees it, and `check` does (A11, A12).

use backend_sqlite::Sqlite;
use futures_util::{StreamExt, future::join_all};
use store_api::{AtomicWrite, Backend, ErrorKind, Key, Result};

use crate::{
    refusal::{refused, value},
    scene::{Scene, content_of, entries_of, key},
};

/// A store with entries, one that was removed, one that was written twice, and content.
async fn store_in(scene: &Scene) -> Sqlite {
    let store = scene.options().sync(false).change_log(1).open().await.unwrap();
    let entries = entries_of(&store);
    for (number, path) in ["a", "b", "b", "gone"].into_iter().enumerate() {
        entries.set(&key(path), value(number)).await.unwrap();
    }
    entries.remove(&key("gone")).await.unwrap();
    content_of(&store).add(value("content")).await.unwrap();
    store
}

fn told(outcome: Result<()>, finding: &str) {
    let error = refused(ErrorKind::Corrupt, outcome);
    assert!(error.to_string().contains(finding), "{error}");
}

#[tokio::test]
async fn a12_an_index_that_leads_elsewhere_hides_entries_and_is_told() {
    let scene = Scene::new();
    store_in(&scene).await.close().await.unwrap();
    let beside = scene.beside();
    beside.pragma_update(None, "writable_schema", true).unwrap();
    let elsewhere =
        "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = ?2) WHERE name = ?1";
    let changed = beside.execute(elsewhere, ["sqlite_autoindex_entries_1", "sqlite_autoindex_content_1"]).unwrap();
    assert_eq!(changed, 1);
    drop(beside);

    let store = scene.open().await;
    let entries = entries_of(&store);
    assert_eq!(entries.find(&key("a")).await.unwrap(), None, "no read can tell");
    assert_eq!(entries.list(&key("a")).count().await, 0, "no read can tell");
    told(store.check().await, "reference to page");
}

#[tokio::test]
async fn a12_entries_and_the_log_of_their_changes_that_are_at_odds_are_told() {
    for (damage, finding) in [
        ("UPDATE entries SET seq = seq + 1000 WHERE key = ?1", "does not have"),
        ("UPDATE entries SET seq = -seq WHERE key = ?1", "does not have"),
        ("DELETE FROM changes WHERE key = ?1", "does not have"),
        (
            "UPDATE changes SET key = CAST('c' AS BLOB) WHERE seq = (SELECT seq FROM entries WHERE key = ?1)",
            "does not have",
        ),
        ("UPDATE entries SET seq = (SELECT min(seq) FROM changes WHERE key = ?1) WHERE key = ?1", "older"),
    ] {
        let scene = Scene::new();
        let store = store_in(&scene).await;
        assert!(scene.beside().execute(damage, [b"b"]).unwrap() > 0, "{damage}");
        told(store.check().await, finding);
    }
}

#[tokio::test]
async fn a12_a_sound_store_is_sound_while_it_is_written() {
    let scene = Scene::new();
    let store = store_in(&scene).await;
    let entries = entries_of(&store);
    store.check().await.unwrap();
    let writes = async {
        for round in 0..4 {
            // Enough for the log of changes to be trimmed.
            let keys: Vec<Key> = (0..700).map(|number| key(format!("many/{number}"))).collect();
            join_all(keys.iter().map(|key| entries.set(key, value(round)))).await.into_iter().for_each(Result::unwrap);
            entries.remove(&key("many/7")).await.unwrap();
            if round % 2 == 0 {
                entries.clear().await.unwrap();
            }
        }
    };
    let checks = async {
        for _ in 0..8 {
            store.check().await.unwrap();
        }
    };
    tokio::join!(writes, checks);
    store.check().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.check().await.unwrap_err().kind(), ErrorKind::Closed);
    scene.open().await.check().await.unwrap();
}
