//! `on_change`: what a handler is told, how it ends, and that it ends alone.

#![cfg(feature = "mem")]

use std::{future::pending, sync::Arc};

use irminsul::{AtomicWrite, Diff, ErrorKind, Event, Init, Key, OnChange, Result, prelude::*};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

async fn entries() -> Arc<dyn AtomicWrite> {
    irminsul::open("mem:").await.unwrap().atomic_write().unwrap()
}

fn key(path: &str) -> Key {
    Key::new(path).unwrap()
}

/// Follows everything in a handler that passes it on.
async fn followed(entries: &dyn AtomicWrite) -> (OnChange, UnboundedReceiver<Result<Event>>) {
    let (tell, told) = unbounded_channel();
    let handler = move |event| {
        let tell = tell.clone();
        // Nobody listens any more in a test that is done.
        async move { drop(tell.send(event)) }
    };
    (entries.on_change(&Key::root(), Init::Current, handler).await.unwrap(), told)
}

async fn next_change(told: &mut UnboundedReceiver<Result<Event>>) -> (Key, Diff) {
    loop {
        if let Event::Changed { key, diff } = told.recv().await.expect("the handler lives").unwrap() {
            return (key, diff);
        }
    }
}

#[tokio::test]
async fn the_handler_is_told_what_changes() {
    let entries = entries().await;
    let (_guard, mut told) = followed(&*entries).await;
    entries.set(&key("a/b"), "1".into()).await.unwrap();
    assert_eq!(next_change(&mut told).await, (key("a/b"), Diff::Added { new: "1".into() }));
    entries.remove(&key("a/b")).await.unwrap();
    assert_eq!(next_change(&mut told).await, (key("a/b"), Diff::Removed { old: Some("1".into()) }));
}

#[tokio::test]
async fn a_handler_that_was_away_is_told_the_differences_first() {
    let entries = entries().await;
    entries.set(&key("a"), "2".into()).await.unwrap();
    let (tell, mut told) = unbounded_channel();
    let known = Init::Known(vec![(key("a"), "1".into())]);
    let handler = move |event: Result<Event>| {
        tell.send(event.unwrap()).unwrap();
        async {}
    };
    let guard = entries.on_change(&Key::root(), known, handler).await.unwrap();
    let diff = Diff::Updated { old: Some("1".into()), new: "2".into() };
    assert_eq!(told.recv().await, Some(Event::Changed { key: key("a"), diff }));
    assert_eq!(told.recv().await, Some(Event::CaughtUp));
    guard.stop().await;
}

#[tokio::test]
async fn dropping_the_guard_ends_the_handler() {
    let entries = entries().await;
    let (guard, mut told) = followed(&*entries).await;
    drop(guard);
    // The handler owns the sender: the channel ends with it.
    while told.recv().await.is_some() {}
}

#[tokio::test]
async fn stopping_waits_for_a_handler_that_hangs() {
    let entries = entries().await;
    let (tell, mut told) = unbounded_channel();
    let handler = move |_| {
        tell.send(()).unwrap();
        pending()
    };
    let guard = entries.on_change(&Key::root(), Init::Current, handler).await.unwrap();
    told.recv().await.unwrap();
    guard.stop().await;
    assert!(told.is_closed());
}

#[tokio::test]
async fn w9_unwatch_ends_it_without_an_error() {
    let entries = entries().await;
    let (mut guard, _told) = followed(&*entries).await;
    entries.unwatch(guard.watch_id()).await.unwrap();
    guard.ended().await.unwrap();
    guard.ended().await.unwrap();
}

#[tokio::test]
async fn w10_close_is_told_to_the_handler_and_to_who_waits() {
    let entries = entries().await;
    let (mut guard, mut told) = followed(&*entries).await;
    entries.close().await.unwrap();
    assert_eq!(guard.ended().await.unwrap_err().kind(), ErrorKind::Closed);
    drop(guard);
    let mut last = None;
    while let Some(event) = told.recv().await {
        last = Some(event);
    }
    assert_eq!(last.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn w8_a_handler_that_panics_ends_alone() {
    let entries = entries().await;
    let (_others, mut told) = followed(&*entries).await;
    let panics = |event: Result<Event>| async move {
        assert!(matches!(event, Ok(Event::CaughtUp)), "S3CRET");
    };
    let mut guard = entries.on_change(&Key::root(), Init::Current, panics).await.unwrap();
    entries.set(&key("a"), "1".into()).await.unwrap();
    let error = guard.ended().await.unwrap_err();
    assert_eq!(error.to_string(), "on_change: the handler panicked");
    assert_eq!(next_change(&mut told).await.0, key("a"));
    entries.set(&key("b"), "2".into()).await.unwrap();
    assert_eq!(next_change(&mut told).await.0, key("b"));
}

#[tokio::test]
async fn w8_a_handler_that_hangs_delays_nobody() {
    let entries = entries().await;
    let hangs = entries.on_change(&Key::root(), Init::Current, |_| pending()).await.unwrap();
    let (_others, mut told) = followed(&*entries).await;
    for count in 0..100 {
        entries.set(&key("a"), count.to_string().into()).await.unwrap();
    }
    while next_change(&mut told).await.1.new_value().unwrap() != "99" {}
    drop(hangs);
}

#[test]
fn outside_a_runtime_it_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let watch = runtime.block_on(async { entries().await.watch_key(&key("a"), Init::Current).await.unwrap() });
    let error = OnChange::spawn(watch, |_| async {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn one_key_is_followed_by_its_own_watch() {
    let entries = entries().await;
    let (tell, mut told) = unbounded_channel();
    let watch = entries.watch_key(&key("a"), Init::Current).await.unwrap();
    let _guard = OnChange::spawn(watch, move |event| {
        tell.send(event).unwrap();
        async {}
    })
    .unwrap();
    entries.set(&key("a/b"), "other".into()).await.unwrap();
    entries.set(&key("a"), "1".into()).await.unwrap();
    assert_eq!(next_change(&mut told).await, (key("a"), Diff::Added { new: "1".into() }));
}
