//! Entries whose bytes rotted: an error that names the key, never another value, and a store that goes on (A12).

use backend_sqlite::Sqlite;
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use rusqlite::params;
use store_api::{AtomicWrite, Backend, Diff, Error, ErrorKind, Event, Init, Key, TestAndSet, Watch};

use crate::{
    refusal::{refused, shows_no_value, value},
    scene::{Scene, State, entries_of, key, soon, state_of},
};

/// What may happen to a row. `?1` is the key.
const DAMAGES: [&str; 7] = [
    "UPDATE entries SET frame = substr(frame, 1, length(frame) - 1) WHERE key = ?1",
    "UPDATE entries SET frame = CAST(x'00' || substr(frame, 2) AS BLOB) WHERE key = ?1",
    "UPDATE entries SET frame = CAST(frame || x'00' AS BLOB) WHERE key = ?1",
    "UPDATE entries SET frame = x'' WHERE key = ?1",
    "UPDATE entries SET frame = zeroblob(1024 * 1024) WHERE key = ?1",
    "UPDATE entries SET frame = (SELECT frame FROM entries WHERE key = CAST('other' AS BLOB)) WHERE key = ?1",
    "UPDATE entries SET frame = (SELECT frame FROM entries WHERE key = CAST('same' AS BLOB)) WHERE key = ?1",
];

fn k() -> Key {
    key("k")
}

/// A store with the entry `k`, another one, and one of the same value.
async fn store_in(scene: &Scene) -> Sqlite {
    let store = scene.open().await;
    let entries = entries_of(&store);
    for (path, text) in [("k", "true"), ("other", "other"), ("same", "true")] {
        entries.set(&key(path), value(text)).await.unwrap();
    }
    store
}

fn damage(scene: &Scene, damage: &str) {
    assert_eq!(scene.beside().execute(damage, [b"k"]).unwrap(), 1);
}

/// Damages `k` so that instances hear of it, as of any change of another process.
fn damage_aloud(scene: &Scene) {
    let mut connection = scene.beside();
    let transaction = connection.transaction().unwrap();
    let sql = "INSERT INTO changes (seq, key) SELECT max(seq) + 1, ?1 FROM changes RETURNING seq";
    let seq: i64 = transaction.query_row(sql, [b"k"], |row| row.get(0)).unwrap();
    transaction.execute("UPDATE entries SET frame = x'00', seq = ?2 WHERE key = ?1", params![b"k", seq]).unwrap();
    transaction.commit().unwrap();
}

fn names_the_key(error: &Error) {
    assert_eq!(error.key(), Some("k"), "{error:?}");
}

#[tokio::test]
async fn a12_a_rotten_entry_is_corrupt_whatever_happened_to_it() {
    for sql in DAMAGES {
        let scene = Scene::new();
        let store = store_in(&scene).await;
        let entries = entries_of(&store);
        damage(&scene, sql);
        names_the_key(&refused(ErrorKind::Corrupt, entries.find(&k()).await));
        assert!(entries.mem(&k()).await.unwrap(), "A11: rotten is not absent");
        assert_eq!(entries.find(&key("other")).await.unwrap(), Some(value("other")));
        store.close().await.unwrap();
        refused(ErrorKind::Corrupt, entries_of(&scene.open().await).find(&k()).await);
    }
}

#[tokio::test]
async fn a12_a_rotten_entry_is_compared_with_nothing() {
    for sql in DAMAGES {
        let scene = Scene::new();
        let store = store_in(&scene).await;
        let entries = entries_of(&store);
        damage(&scene, sql);
        for test in [None, Some(value("true")), Some(value("other")), Some(Bytes::new())] {
            let verdict = entries.test_and_set(&k(), test, Some(value("set"))).await;
            names_the_key(&refused(ErrorKind::Corrupt, verdict));
        }
        refused(ErrorKind::Corrupt, entries.find(&k()).await);
    }
}

#[tokio::test]
async fn a12_a_rotten_entry_fails_no_neighbour_of_its_group() {
    let scene = Scene::new();
    let store = store_in(&scene).await;
    let entries = entries_of(&store);
    damage(&scene, DAMAGES[0]);
    let keys: Vec<Key> = (0..50).map(|i| key(i.to_string())).collect();
    let neighbours = join_all(keys.iter().map(|key| entries.set(key, value("set"))));
    let rotten = k();
    let (verdict, written) = tokio::join!(entries.test_and_set(&rotten, Some(value("true")), None), neighbours);
    refused(ErrorKind::Corrupt, verdict);
    written.into_iter().for_each(Result::unwrap);
}

#[tokio::test]
async fn a12_set_repairs_a_rotten_entry() {
    for sql in DAMAGES {
        let scene = Scene::new();
        let entries = entries_of(&store_in(&scene).await);
        damage(&scene, sql);
        entries.set(&k(), value("repaired")).await.unwrap();
        assert_eq!(entries.find(&k()).await.unwrap(), Some(value("repaired")));
        let verdict = entries.test_and_set(&k(), Some(value("repaired")), None).await.unwrap();
        assert_eq!(verdict, TestAndSet::Applied);
    }
}

#[tokio::test]
async fn a12_remove_and_clear_rid_the_store_of_a_rotten_entry() {
    for sql in DAMAGES {
        let scene = Scene::new();
        let entries = entries_of(&store_in(&scene).await);
        damage(&scene, sql);
        entries.remove(&k()).await.unwrap();
        assert_eq!(entries.find(&k()).await.unwrap(), None);
        entries.set(&k(), value("true")).await.unwrap();
        damage(&scene, sql);
        entries.clear().await.unwrap();
        assert_eq!(state_of(&*entries).await.unwrap(), State::new());
    }
}

#[tokio::test]
async fn a12_a_stream_of_entries_tells_of_a_rotten_one_and_goes_on() {
    for sql in DAMAGES {
        let scene = Scene::new();
        let entries = entries_of(&store_in(&scene).await);
        damage(&scene, sql);
        let (mut whole, mut rotten) = (State::new(), Vec::new());
        let mut stream = entries.entries(&Key::root());
        while let Some(item) = stream.next().await {
            match item {
                Ok((key, value)) => assert!(whole.insert(key, value).is_none()),
                Err(error) => rotten.push(error),
            }
        }
        assert_eq!(whole, [(key("other"), value("other")), (key("same"), value("true"))].into());
        assert_eq!(rotten.len(), 1);
        names_the_key(&refused::<()>(ErrorKind::Corrupt, Err(rotten.remove(0))));
        let listed: Vec<Key> = entries.list(&Key::root()).map(Result::unwrap).collect().await;
        assert_eq!(listed, [k(), key("other"), key("same")]);
    }
}

/// A key that rotted into one that there can be, or into none.
const KEY_DAMAGES: [&str; 2] =
    ["UPDATE entries SET key = CAST('q' AS BLOB) WHERE key = ?1", "UPDATE entries SET key = x'6bff' WHERE key = ?1"];

#[tokio::test]
async fn a12_a_value_is_not_given_under_another_key() {
    let scene = Scene::new();
    let entries = entries_of(&store_in(&scene).await);
    damage(&scene, KEY_DAMAGES[0]);
    refused(ErrorKind::Corrupt, entries.find(&key("q")).await);
    refused(ErrorKind::Corrupt, entries.test_and_set(&key("q"), Some(value("true")), None).await);
}

#[tokio::test]
async fn a12_a_stream_tells_of_a_key_that_is_none_and_goes_on() {
    let scene = Scene::new();
    let entries = entries_of(&store_in(&scene).await);
    damage(&scene, KEY_DAMAGES[1]);
    let listed: Vec<_> = entries.list(&Key::root()).collect().await;
    assert_eq!(listed.iter().flatten().collect::<Vec<_>>(), [&key("other"), &key("same")]);
    let entries: Vec<_> = entries.entries(&Key::root()).collect().await;
    assert_eq!(entries.iter().flatten().count(), 2);
    for error in listed.into_iter().filter_map(Result::err).chain(entries.into_iter().filter_map(Result::err)) {
        refused::<()>(ErrorKind::Corrupt, Err(error));
    }
}

#[tokio::test]
async fn a7_a_list_ends_beside_a_key_that_rotted_into_an_earlier_one() {
    let scene = Scene::new();
    let store = scene.options().sync(false).open().await.unwrap();
    let entries = entries_of(&store);
    let keys: Vec<Key> = (0..1500).map(|i| key(format!("k/{i:04}"))).collect();
    join_all(keys.iter().map(|key| entries.set(key, value("set")))).await.into_iter().for_each(Result::unwrap);
    store.close().await.unwrap();
    // The last one of the first page.
    let (sound, rotten) = (b"k/1023", b"a/1023");
    let mut bytes = std::fs::read(scene.file()).unwrap();
    for at in 0..bytes.len() - sound.len() {
        if bytes[at..].starts_with(sound) {
            bytes[at..at + sound.len()].copy_from_slice(rotten);
        }
    }
    std::fs::write(scene.file(), bytes).unwrap();
    let entries = entries_of(&scene.open().await);
    let listed: Vec<_> = entries.list(&Key::root()).take(10_000).collect().await;
    assert!(listed.len() < 3_000, "it begins anew again and again");
    refused::<()>(ErrorKind::Corrupt, Err(listed.into_iter().find_map(Result::err).unwrap()));
    assert!(entries.entries(&Key::root()).take(10_000).count().await < 3_000);
}

#[tokio::test]
async fn w5_a_watch_follows_the_rest_of_its_scope_beside_a_key_that_is_none() {
    for sql in KEY_DAMAGES {
        let scene = Scene::new();
        let store = store_in(&scene).await;
        damage(&scene, sql);
        let entries = entries_of(&store);
        let mut watch = entries.watch(&Key::root(), Init::Current).await.unwrap();
        let other = scene.options().sync(false).change_log(1).open().await.unwrap();
        for i in 0..2000 {
            entries_of(&other).set(&key(format!("fill/{i}")), value(i)).await.unwrap();
        }
        entries_of(&other).set(&key("last"), value("last")).await.unwrap();
        let told = async {
            while next(&mut watch).await.ok().flatten() != Some((key("last"), Diff::Added { new: value("last") })) {}
        };
        soon("W5: the last change", told).await;
    }
}

/// The next change or error.
async fn next(watch: &mut Watch) -> Result<Option<(Key, Diff)>, Error> {
    match soon("another event", watch.next()).await.expect("the watch goes on")? {
        Event::Changed { key, diff } => Ok(Some((key, diff))),
        _ => Ok(None),
    }
}

/// The next thing that a watch tells, which must be that `k` rotted.
async fn told_of_rot(watch: &mut Watch) {
    let error = next(watch).await.expect_err("the rot is told");
    names_the_key(&error);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    shows_no_value(&error);
}

/// Watches of `k` that know what it was, have caught up, and were told that it rotted.
async fn watches_beside_rot(scene: &Scene, entries: &dyn AtomicWrite) -> [Watch; 2] {
    let known = Init::Known(state_of(entries).await.unwrap().into_iter().collect());
    let mut watches = [
        entries.watch(&Key::root(), known).await.unwrap(),
        entries.watch_key(&k(), Init::Known(Some(value("true")))).await.unwrap(),
    ];
    for watch in &mut watches {
        assert_eq!(next(watch).await.unwrap(), None, "caught up");
    }
    damage_aloud(scene);
    for watch in &mut watches {
        told_of_rot(watch).await;
    }
    watches
}

#[tokio::test]
async fn w10_a_watch_is_told_of_rot_and_then_of_the_repair() {
    let scene = Scene::new();
    let store = store_in(&scene).await;
    let entries = entries_of(&store);
    let mut watches = watches_beside_rot(&scene, &*entries).await;
    entries.set(&k(), value("repaired")).await.unwrap();
    let repaired = Diff::Updated { old: Some(value("true")), new: value("repaired") };
    for watch in &mut watches {
        assert_eq!(next(watch).await.unwrap(), Some((k(), repaired.clone())));
    }
}

#[tokio::test]
async fn w10_a_repair_by_another_instance_is_told() {
    let scene = Scene::new();
    let store = store_in(&scene).await;
    let mut watches = watches_beside_rot(&scene, &*entries_of(&store)).await;
    let other = entries_of(&scene.open().await);
    other.remove(&k()).await.unwrap();
    for watch in &mut watches {
        assert_eq!(next(watch).await.unwrap(), Some((k(), Diff::Removed { old: Some(value("true")) })));
    }
    other.set(&k(), value("repaired")).await.unwrap();
    for watch in &mut watches {
        assert_eq!(next(watch).await.unwrap(), Some((k(), Diff::Added { new: value("repaired") })));
    }
}

#[tokio::test]
async fn w6_a_repair_to_what_was_told_last_is_not_told() {
    let scene = Scene::new();
    let store = store_in(&scene).await;
    let entries = entries_of(&store);
    let mut watches = watches_beside_rot(&scene, &*entries).await;
    entries.set(&k(), value("true")).await.unwrap();
    entries.set(&k(), value("next")).await.unwrap();
    let next_value = Diff::Updated { old: Some(value("true")), new: value("next") };
    for watch in &mut watches {
        assert_eq!(next(watch).await.unwrap(), Some((k(), next_value.clone())));
    }
}

#[tokio::test]
async fn w10_a_watch_that_began_beside_rot_is_told_of_the_repair() {
    let scene = Scene::new();
    let store = store_in(&scene).await;
    damage(&scene, DAMAGES[0]);
    let entries = entries_of(&store);
    let mut watch = entries.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), None, "caught up");
    entries.set(&k(), value("repaired")).await.unwrap();
    let repaired = Diff::Updated { old: None, new: value("repaired") };
    assert_eq!(next(&mut watch).await.unwrap(), Some((k(), repaired)));
}

#[tokio::test]
async fn a12_a_watch_that_must_tell_a_rotten_value_at_its_start_is_refused() {
    let scene = Scene::new();
    let store = store_in(&scene).await;
    damage(&scene, DAMAGES[0]);
    let entries = entries_of(&store);
    refused(ErrorKind::Corrupt, entries.watch(&Key::root(), Init::Known(Vec::new())).await);
    refused(ErrorKind::Corrupt, entries.watch_key(&k(), Init::Known(None)).await);
    assert!(entries.watch(&key("other"), Init::Known(Vec::new())).await.is_ok());
}

#[tokio::test]
async fn a12_a_store_without_its_tables_is_an_error_and_not_empty() {
    let scene = Scene::new();
    let store = store_in(&scene).await;
    store.close().await.unwrap();
    scene.beside().execute_batch("DROP TABLE entries").unwrap();
    let opened = scene.options().open().await;
    let error = match opened {
        Ok(store) => entries_of(&store).find(&k()).await.expect_err("A11: never absent"),
        Err(error) => error,
    };
    shows_no_value(&error);
}

#[tokio::test]
async fn a11_a_file_whose_pages_rotted_is_an_error_and_not_empty() {
    let scene = Scene::new();
    let store = store_in(&scene).await;
    for i in 0..500 {
        entries_of(&store).set(&key(format!("fill/{i}")), value(i)).await.unwrap();
    }
    store.close().await.unwrap();
    let mut bytes = std::fs::read(scene.file()).unwrap();
    bytes[4096..].fill(0xA5);
    std::fs::write(scene.file(), bytes).unwrap();
    match scene.options().open().await {
        Ok(store) => refused(ErrorKind::Corrupt, entries_of(&store).find(&k()).await),
        Err(error) => refused::<()>(ErrorKind::Corrupt, Err(error)),
    };
}
