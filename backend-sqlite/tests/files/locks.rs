//! Other processes' locks: waited for as long as the busy limit says, and no longer (A6).

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use rusqlite::Connection;
use store_api::{Backend, Error, ErrorKind, Result};

use crate::{
    refusal::{refused, value},
    scene::{Scene, content_of, entries_of, key, soon},
};

/// A limit that is over soon.
const BUSY: Duration = Duration::from_millis(200);

/// A limit that is never over.
const LONG: Duration = Duration::from_hours(1);

/// Somebody else who is writing, until dropped.
struct Writing(Connection);

impl Writing {
    fn begin(scene: &Scene) -> Self {
        let connection = scene.beside();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    fn commit(self) {
        self.0.execute_batch("COMMIT").unwrap();
    }
}

/// The call must be `Unavailable`, and not before the limit.
async fn unavailable<T>(call: impl Future<Output = Result<T>>) -> Error {
    let began = Instant::now();
    let error = refused(ErrorKind::Unavailable, soon("the busy limit", call).await);
    assert!(began.elapsed() >= BUSY, "A6: refused after {:?}, before the limit of {BUSY:?}", began.elapsed());
    assert!(error.is_retryable(), "{error:?}");
    error
}

#[tokio::test]
async fn a6_a_write_is_unavailable_when_a_lock_outlasts_the_limit() {
    for sync in [true, false] {
        let scene = Scene::new();
        let store = scene.options().sync(sync).busy(BUSY).open().await.unwrap();
        let (entries, content) = (entries_of(&store), content_of(&store));
        entries.set(&key("k"), value("before")).await.unwrap();
        let other = Writing::begin(&scene);
        let error = unavailable(entries.set(&key("k"), value("after"))).await;
        assert_eq!((error.operation(), error.key()), (Some("set"), Some("k")));
        unavailable(entries.test_and_set(&key("k"), Some(value("before")), Some(value("after")))).await;
        unavailable(entries.test_and_set(&key("k"), Some(value("other")), Some(value("after")))).await;
        unavailable(entries.remove(&key("k"))).await;
        unavailable(entries.clear()).await;
        unavailable(content.add(value("content"))).await;
        unavailable(store.sync()).await;
        let batch = content.begin().await.unwrap();
        batch.add(value("batch")).await.unwrap();
        unavailable(batch.commit()).await;
        other.commit();
        assert_eq!(entries.find(&key("k")).await.unwrap(), Some(value("before")));
        entries.set(&key("k"), value("after")).await.unwrap();
        assert_eq!(entries.find(&key("k")).await.unwrap(), Some(value("after")));
        for absent in ["content", "batch"] {
            let hash = content.hash_function().hash(&value(absent));
            assert_eq!(content.index(&hash).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn a6_the_first_write_is_unavailable_when_a_lock_outlasts_the_limit() {
    let scene = Scene::new();
    scene.open().await.close().await.unwrap();
    let store = scene.options().busy(BUSY).open().await.unwrap();
    let other = Writing::begin(&scene);
    unavailable(entries_of(&store).set(&key("k"), value("first"))).await;
    other.commit();
    entries_of(&store).set(&key("k"), value("first")).await.unwrap();
}

#[tokio::test]
async fn a6_all_that_wait_for_a_lock_wait_for_the_limit_together() {
    let scene = Scene::new();
    let store = scene.options().busy(BUSY).open().await.unwrap();
    let entries = entries_of(&store);
    entries.set(&key("k"), value("before")).await.unwrap();
    let other = Writing::begin(&scene);
    let keys: Vec<_> = (0..200).map(|i| key(i.to_string())).collect();
    let writing = keys.iter().map(|key| entries.set(key, value("after")));
    let began = Instant::now();
    for outcome in soon("each write ends", join_all(writing)).await {
        refused(ErrorKind::Unavailable, outcome);
    }
    assert!(began.elapsed() < BUSY * 100, "each of 200 waited for the limit by itself: {:?}", began.elapsed());
    other.commit();
}

#[tokio::test]
async fn a6_reads_go_on_beside_a_lock() {
    let scene = Scene::new();
    let store = scene.options().busy(LONG).open().await.unwrap();
    let (entries, content) = (entries_of(&store), content_of(&store));
    entries.set(&key("k"), value("before")).await.unwrap();
    let long = Bytes::from(vec![7; 1024 * 1024]);
    entries.set(&key("long"), long.clone()).await.unwrap();
    let added = content.add(value("content")).await.unwrap();
    let other = Writing::begin(&scene);
    other.0.execute("UPDATE entries SET frame = x'00'", []).unwrap();
    let reading = async {
        assert_eq!(entries.find(&key("k")).await.unwrap(), Some(value("before")));
        assert_eq!(entries.find(&key("long")).await.unwrap(), Some(long));
        assert!(entries.mem(&key("k")).await.unwrap());
        assert_eq!(content.find(&added).await.unwrap(), Some(value("content")));
        let opened = scene.open().await;
        assert_eq!(entries_of(&opened).find(&key("k")).await.unwrap(), Some(value("before")));
    };
    soon("reads beside a lock", reading).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_a_write_succeeds_when_the_lock_is_released_within_the_limit() {
    for sync in [true, false] {
        let scene = Scene::new();
        let store = scene.options().sync(sync).busy(LONG).open().await.unwrap();
        let entries = entries_of(&store);
        entries.set(&key("k"), value("before")).await.unwrap();
        let other = Writing::begin(&scene);
        let writer = Arc::clone(&entries);
        let write = tokio::spawn(async move { writer.set(&key("k"), value("after")).await });
        // It is refused the lock a few times before it is released.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!write.is_finished());
        other.commit();
        soon("the write goes on", write).await.unwrap().unwrap();
        assert_eq!(entries.find(&key("k")).await.unwrap(), Some(value("after")));
    }
}

#[tokio::test]
async fn a6_a_lock_delays_no_close_beyond_the_limit() {
    let scene = Scene::new();
    let store = scene.options().busy(BUSY).open().await.unwrap();
    entries_of(&store).set(&key("k"), value("kept")).await.unwrap();
    let other = Writing::begin(&scene);
    soon("the close", store.close()).await.unwrap();
    other.commit();
    assert_eq!(entries_of(&scene.open().await).find(&key("k")).await.unwrap(), Some(value("kept")));
}

#[tokio::test]
async fn a6_an_open_waits_for_who_has_the_whole_file() {
    let scene = Scene::new();
    let database = Connection::open(scene.file()).unwrap();
    database.execute_batch("BEGIN EXCLUSIVE; CREATE TABLE theirs (x);").unwrap();
    unavailable(scene.options().busy(BUSY).open()).await;
    let (release, released) = mpsc::channel::<()>();
    let holder = thread::spawn(move || {
        released.recv().unwrap();
        database.execute_batch("ROLLBACK").unwrap();
    });
    let opening = tokio::spawn(scene.options().busy(LONG).open());
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!opening.is_finished());
    release.send(()).unwrap();
    soon("the open goes on", opening).await.unwrap().unwrap();
    holder.join().unwrap();
}
