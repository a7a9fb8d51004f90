//! `Prefixed`: a store of its own below a prefix, which shows and touches nothing beside it.

#![cfg(feature = "mem")]

mod scripted;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use irminsul::{
    AtomicWrite, Backend, Bytes, Diff, Effect, Error, ErrorKind, Event, Init, Key, Prefixed, Result, TestAndSet, Watch,
    prelude::*,
};

use scripted::{Goes, scripted};

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

/// A store with entries beside, at and below `p`, and the view below `p`.
struct Fixture {
    store: Arc<dyn Backend>,
    whole: Arc<dyn AtomicWrite>,
    view: Prefixed,
    inside: Arc<dyn AtomicWrite>,
}

const BESIDE: [&str; 4] = ["o", "p", "p2", "p2/a"];

async fn fixture() -> Fixture {
    let store = irminsul::open("mem:").await.unwrap();
    let whole = store.atomic_write().unwrap();
    for path in BESIDE.iter().chain(&["p/a", "p/a/b", "p/p"]) {
        whole.set(&key(path), (*path).into()).await.unwrap();
    }
    let view = Prefixed::new(Arc::clone(&store), key("p"));
    let inside = view.atomic_write().unwrap();
    Fixture { store, whole, view, inside }
}

async fn listed(entries: &dyn AtomicWrite, under: &str) -> Vec<String> {
    let keys = entries.list_sorted(&key(under)).await.unwrap();
    keys.iter().map(ToString::to_string).collect()
}

async fn next(watch: &mut Watch) -> (Key, Diff) {
    match watch.next().await.expect("the watch runs").unwrap() {
        Event::Changed { key, diff } => (key, diff),
        other => panic!("{other:?} instead of a change"),
    }
}

async fn caught_up(watch: &mut Watch) {
    assert_eq!(watch.next().await.expect("the watch runs").unwrap(), Event::CaughtUp);
}

async fn ends_closed(watch: &mut Watch) {
    let last = loop {
        match watch.next().await.expect("an error before the end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(last.kind(), ErrorKind::Closed);
    assert!(watch.next().await.is_none());
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

#[tokio::test]
async fn entries_lie_below_the_prefix() {
    let Fixture { whole, inside, .. } = fixture().await;
    inside.set(&key("new"), "1".into()).await.unwrap();
    assert_eq!(whole.find(&key("p/new")).await.unwrap().unwrap(), "1");
    assert!(inside.mem(&key("a")).await.unwrap());
    let test = Some(Bytes::from("1"));
    assert!(inside.test_and_set(&key("new"), test, Some("2".into())).await.unwrap().is_applied());
    let mismatch = inside.test_and_set(&key("new"), None, None).await.unwrap();
    assert_eq!(mismatch, TestAndSet::Mismatch { current: Some("2".into()) });
    inside.remove(&key("new")).await.unwrap();
    assert!(!whole.mem(&key("p/new")).await.unwrap());
}

#[tokio::test]
async fn a7_lists_show_what_is_below_and_nothing_beside() {
    let Fixture { inside, .. } = fixture().await;
    assert_eq!(listed(&*inside, "").await, ["a", "a/b", "p"]);
    assert_eq!(listed(&*inside, "a").await, ["a", "a/b"]);
    assert_eq!(listed(&*inside, "p").await, ["p"]);
    let mut entries: Vec<_> = inside.entries(&Key::root()).try_collect().await.unwrap();
    entries.sort();
    let expected = [("a", "p/a"), ("a/b", "p/a/b"), ("p", "p/p")];
    assert_eq!(entries, expected.map(|(path, value)| (key(path), Bytes::from(value))));
}

#[tokio::test]
async fn k3_the_root_is_no_entry_though_the_prefix_is_one_outside() {
    let Fixture { inside, whole, .. } = fixture().await;
    let root = Key::root();
    assert!(!inside.mem(&root).await.unwrap());
    assert_eq!(inside.find(&root).await.unwrap(), None);
    assert_eq!(kind(inside.set(&root, "x".into()).await), ErrorKind::InvalidKey);
    assert_eq!(kind(inside.test_and_set(&root, None, Some("x".into())).await), ErrorKind::InvalidKey);
    assert_eq!(kind(inside.remove(&root).await), ErrorKind::InvalidKey);
    assert_eq!(kind(inside.watch_key(&root, Init::Current).await), ErrorKind::InvalidKey);
    assert_eq!(whole.find(&key("p")).await.unwrap().unwrap(), "p");
}

#[tokio::test]
async fn k1_the_longest_key_is_shorter_by_the_prefix() {
    let Fixture { inside, .. } = fixture().await;
    let longest = key(&"x".repeat(253));
    inside.set(&longest, "1".into()).await.unwrap();
    assert_eq!(inside.list_sorted(&longest).await.unwrap(), [longest]);

    let longer = key(&"x".repeat(254));
    let error = inside.set(&longer, "1".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidKey, Effect::NotApplied));
    assert!(error.to_string().contains("longer than the 253 that the prefix leaves"), "{error}");
    assert_eq!(kind(inside.find(&longer).await), ErrorKind::InvalidKey);
    assert_eq!(kind(inside.list_sorted(&longer).await), ErrorKind::InvalidKey);
    assert_eq!(kind(inside.entries(&longer).next().await.unwrap()), ErrorKind::InvalidKey);
    assert_eq!(kind(inside.watch(&longer, Init::Current).await), ErrorKind::InvalidKey);
    assert_eq!(kind(inside.watch_key(&longer, Init::Current).await), ErrorKind::InvalidKey);
}

#[tokio::test]
async fn a_watch_tells_what_is_below_and_nothing_beside() {
    let Fixture { whole, inside, .. } = fixture().await;
    let mut watch = inside.watch(&Key::root(), Init::Current).await.unwrap();
    caught_up(&mut watch).await;
    for path in BESIDE {
        whole.set(&key(path), "changed".into()).await.unwrap();
        whole.remove(&key(path)).await.unwrap();
    }
    whole.set(&key("p/a"), "changed".into()).await.unwrap();
    let (changed, diff) = next(&mut watch).await;
    assert_eq!((changed, diff.new_value().unwrap()), (key("a"), &Bytes::from("changed")));
}

#[tokio::test]
async fn w1_a_known_state_is_that_of_the_view() {
    let Fixture { inside, .. } = fixture().await;
    let known = [("a", "p/a"), ("p", "old"), ("gone", "1")];
    let known = Init::Known(known.map(|(path, value)| (key(path), Bytes::from(value))).to_vec());
    let mut watch = inside.watch(&Key::root(), known).await.unwrap();
    let mut told = [next(&mut watch).await, next(&mut watch).await, next(&mut watch).await];
    told.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(
        told,
        [
            (key("a/b"), Diff::Added { new: "p/a/b".into() }),
            (key("gone"), Diff::Removed { old: Some("1".into()) }),
            (key("p"), Diff::Updated { old: Some("old".into()), new: "p/p".into() }),
        ]
    );
    caught_up(&mut watch).await;
}

#[tokio::test]
async fn a_known_key_outside_the_scope_is_refused() {
    let Fixture { inside, .. } = fixture().await;
    let known = |path| Init::Known(vec![(key(path), Bytes::new())]);
    assert_eq!(kind(inside.watch(&key("a"), known("p")).await), ErrorKind::InvalidInput);
    assert_eq!(kind(inside.watch(&key("a"), known("")).await), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_watched_key_is_told_under_its_own_name_until_it_is_unwatched() {
    let Fixture { whole, inside, .. } = fixture().await;
    let mut watch = inside.watch_key(&key("a"), Init::Known(None)).await.unwrap();
    assert_eq!(next(&mut watch).await, (key("a"), Diff::Added { new: "p/a".into() }));
    caught_up(&mut watch).await;
    inside.unwatch(watch.id()).await.unwrap();
    whole.set(&key("p/a"), "2".into()).await.unwrap();
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a8_clear_removes_what_is_below_and_nothing_beside_and_watches_are_told() {
    let Fixture { store, whole, view, inside } = fixture().await;
    for index in 0..300 {
        inside.set(&key(&format!("many/{index}")), "x".into()).await.unwrap();
    }
    let content = view.indexable().unwrap().add("content".into()).await.unwrap();
    let mut watch = inside.watch(&key("many"), Init::Current).await.unwrap();
    caught_up(&mut watch).await;
    inside.clear().await.unwrap();
    assert_eq!(listed(&*inside, "").await, [""; 0]);
    assert_eq!(listed(&*whole, "").await, BESIDE);
    assert!(store.indexable().unwrap().mem(&content).await.unwrap());
    for _ in 0..300 {
        assert!(matches!(next(&mut watch).await.1, Diff::Removed { .. }));
    }
}

#[tokio::test]
async fn a5_a_clear_that_fails_midway_may_have_had_an_effect() {
    let Fixture { store, whole, .. } = fixture().await;
    let failing = scripted(store, |operation, key| match (operation, key.as_str()) {
        ("remove", "p/a/b") => Goes::Wrong(Error::new(ErrorKind::Unavailable, "busy").with_key(key)),
        _ => Goes::Through,
    });
    let inside = Prefixed::new(failing, key("p")).atomic_write().unwrap();
    let error = inside.clear().await.unwrap_err();
    assert_eq!((error.kind(), error.effect(), error.key()), (ErrorKind::Unavailable, Effect::Unknown, Some("a/b")));
    whole.remove(&key("p/a")).await.unwrap();
    whole.remove(&key("p/p")).await.unwrap();
    assert_eq!(inside.clear().await.unwrap_err().effect(), Effect::NotApplied);
}

#[tokio::test]
async fn errors_speak_of_the_keys_of_the_view() {
    let Fixture { store, .. } = fixture().await;
    let failing = scripted(store, |operation, key| {
        let error = Error::new(ErrorKind::Timeout, "no answer").with_backend("mem").with_operation(operation);
        Goes::Lost(error.with_key(key).with_effect(Effect::Unknown).with_source("the network"))
    });
    let inside = Prefixed::new(failing, key("p")).atomic_write().unwrap();
    let error = inside.set(&key("a\n\"b"), Bytes::new()).await.unwrap_err();
    assert_eq!(error.to_string(), r#"mem set "a\n\"b": no answer (the write may have happened)"#);
    assert_eq!((error.kind(), error.effect(), error.key()), (ErrorKind::Timeout, Effect::Unknown, Some("a\n\"b")));
    let beneath = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).last();
    assert_eq!(beneath.unwrap().to_string(), "the network");
}

#[tokio::test]
async fn l1_l2_a_handle_closes_alone() {
    let Fixture { whole, view, inside, .. } = fixture().await;
    let other = view.atomic_write().unwrap();
    let mut watch = inside.watch(&Key::root(), Init::Current).await.unwrap();
    let mut others_watch = other.watch(&Key::root(), Init::Current).await.unwrap();
    inside.close().await.unwrap();
    inside.close().await.unwrap();
    assert_eq!(kind(inside.find(&key("a")).await), ErrorKind::Closed);
    assert_eq!(kind(inside.find(&Key::root()).await), ErrorKind::Closed);
    assert_eq!(kind(inside.clear().await), ErrorKind::Closed);
    ends_closed(&mut watch).await;
    caught_up(&mut others_watch).await;
    other.set(&key("a"), "2".into()).await.unwrap();
    assert_eq!(next(&mut others_watch).await.0, key("a"));
    assert!(whole.mem(&key("p/a")).await.unwrap());
}

#[tokio::test]
async fn closing_the_view_closes_its_handles_and_not_the_store() {
    let Fixture { store, whole, view, inside } = fixture().await;
    let neighbour = Prefixed::new(Arc::clone(&store), key("p")).atomic_write().unwrap();
    let content = view.indexable().unwrap();
    let mut watch = inside.watch(&Key::root(), Init::Current).await.unwrap();
    let mut list = inside.list(&Key::root());
    let mut keys_without_handle = view.indexable().unwrap().keys();
    let batch_without_handle = view.indexable().unwrap().begin().await.unwrap();
    let mut watch_without_handle = view.atomic_write().unwrap().watch(&Key::root(), Init::Current).await.unwrap();

    view.clone().close().await.unwrap();
    view.close().await.unwrap();
    assert_eq!(kind(inside.find(&key("a")).await), ErrorKind::Closed);
    assert_eq!(kind(content.add("x".into()).await), ErrorKind::Closed);
    assert_eq!(kind(list.next().await.unwrap()), ErrorKind::Closed);
    ends_closed(&mut watch).await;
    ends_closed(&mut watch_without_handle).await;
    assert_eq!(kind(keys_without_handle.next().await.unwrap()), ErrorKind::Closed);
    assert_eq!(kind(batch_without_handle.commit().await), ErrorKind::Closed);
    assert_eq!(kind(view.sync().await), ErrorKind::Closed);
    assert_eq!(kind(view.check().await), ErrorKind::Closed);
    assert_eq!(kind(view.atomic_write().unwrap().find(&key("a")).await), ErrorKind::Closed);
    assert_eq!(kind(view.indexable().unwrap().add("x".into()).await), ErrorKind::Closed);

    assert!(neighbour.mem(&key("a")).await.unwrap());
    assert!(whole.mem(&key("p/a")).await.unwrap());
    store.indexable().unwrap().add("x".into()).await.unwrap();
    store.sync().await.unwrap();
}

#[tokio::test]
async fn the_view_declares_what_the_store_does_and_shares_its_content() {
    let Fixture { store, view, .. } = fixture().await;
    assert_eq!(view.guarantees(), store.guarantees());
    let added = view.indexable().unwrap().add("content".into()).await.unwrap();
    assert_eq!(store.indexable().unwrap().find(&added).await.unwrap().unwrap(), "content");
    view.sync().await.unwrap();
}

#[tokio::test]
async fn views_nest() {
    let Fixture { whole, view, .. } = fixture().await;
    let nested = Prefixed::new(Arc::new(view), key("a")).atomic_write().unwrap();
    assert_eq!(listed(&*nested, "").await, ["b"]);
    nested.clear().await.unwrap();
    assert_eq!(listed(&*whole, "p").await, ["p", "p/a", "p/p"]);
}

#[tokio::test]
async fn below_the_root_lies_the_whole_store() {
    let Fixture { store, whole, .. } = fixture().await;
    let all = Prefixed::new(store, Key::root()).atomic_write().unwrap();
    assert_eq!(listed(&*all, "").await, listed(&*whole, "").await);
    assert_eq!(all.find(&key("p/a")).await.unwrap().unwrap(), "p/a");
    let longest = key(&"x".repeat(255));
    all.set(&longest, "1".into()).await.unwrap();
    assert!(whole.mem(&longest).await.unwrap());
}
