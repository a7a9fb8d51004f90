//! `update` and `try_update`: the compare loop, its errors, and what is left when it is dropped.

#![cfg(feature = "mem")]

mod scripted;

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use irminsul::{AtomicWrite, Backend, Bytes, Effect, Error, ErrorKind, Key, prelude::*};

use scripted::{Goes, scripted};

fn key() -> Key {
    Key::new("counter").unwrap()
}

async fn mem() -> Arc<dyn Backend> {
    irminsul::open("mem:").await.unwrap()
}

/// A `set` by another writer: in memory it is done when it was polled once.
fn set_at_once(entries: &dyn AtomicWrite, value: Bytes) {
    let counter = key();
    let mut set = pin!(entries.set(&counter, value));
    assert!(set.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[expect(clippy::unnecessary_wraps, reason = "it is what `update` asks for")]
fn increment(count: Option<Bytes>) -> Option<Bytes> {
    let count: u64 = count.map_or(0, |count| std::str::from_utf8(&count).unwrap().parse().unwrap());
    Some((count + 1).to_string().into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_increment_of_many_tasks_is_lost() {
    let entries = mem().await.atomic_write().unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let entries = Arc::clone(&entries);
            tokio::spawn(async move {
                for _ in 0..50 {
                    entries.update(&key(), increment).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(entries.find(&key()).await.unwrap().unwrap(), "1600");
}

#[tokio::test]
async fn what_was_set_comes_back() {
    let entries = mem().await.atomic_write().unwrap();
    assert_eq!(entries.update(&key(), increment).await.unwrap().unwrap(), "1");
    assert_eq!(entries.update(&key(), |count| count).await.unwrap().unwrap(), "1");
    assert_eq!(entries.update(&key(), |_| None).await.unwrap(), None);
    assert!(!entries.mem(&key()).await.unwrap());
}

#[tokio::test]
async fn a_mismatch_is_answered_from_what_it_found() {
    let store = mem().await;
    let (finds, attempts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let contended = scripted(Arc::clone(&store), {
        let (finds, attempts) = (Arc::clone(&finds), Arc::clone(&attempts));
        move |operation, _| {
            match operation {
                "find" => finds.fetch_add(1, Ordering::Relaxed),
                "test_and_set" => attempts.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
            Goes::Through
        }
    });
    let (entries, other) = (contended.atomic_write().unwrap(), store.atomic_write().unwrap());
    let (counter, mut seen) = (key(), Vec::new());
    let updated = entries
        .update(&counter, |current| {
            seen.push(current);
            if let [_] = seen[..] {
                // Another writer is faster the first time.
                set_at_once(&*other, "7".into());
            }
            increment(seen.last().unwrap().clone())
        })
        .await
        .unwrap();
    assert_eq!(updated.unwrap(), "8");
    assert_eq!(seen, [None, Some(Bytes::from("7"))]);
    assert_eq!((finds.load(Ordering::Relaxed), attempts.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test]
async fn beside_a_writer_that_never_waits_it_tries_what_it_read_a_moment_ago() {
    let store = mem().await;
    let other = store.atomic_write().unwrap();
    let (attempts, has_looked) = (AtomicUsize::new(0), AtomicBool::new(false));
    let contended = scripted(Arc::clone(&store), move |operation, _| {
        if operation == "find" {
            has_looked.store(true, Ordering::Relaxed);
        }
        if operation == "test_and_set" {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed) + 1;
            // The other is faster than each attempt that no look precedes, and than the first two in any case.
            if !has_looked.swap(false, Ordering::Relaxed) || attempt < 3 {
                set_at_once(&*other, (10 * attempt).to_string().into());
            }
            if attempt > 3 {
                return Goes::Wrong(Error::new(ErrorKind::Other, "it goes on with what it found before it waited"));
            }
        }
        Goes::Through
    });
    let updated = contended.atomic_write().unwrap().update(&key(), increment).await.unwrap();
    assert_eq!(updated.unwrap(), "21");
}

#[test]
fn outside_a_runtime_it_is_refused_before_anything_happens() {
    let store = futures_executor::block_on(mem()).atomic_write().unwrap();
    let error = futures_executor::block_on(store.update(&key(), |_| panic!("nothing was read"))).unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unsupported, Effect::NotApplied));
}

#[tokio::test]
async fn a5_an_unknown_effect_is_returned_and_not_tried_again() {
    let store = mem().await;
    let lost = scripted(Arc::clone(&store), |operation, _| match operation {
        "test_and_set" => Goes::Lost(Error::new(ErrorKind::Timeout, "no answer").with_effect(Effect::Unknown)),
        _ => Goes::Through,
    });
    let error = lost.atomic_write().unwrap().update(&key(), increment).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::Unknown));
    assert_eq!(store.atomic_write().unwrap().find(&key()).await.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn an_error_of_the_first_read_is_returned_and_next_is_not_asked() {
    let broken = scripted(mem().await, |_, _| Goes::Wrong(Error::new(ErrorKind::Unavailable, "busy")));
    let entries = broken.atomic_write().unwrap();
    let error = entries.update(&key(), |_| panic!("nothing was read")).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
}

#[tokio::test]
async fn a_refusal_sets_nothing() {
    #[derive(Debug)]
    enum Refusal {
        Full,
        Store(Error),
    }
    impl From<Error> for Refusal {
        fn from(error: Error) -> Self {
            Self::Store(error)
        }
    }
    let entries = mem().await.atomic_write().unwrap();
    entries.set(&key(), "9".into()).await.unwrap();
    let refused = entries.try_update(&key(), |_| Err(Refusal::Full)).await;
    assert!(matches!(refused, Err(Refusal::Full)));
    assert_eq!(entries.find(&key()).await.unwrap().unwrap(), "9");
    let root = entries.try_update(&Key::root(), |_| Ok(Some("x".into()))).await;
    assert!(matches!(root, Err(Refusal::Store(error)) if error.kind() == ErrorKind::InvalidKey));
}

#[tokio::test]
async fn a9_a_dropped_update_applied_once_or_not_at_all() {
    let (counter, mut applied) = (key(), 0);
    for polls in 0..8 {
        let store = scripted(mem().await, |_, _| Goes::Through);
        let entries = store.atomic_write().unwrap();
        {
            let mut update = pin!(entries.update(&counter, increment));
            let mut ready = false;
            for _ in 0..polls {
                let step = poll_fn(|cx| Poll::Ready(update.as_mut().poll(cx).is_ready()));
                ready = ready || step.await;
                if ready {
                    break;
                }
            }
        }
        match entries.find(&key()).await.unwrap() {
            None => {}
            Some(count) => {
                assert_eq!(count, "1");
                applied += 1;
            }
        }
    }
    assert!((1..8).contains(&applied), "the drops fell on both sides: {applied}");
}
