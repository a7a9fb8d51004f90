//! `Faulty` does what its table says, over a store in memory.

use std::{sync::Arc, time::Duration};

use backend_mem::MemOptions;
use conformance::Faulty;
use futures_util::{FutureExt, StreamExt};
use store_api::{
    AtomicWrite, Backend, Diff, Effect, Error, ErrorKind, Event, IndexedExt, Init, Key, Result, TestAndSet,
};

fn key(number: usize) -> Key {
    Key::new(number.to_string()).unwrap()
}

async fn store() -> Arc<dyn Backend> {
    Arc::new(MemOptions::new().open().await.unwrap())
}

/// Sets a hundred keys, and gives what each set answered and which are there.
async fn set_all(faulty: &Faulty, inner: &dyn Backend) -> Vec<(Result<(), Effect>, bool)> {
    let (entries, beneath) = (faulty.atomic_write().unwrap(), inner.atomic_write().unwrap());
    let mut all = Vec::new();
    for number in 0..100 {
        let answer = entries.set(&key(number), "v".into()).await;
        all.push((answer.map_err(|error| error.effect()), beneath.mem(&key(number)).await.unwrap()));
    }
    all
}

#[tokio::test]
async fn without_faults_it_is_the_store_inside() {
    let inner = store().await;
    let faulty = Faulty::new(Arc::clone(&inner), 1);
    assert!(set_all(&faulty, &*inner).await.iter().all(|outcome| *outcome == (Ok(()), true)));
    assert_eq!(faulty.guarantees(), inner.guarantees());
    faulty.close().await.unwrap();
    assert_eq!(inner.atomic_write().unwrap().find(&key(0)).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn what_is_refused_has_no_effect() {
    let inner = store().await;
    let faulty = Faulty::new(Arc::clone(&inner), 1).refuse(1.0).with_kind(ErrorKind::Timeout);
    assert!(set_all(&faulty, &*inner).await.iter().all(|outcome| *outcome == (Err(Effect::NotApplied), false)));
    let error = faulty.atomic_write().unwrap().find(&key(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Timeout, Some("find")));
}

#[tokio::test]
async fn a_lost_answer_hides_either_outcome() {
    let inner = store().await;
    let faulty = Faulty::new(Arc::clone(&inner), 1).lose_answers(1.0);
    let all = set_all(&faulty, &*inner).await;
    assert!(all.iter().all(|(answer, _)| *answer == Err(Effect::Unknown)));
    let there = all.iter().filter(|(_, there)| *there).count();
    assert!((20..80).contains(&there), "{there} of 100");
}

#[tokio::test]
async fn a_seed_makes_the_same_choices_again() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let inner = store().await;
        let faulty = Faulty::new(Arc::clone(&inner), seed).refuse(0.2).lose_answers(0.2);
        runs.push(set_all(&faulty, &*inner).await);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn a_mismatch_is_never_made_up() {
    let inner = store().await;
    let faulty = Faulty::new(Arc::clone(&inner), 3).refuse(0.3).lose_answers(0.3);
    let entries = faulty.atomic_write().unwrap();
    for number in 0..100 {
        match entries.test_and_set(&key(number), None, Some("v".into())).await {
            Ok(TestAndSet::Applied) | Err(_) => {}
            Ok(mismatch) => panic!("{mismatch:?} of a key that nobody had set"),
        }
    }
}

#[tokio::test]
async fn a_batch_whose_commit_failed_has_ended() {
    let inner = store().await;
    let faulty = Faulty::new(Arc::clone(&inner), 1).lose_answers(1.0);
    let batch = faulty.indexable().unwrap().begin().await.unwrap();
    batch.add("value".into()).await.unwrap();
    assert_eq!(batch.commit().await.unwrap_err().effect(), Effect::Unknown);
    assert_eq!(batch.add("other".into()).await.unwrap_err().kind(), ErrorKind::Closed);
    let refused = Faulty::new(inner, 1).refuse(1.0);
    let batch = refused.indexable().unwrap().batch(|_| async { Ok::<_, Error>(()) }).await;
    assert_eq!(batch.unwrap_err().effect(), Effect::NotApplied);
}

#[tokio::test]
async fn a_stream_ends_with_its_error_and_a_watch_goes_on() {
    let inner = store().await;
    let beneath = inner.atomic_write().unwrap();
    beneath.set(&key(0), "v".into()).await.unwrap();
    let faulty = Faulty::new(Arc::clone(&inner), 5).refuse(0.5);
    let entries = faulty.atomic_write().unwrap();
    let listed: Vec<_> =
        Faulty::new(Arc::clone(&inner), 5).refuse(1.0).atomic_write().unwrap().list(&Key::root()).collect().await;
    assert!(matches!(&listed[..], [Err(_)]));
    let mut watch = loop {
        if let Ok(watch) = entries.watch(&Key::root(), Init::Known(Vec::new())).await {
            break watch;
        }
    };
    let (mut errors, mut told) = (0, Vec::new());
    for number in 1..=50 {
        beneath.set(&key(0), number.to_string().into()).await.unwrap();
        match watch.next().await.unwrap() {
            Ok(event) => told.push(event),
            Err(error) => errors += usize::from(error.is_retryable()),
        }
    }
    let last = |event: &Event| matches!(event, Event::Changed { diff: Diff::Updated { .. }, .. });
    assert!(errors > 5 && told.iter().any(last), "{errors} errors, {} events", told.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_late_still_answers() {
    let inner = store().await;
    let faulty = Faulty::new(Arc::clone(&inner), 1).delay(1.0, Duration::from_hours(1));
    let began = tokio::time::Instant::now();
    assert!(set_all(&faulty, &*inner).await.iter().all(|outcome| *outcome == (Ok(()), true)));
    assert!(began.elapsed() > Duration::from_hours(10));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_late_is_not_told_behind_unwatch() {
    let inner = store().await;
    let faulty = Faulty::new(Arc::clone(&inner), 1).delay(1.0, Duration::from_hours(1));
    let entries = faulty.atomic_write().unwrap();
    let mut watch = entries.watch_key(&key(0), Init::Known(None)).await.unwrap();
    assert!(watch.next().now_or_never().is_none(), "the event is held back");
    entries.unwatch(watch.id()).await.unwrap();
    assert!(watch.next().await.is_none());
}
