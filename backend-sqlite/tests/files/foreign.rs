//! Files that are no store of this format and hash function: refused, and left as they were (L5).

use std::{fs, path::PathBuf};

use backend_sqlite::SqliteOptions;
use rusqlite::Connection;
use store_api::{Backend, ErrorKind, HashFunction};

use crate::{
    refusal::{refused, value},
    scene::{Scene, content_of, entries_of, key},
};

/// Opening must be refused, and every file be what it was; gives the message.
async fn refused_and_untouched(scene: &Scene) -> String {
    let before = scene.files();
    let error = refused(ErrorKind::Incompatible, scene.options().open().await);
    assert!(scene.files() == before, "L5: a file was touched: {error}");
    error.to_string()
}

/// A database of somebody else.
fn foreign(journal_mode: &str) -> (Scene, Connection) {
    let scene = Scene::new();
    let database = Connection::open(scene.file()).unwrap();
    database.pragma_update_and_check(None, "journal_mode", journal_mode, |_| Ok(())).unwrap();
    database.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);").unwrap();
    (scene, database)
}

/// A store with something in it, closed.
async fn store_with(hash: HashFunction) -> Scene {
    let scene = Scene::new();
    let store = scene.options().hash(hash).open().await.unwrap();
    entries_of(&store).set(&key("k"), value("kept")).await.unwrap();
    content_of(&store).add(value("kept")).await.unwrap();
    store.close().await.unwrap();
    scene
}

#[tokio::test]
async fn l5_a_text_file_is_left_untouched() {
    for text in ["x", "hello\n", &"All work and no play makes Jack a dull boy.\n".repeat(1000)] {
        refused_and_untouched(&Scene::with_file(text)).await;
    }
}

#[tokio::test]
async fn l5_random_bytes_are_left_untouched() {
    for len in [1, 99, 100, 511, 512, 4096, 100_000] {
        let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(len).collect();
        refused_and_untouched(&Scene::with_file(bytes)).await;
    }
}

#[tokio::test]
async fn l5_the_beginning_of_a_database_is_left_untouched() {
    let whole = fs::read(store_with(HashFunction::Blake3).await.file()).unwrap();
    for len in [1, 15, 16] {
        refused_and_untouched(&Scene::with_file(&whole[..len])).await;
    }
}

#[tokio::test]
async fn l5_a_store_that_was_cut_short_is_corrupt_and_left_untouched() {
    let whole = fs::read(store_with(HashFunction::Blake3).await.file()).unwrap();
    for len in [24, 50, 100, 4000, 4096, whole.len() - 4096] {
        let scene = Scene::with_file(&whole[..len]);
        let before = scene.files();
        refused(ErrorKind::Corrupt, scene.options().open().await);
        assert!(scene.files() == before, "L5: a file of {len} bytes was touched");
    }
}

#[tokio::test]
async fn l5_a_foreign_database_is_left_untouched_and_keeps_its_journal_mode() {
    let (scene, database) = foreign("delete");
    drop(database);
    let message = refused_and_untouched(&scene).await;
    assert!(message.contains("not a store of irminsul"), "{message}");
    let mode: String = scene.beside().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
}

#[tokio::test]
async fn l5_a_foreign_database_with_a_log_is_left_untouched() {
    let (theirs, database) = foreign("wal");
    // As its owner left it when it was killed: what the log has is not in the file.
    let scene = Scene::new();
    for name in ["store.db", "store.db-wal"] {
        fs::copy(theirs.directory().join(name), scene.directory().join(name)).unwrap();
    }
    drop(database);
    refused_and_untouched(&scene).await;
}

/// Where the system has such paths.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn l5_a_foreign_database_with_a_log_is_left_untouched_where_its_path_is_no_text() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let (theirs, database) = foreign("wal");
    let scene = Scene::new();
    let beside = |name| scene.directory().join(OsStr::from_bytes(name));
    fs::copy(theirs.file(), beside(b"\xff.db")).unwrap();
    fs::copy(theirs.log(), beside(b"\xff.db-wal")).unwrap();
    drop(database);
    let before = scene.files();
    refused(ErrorKind::Incompatible, SqliteOptions::new(beside(b"\xff.db")).open().await);
    assert!(scene.files() == before, "L5: a file was touched");
}

#[tokio::test]
async fn l5_a_foreign_database_in_use_is_left_to_its_user() {
    for mode in ["delete", "wal"] {
        let (scene, database) = foreign(mode);
        refused_and_untouched(&scene).await;
        database.execute("INSERT INTO theirs VALUES (2)", []).unwrap();
        let rows: i64 = database.query_row("SELECT count(*) FROM theirs", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 2);
    }
}

#[tokio::test]
async fn l5_a_foreign_database_that_names_its_application_is_left_untouched() {
    let scene = Scene::new();
    scene.beside().pragma_update(None, "application_id", 42).unwrap();
    refused_and_untouched(&scene).await;
}

#[tokio::test]
async fn l5_a_newer_format_is_named_and_left_untouched() {
    let scene = store_with(HashFunction::Blake3).await;
    scene.beside().pragma_update(None, "user_version", 2).unwrap();
    let message = refused_and_untouched(&scene).await;
    assert!(message.contains("has format 2") && message.contains("reads format 1"), "{message}");
}

#[tokio::test]
async fn l5_a_store_of_another_hash_function_is_named_and_left_untouched() {
    for (own, other) in [(HashFunction::Blake3, HashFunction::Sha256), (HashFunction::Sha256, HashFunction::Blake3)] {
        let scene = store_with(own).await;
        let before = scene.files();
        let error = refused(ErrorKind::Incompatible, scene.options().hash(other).open().await);
        let message = error.to_string();
        assert!(message.contains(own.name()) && message.contains(other.name()), "{message}");
        assert!(scene.files() == before, "L5: a file was touched");
        let store = scene.options().hash(own).open().await.unwrap();
        assert_eq!(entries_of(&store).find(&key("k")).await.unwrap(), Some(value("kept")));
    }
}

#[tokio::test]
async fn l5_a_refused_store_is_left_to_those_who_have_it_open() {
    let scene = Scene::new();
    let store = scene.open().await;
    for i in 0..20 {
        refused(ErrorKind::Incompatible, scene.options().hash(HashFunction::Sha256).open().await);
        entries_of(&store).set(&key("k"), value(i)).await.unwrap();
        assert_eq!(entries_of(&store).find(&key("k")).await.unwrap(), Some(value(i)));
    }
}

#[tokio::test]
async fn l5_a_store_keeps_its_hash_function_when_none_is_named() {
    for &own in HashFunction::ALL {
        let scene = store_with(own).await;
        let store = scene.open().await;
        assert_eq!(content_of(&store).hash_function(), own);
        assert_eq!(content_of(&store).add(value("kept")).await.unwrap().to_hash(), own.hash(&value("kept")));
    }
}

#[tokio::test]
async fn l5_a_store_of_an_unknown_hash_function_is_left_untouched() {
    let scene = store_with(HashFunction::Blake3).await;
    scene.beside().execute("UPDATE state SET hash = 'md5'", []).unwrap();
    refused_and_untouched(&scene).await;
}

#[tokio::test]
async fn l5_a_link_to_a_file_that_is_no_store_is_left_untouched() {
    let scene = Scene::with_file("hello\n");
    let link: PathBuf = scene.directory().join("link.db");
    std::os::unix::fs::symlink(scene.file(), &link).unwrap();
    let before = scene.files();
    refused(ErrorKind::Incompatible, SqliteOptions::new(&link).open().await);
    assert!(scene.files() == before);
}
