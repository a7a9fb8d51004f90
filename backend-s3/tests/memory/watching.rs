//! Watches over two instances, in virtual time.

use std::{sync::Arc, time::Duration};

use backend_s3::{S3, S3Options};
use bytes::Bytes;
use object_store::{
    ObjectStore,
    memory::InMemory,
    throttle::{ThrottleConfig, ThrottledStore},
};
use store_api::{AtomicWrite, Backend, Diff, EntryRead, ErrorKind, Event, Init, Key, Watch};
use tokio::time::Instant;

use crate::faulty::Faulty;

struct Scene {
    store: Arc<Faulty>,
    mine: S3,
    entries: Arc<dyn AtomicWrite>,
    others: Arc<dyn AtomicWrite>,
}

impl Scene {
    async fn new() -> Self {
        let bucket = Arc::new(InMemory::new());
        let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
        let mine = S3Options::over(Arc::clone(&store) as _).open().await.unwrap();
        let others = S3Options::over(bucket).open().await.unwrap();
        Self { store, entries: mine.atomic_write().unwrap(), others: others.atomic_write().unwrap(), mine }
    }
}

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

async fn next(watch: &mut Watch) -> Event {
    watch.next().await.unwrap().unwrap()
}

fn changed(path: &str, diff: Diff) -> Event {
    Event::Changed { key: key(path), diff }
}

#[tokio::test(start_paused = true)]
async fn w11_changes_of_another_instance_are_told_in_a_chain() {
    let scene = Scene::new().await;
    scene.others.set(&key("a"), "1".into()).await.unwrap();
    let mut all = scene.entries.watch(&Key::root(), Init::Current).await.unwrap();
    let mut one = scene.entries.watch_key(&key("a"), Init::Current).await.unwrap();
    for watch in [&mut all, &mut one] {
        assert_eq!(next(watch).await, Event::CaughtUp);
    }
    scene.others.set(&key("a"), "2".into()).await.unwrap();
    for watch in [&mut all, &mut one] {
        assert_eq!(next(watch).await, changed("a", Diff::Updated { old: None, new: "2".into() }));
    }
    scene.others.remove(&key("a")).await.unwrap();
    for watch in [&mut all, &mut one] {
        assert_eq!(next(watch).await, changed("a", Diff::Removed { old: Some("2".into()) }));
    }
    scene.entries.set(&key("a"), "3".into()).await.unwrap();
    for watch in [&mut all, &mut one] {
        assert_eq!(next(watch).await, changed("a", Diff::Added { new: "3".into() }));
    }
}

#[tokio::test(start_paused = true)]
async fn w1_what_another_instance_wrote_before_a_watch_began_is_not_told() {
    let scene = Scene::new().await;
    let mut first = scene.entries.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(next(&mut first).await, Event::CaughtUp);
    scene.others.set(&key("a"), "1".into()).await.unwrap();
    let mut second = scene.entries.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(next(&mut second).await, Event::CaughtUp);
    assert_eq!(next(&mut first).await, changed("a", Diff::Added { new: "1".into() }));
    scene.entries.set(&key("a"), "2".into()).await.unwrap();
    assert_eq!(next(&mut second).await, changed("a", Diff::Updated { old: None, new: "2".into() }));
}

#[tokio::test(start_paused = true)]
async fn w4_an_own_write_behind_one_of_another_is_told_after_it_or_instead() {
    let scene = Scene::new().await;
    scene.entries.set(&key("a"), "mine".into()).await.unwrap();
    let mut watch = scene.entries.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::CaughtUp);
    scene.others.set(&key("a"), "theirs".into()).await.unwrap();
    // Written upon what the watch has not been told of.
    scene.entries.set(&key("a"), "mine again".into()).await.unwrap();
    assert_eq!(next(&mut watch).await, changed("a", Diff::Updated { old: None, new: "mine again".into() }));
    scene.others.remove(&key("a")).await.unwrap();
    assert_eq!(next(&mut watch).await, changed("a", Diff::Removed { old: Some("mine again".into()) }));
}

#[tokio::test(start_paused = true)]
async fn w1_a_watch_resumes_from_what_it_knew() {
    let scene = Scene::new().await;
    for (path, value) in [("a", "1"), ("b", "1"), ("c", "1")] {
        scene.others.set(&key(path), value.into()).await.unwrap();
    }
    scene.others.remove(&key("b")).await.unwrap();
    let known = vec![(key("a"), "0".into()), (key("b"), "1".into()), (key("d"), "1".into())];
    let mut watch = scene.entries.watch(&Key::root(), Init::Known(known)).await.unwrap();
    let mut told = Vec::new();
    loop {
        match next(&mut watch).await {
            Event::CaughtUp => break,
            event => told.push(event),
        }
    }
    let key_of = |event: &Event| if let Event::Changed { key, .. } = event { Some(key.clone()) } else { None };
    told.sort_by_key(key_of);
    let expected = [
        changed("a", Diff::Updated { old: Some("0".into()), new: "1".into() }),
        changed("b", Diff::Removed { old: Some("1".into()) }),
        changed("c", Diff::Added { new: "1".into() }),
        changed("d", Diff::Removed { old: Some("1".into()) }),
    ];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn a_known_state_from_outside_of_the_scope_is_refused_without_a_request() {
    let scene = Scene::new().await;
    let before = scene.mine.requests();
    let known = Init::Known(vec![(key("b"), "1".into())]);
    let refusal = scene.entries.watch(&key("a"), known).await.unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::InvalidInput);
    assert_eq!(scene.mine.requests(), before);
}

#[tokio::test(start_paused = true)]
async fn w10_a_fault_is_told_once_and_the_watch_catches_up() {
    let scene = Scene::new().await;
    let mut watch = scene.entries.watch_key(&key("a"), Init::Current).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::CaughtUp);
    // Each look tries a few times.
    scene.store.fail_gets(23);
    scene.others.set(&key("a"), "1".into()).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(next(&mut watch).await, changed("a", Diff::Added { new: "1".into() }));
}

#[tokio::test(start_paused = true)]
async fn w10_the_close_of_the_instance_ends_its_watches_and_its_requests() {
    let scene = Scene::new().await;
    let mut watch = scene.entries.watch(&Key::root(), Init::Current).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::CaughtUp);
    scene.mine.close().await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(watch.next().await.is_none());
    let requests = scene.mine.requests();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(scene.mine.requests(), requests);
}

#[tokio::test(start_paused = true)]
async fn few_long_values_that_others_wrote_are_read_at_a_time() {
    let config = ThrottleConfig { wait_get_per_call: Duration::from_secs(1), ..ThrottleConfig::default() };
    for (len, seconds) in [(9, 0), (9 << 20, 1)] {
        let bucket: Arc<dyn ObjectStore> = Arc::new(ThrottledStore::new(InMemory::new(), config));
        let open = || S3Options::over(Arc::clone(&bucket)).poll(Duration::from_hours(1)).open();
        let (mine, others) = (open().await.unwrap(), open().await.unwrap());
        let mut watch = mine.atomic_write().unwrap().watch(&Key::root(), Init::Current).await.unwrap();
        assert_eq!(next(&mut watch).await, Event::CaughtUp);
        for path in ["a", "b", "c", "d", "e", "f", "g"] {
            let value = Bytes::from(vec![b'x'; len]);
            let applied = others.atomic_write().unwrap().test_and_set(&key(path), None, Some(value)).await.unwrap();
            assert!(applied.is_applied());
        }
        next(&mut watch).await;
        let first = Instant::now();
        for _ in 1..7 {
            next(&mut watch).await;
        }
        assert_eq!(first.elapsed().as_secs(), seconds, "{len}");
    }
}
