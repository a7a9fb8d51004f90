//! Content whose bytes rotted, and locators that lead astray (I4 to I6).

use backend_sqlite::Sqlite;
use bytes::Bytes;
use futures_util::TryStreamExt;
use store_api::{ContentKey, ErrorKind};

use crate::{
    refusal::{refused, value},
    scene::{Scene, content_of},
};

const LONG: usize = 1024 * 1024;

/// A value that is read on the caller's thread, and one that is not.
fn values() -> [Bytes; 2] {
    [value("true"), value("x".repeat(LONG))]
}

/// Flips a bit of the value that a key leads to.
fn rot(scene: &Scene, added: &ContentKey) -> Bytes {
    let connection = scene.beside();
    let hash = added.to_hash();
    let sql = "SELECT value FROM content WHERE hash = ?1";
    let mut bytes: Vec<u8> = connection.query_row(sql, [hash.as_bytes()], |row| row.get(0)).unwrap();
    bytes[0] ^= 1;
    let sql = "UPDATE content SET value = ?2 WHERE hash = ?1";
    assert_eq!(connection.execute(sql, rusqlite::params![hash.as_bytes(), bytes]).unwrap(), 1);
    bytes.into()
}

async fn store_with(scene: &Scene, value: &Bytes) -> (Sqlite, ContentKey) {
    let store = scene.open().await;
    let added = content_of(&store).add(value.clone()).await.unwrap();
    (store, added)
}

#[tokio::test]
async fn i6_rotten_content_is_corrupt_and_its_hash_named() {
    for value in values() {
        let scene = Scene::new();
        let (store, added) = store_with(&scene, &value).await;
        rot(&scene, &added);
        for key in [added, added.to_hash().into()] {
            let error = refused(ErrorKind::Corrupt, content_of(&store).find(&key).await);
            assert_eq!(error.key(), Some(&*added.to_hash().to_string()));
        }
    }
}

#[tokio::test]
async fn i6_rotten_content_is_given_where_verification_is_off() {
    for value in values() {
        let scene = Scene::new();
        let (_store, added) = store_with(&scene, &value).await;
        let rotten = rot(&scene, &added);
        let trusting = scene.options().verify(false).open().await.unwrap();
        assert_eq!(content_of(&trusting).find(&added).await.unwrap(), Some(rotten));
    }
}

#[tokio::test]
async fn i2_adding_the_true_value_repairs_rotten_content() {
    for value in values() {
        let scene = Scene::new();
        let (store, added) = store_with(&scene, &value).await;
        let content = content_of(&store);
        rot(&scene, &added);
        assert_eq!(content.add(value.clone()).await.unwrap(), added);
        assert_eq!(content.find(&added).await.unwrap(), Some(value.clone()));
        rot(&scene, &added);
        content.unsafe_add(added.to_hash(), value.clone()).await.unwrap();
        assert_eq!(content.find(&added).await.unwrap(), Some(value.clone()));
        rot(&scene, &added);
        let batch = content.begin().await.unwrap();
        batch.add(value.clone()).await.unwrap();
        batch.commit().await.unwrap();
        assert_eq!(content.find(&added).await.unwrap(), Some(value));
    }
}

#[tokio::test]
async fn i6_rotten_content_rots_no_other() {
    let scene = Scene::new();
    let (store, added) = store_with(&scene, &value("true")).await;
    let other = content_of(&store).add(value("other")).await.unwrap();
    rot(&scene, &added);
    assert_eq!(content_of(&store).find(&other).await.unwrap(), Some(value("other")));
    let keys: Vec<ContentKey> = content_of(&store).keys().try_collect().await.unwrap();
    assert_eq!(keys, [added, other]);
}

#[tokio::test]
async fn i6_content_of_a_hash_that_rotted_is_not_given_for_another() {
    let scene = Scene::new();
    let (store, added) = store_with(&scene, &value("true")).await;
    let content = content_of(&store);
    let other = content.hash_function().hash(&value("other"));
    let sql = "UPDATE content SET hash = ?2 WHERE hash = ?1";
    scene.beside().execute(sql, [added.to_hash().as_bytes(), other.as_bytes()]).unwrap();
    assert_eq!(content.find(&added).await.unwrap(), None);
    refused(ErrorKind::Corrupt, content.find(&other.into()).await);
    scene.beside().execute("UPDATE content SET hash = x'00'", []).unwrap();
    let errors = content.keys().try_collect::<Vec<ContentKey>>().await;
    refused(ErrorKind::Corrupt, errors);
}

#[tokio::test]
async fn i5_a_locator_that_points_to_another_row_leads_to_the_right_value() {
    let scene = Scene::new();
    let store = scene.open().await;
    let content = content_of(&store);
    let one = content.add(value("one")).await.unwrap();
    let two = content.add(value("two")).await.unwrap();
    let astray = [two.locator(), &i64::MAX.to_be_bytes(), &i64::MIN.to_be_bytes(), b"7 bytes", &[0xFF; 47], b""];
    for locator in astray {
        let key = ContentKey::with_locator(one.to_hash(), locator).unwrap();
        assert_eq!(content.find(&key).await.unwrap(), Some(value("one")), "I5: {key}");
        assert!(content.mem(&key).await.unwrap());
    }
}

#[tokio::test]
async fn i5_keys_from_before_the_rows_were_renumbered_are_found() {
    let scene = Scene::new();
    let store = scene.open().await;
    let content = content_of(&store);
    let one = content.add(value("one")).await.unwrap();
    let two = content.add(value("two")).await.unwrap();
    scene.beside().execute_batch("UPDATE content SET id = -id; UPDATE content SET id = 3 + id;").unwrap();
    for (key, text) in [(one, "one"), (two, "two")] {
        assert_eq!(content.find(&key).await.unwrap(), Some(value(text)));
        let located = content.index(&key.to_hash()).await.unwrap().unwrap();
        assert_ne!(located.locator(), key.locator());
        assert_eq!(content.find(&located).await.unwrap(), Some(value(text)));
    }
}
