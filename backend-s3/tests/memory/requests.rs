//! How many requests each operation takes.

use std::{sync::Arc, time::Duration};

use backend_s3::{Requests, S3, S3Options};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use store_api::{AtomicWrite, Backend, EntryRead, Init, Key};

const POLL: Duration = Duration::from_secs(1);

struct Scene {
    store: S3,
    entries: Arc<dyn AtomicWrite>,
}

impl Scene {
    async fn in_bucket(bucket: &Arc<InMemory>) -> Self {
        let store = S3Options::over(Arc::clone(bucket) as _).prefix("p").poll(POLL).open().await.unwrap();
        let entries = store.atomic_write().unwrap();
        Self { store, entries }
    }

    /// One instance that has seen nothing of what another one wrote.
    async fn with(entries: &[(&str, &'static str)]) -> Self {
        let bucket = Arc::new(InMemory::new());
        let other = Self::in_bucket(&bucket).await;
        for (path, value) in entries {
            other.entries.set(&key(path), Bytes::from_static(value.as_bytes())).await.unwrap();
        }
        Self::in_bucket(&bucket).await
    }

    /// PUT, GET and LIST that an operation takes.
    async fn count<T>(&self, operation: impl Future<Output = store_api::Result<T>>) -> (u64, u64, u64) {
        let before = self.store.requests();
        operation.await.unwrap();
        let after = self.store.requests();
        assert_eq!((after.head, after.delete), (before.head, before.delete));
        (after.put - before.put, after.get - before.get, after.list - before.list)
    }
}

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_open_asks_for_the_header_and_probes() {
    let bucket = Arc::new(InMemory::new());
    let first: Requests = Scene::in_bucket(&bucket).await.store.requests();
    assert_eq!((first.put, first.get, first.list, first.delete), (5, 1, 0, 1));
    let second = Scene::in_bucket(&bucket).await.store.requests();
    assert_eq!((second.put, second.get, second.list, second.delete, second.total()), (4, 1, 0, 1, 6));
}

#[tokio::test(start_paused = true)]
async fn a_known_key_is_written_in_one_request() {
    let scene = Scene::with(&[]).await;
    let (k, entries) = (key("a/b"), &scene.entries);
    assert_eq!(scene.count(entries.test_and_set(&k, None, Some("1".into()))).await, (1, 0, 0));
    assert_eq!(scene.count(entries.test_and_set(&k, Some("1".into()), Some("2".into()))).await, (1, 0, 0));
    assert_eq!(scene.count(entries.set(&k, "3".into())).await, (1, 0, 0));
    assert_eq!(scene.count(entries.remove(&k)).await, (1, 0, 0));
    assert_eq!(scene.count(entries.set(&k, "4".into())).await, (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_read_before_it_is_written() {
    let scene = Scene::with(&[("k", "old")]).await;
    assert_eq!(scene.count(scene.entries.set(&key("k"), "new".into())).await, (1, 1, 0));
    assert_eq!(scene.count(scene.entries.set(&key("l"), "new".into())).await, (1, 1, 0));
    assert_eq!(scene.count(scene.entries.remove(&key("m"))).await, (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a1_a_mismatch_and_a_no_op_ask_the_object_store() {
    let scene = Scene::with(&[("k", "old")]).await;
    let (k, entries) = (key("k"), &scene.entries);
    entries.find(&k).await.unwrap();
    assert_eq!(scene.count(entries.test_and_set(&k, Some("other".into()), None)).await, (0, 1, 0));
    assert_eq!(scene.count(entries.test_and_set(&k, None, Some("new".into()))).await, (0, 1, 0));
    assert_eq!(scene.count(entries.set(&k, "old".into())).await, (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_create_that_finds_something_takes_two() {
    let scene = Scene::with(&[("k", "old")]).await;
    assert_eq!(scene.count(scene.entries.test_and_set(&key("k"), None, Some("new".into()))).await, (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_read_takes_one_and_what_is_known_is_not_sent_again() {
    let scene = Scene::with(&[("k", "value")]).await;
    let entries = &scene.entries;
    assert_eq!(scene.count(entries.mem(&key("k"))).await, (0, 1, 0));
    assert_eq!(scene.count(entries.find(&key("k"))).await, (0, 1, 0));
    assert_eq!(scene.count(entries.find(&key("l"))).await, (0, 1, 0));
    let down = scene.store.requests().down;
    assert_eq!(scene.count(entries.find(&key("k"))).await, (0, 1, 0));
    assert_eq!(scene.store.requests().down, down);
}

#[tokio::test(start_paused = true)]
async fn a_value_of_some_mebibytes_that_is_known_is_not_sent_again() {
    let (bucket, key) = (Arc::new(InMemory::new()), key("k"));
    for len in [1 << 20, 3 << 20] {
        let value = Bytes::from(vec![b'x'; len]);
        Scene::in_bucket(&bucket).await.entries.set(&key, value.clone()).await.unwrap();
        let scene = Scene::in_bucket(&bucket).await;
        assert_eq!(scene.entries.find(&key).await.unwrap().unwrap(), value);
        let down = scene.store.requests().down;
        assert_eq!(scene.count(scene.entries.find(&key)).await, (0, 1, 0));
        assert_eq!(scene.store.requests().down, down, "{len}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_takes_one_for_each_thousand_names_and_one_for_its_scope() {
    let scene = Scene::with(&[("a", "1"), ("a/b", "2"), ("c", "3")]).await;
    let list = |under: &str| {
        let under = if under.is_empty() { Key::root() } else { key(under) };
        scene.entries.list(&under).try_collect::<Vec<_>>()
    };
    assert_eq!(scene.count(list("")).await, (0, 0, 1));
    assert_eq!(scene.count(list("a")).await, (0, 1, 1));
    for number in 0..1_100 {
        scene.entries.set(&key(&format!("many/{number}")), "x".into()).await.unwrap();
    }
    assert_eq!(scene.count(list("")).await, (0, 0, 2));
    let removed = scene.count(scene.entries.clear()).await;
    assert_eq!(removed, (1_103, 3, 2));
    assert_eq!(list("").await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_watch_begins_with_a_look_at_its_scope_and_reads_the_values_if_it_is_told_what_is_known() {
    let entries = [("a", "1"), ("a/b", "2"), ("c", "3"), ("d", "4")];
    let watch = async |under: Key, known: bool| {
        let scene = Scene::with(&entries).await;
        let init = if known { Init::Known(Vec::new()) } else { Init::Current };
        scene.count(scene.entries.watch(&under, init)).await
    };
    assert_eq!(watch(Key::root(), false).await, (0, 0, 1));
    assert_eq!(watch(Key::root(), true).await, (0, 4, 1));
    assert_eq!(watch(key("a"), false).await, (0, 1, 1));
    assert_eq!(watch(key("a"), true).await, (0, 3, 1));
    for (known, reads) in [(false, 1), (true, 2)] {
        let scene = Scene::with(&entries).await;
        let init = if known { Init::Known(None) } else { Init::Current };
        assert_eq!(scene.count(scene.entries.watch_key(&key("c"), init)).await, (0, reads, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn w11_an_idle_watch_of_a_key_takes_one_read_each_interval_without_its_body() {
    let scene = Scene::with(&[("k", "value")]).await;
    let mut watch = scene.entries.watch_key(&key("k"), Init::Current).await.unwrap();
    watch.next().await.unwrap().unwrap();
    let down = scene.store.requests().down;
    // Virtual time, which passes when nobody has anything to do.
    let ten_intervals = async || {
        tokio::time::sleep(POLL * 10 + POLL / 2).await;
        Ok(())
    };
    assert_eq!(scene.count(ten_intervals()).await, (0, 10, 0));
    assert_eq!(scene.store.requests().down, down);
    drop(watch);
    assert!(scene.count(ten_intervals()).await.1 <= 1, "nobody watches");
}

#[tokio::test(start_paused = true)]
async fn w11_an_idle_watch_of_everything_takes_one_list_each_interval() {
    let scene = Scene::with(&[("a", "1"), ("a/b", "2"), ("c", "3")]).await;
    let everything = scene.entries.watch(&Key::root(), Init::Current).await.unwrap();
    // Covered by the other.
    let inside = scene.entries.watch(&key("a"), Init::Current).await.unwrap();
    let key_inside = scene.entries.watch_key(&key("c"), Init::Current).await.unwrap();
    let ten_intervals = async || {
        tokio::time::sleep(POLL * 10 + POLL / 2).await;
        Ok(())
    };
    assert_eq!(scene.count(ten_intervals()).await, (0, 0, 10));
    drop((everything, inside, key_inside));
}

#[tokio::test(start_paused = true)]
async fn own_changes_are_told_without_a_request() {
    let scene = Scene::with(&[]).await;
    let watch = scene.entries.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(scene.count(scene.entries.test_and_set(&key("k"), None, Some("1".into()))).await, (1, 0, 0));
    let told = scene.count(async { Ok(watch.take(2).collect::<Vec<_>>().await) }).await;
    assert_eq!(told, (0, 0, 0));
}
