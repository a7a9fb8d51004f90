//! A5: whatever happens to a write's requests, and whatever others write around it, it is settled: never applied twice,
//! never taken for another's, and an error says whether it may have happened. All combinations, in virtual time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backend_s3::{S3, S3Options};
use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use object_store::memory::InMemory;
use store_api::{AtomicWrite, Backend, Effect, EntryRead, ErrorKind, Key, TestAndSet};
use tokio::time::advance;

use crate::faulty::{FAULTS, Fault, Faulty, Step, nothing};

const MINE: &str = "written by the call that is tested";

/// What is called, on an entry that is `old` where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    SetFirst,
    SetKnown,
    Create,
    Swap,
    Remove,
}

const CALLS: [Call; 5] = [Call::SetFirst, Call::SetKnown, Call::Create, Call::Swap, Call::Remove];

/// What others do around a PUT: how many instances, and how often each of them writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Others(usize, usize);

const NONE: Others = Others(0, 0);
const ONE: Others = Others(1, 1);
const OFTEN: Others = Others(1, 20);
/// More instances than an object remembers.
const MANY: Others = Others(16, 1);

/// A request's fault, and what others write before and behind it.
type Around = (Fault, Others, Others);

struct Scene {
    store: Arc<Faulty>,
    mine: S3,
    others: Vec<S3>,
}

fn key() -> Key {
    Key::new("k").unwrap()
}

impl Scene {
    async fn new(call: Call, others: usize) -> Self {
        let bucket = Arc::new(InMemory::new());
        let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
        let mine = S3Options::over(Arc::clone(&store) as _).busy(Duration::from_mins(5)).open().await.unwrap();
        let open = |_| S3Options::over(Arc::clone(&bucket) as _).open().map(Result::unwrap);
        let others = join_all((0..others).map(open)).await;
        if !matches!(call, Call::SetFirst | Call::Create) {
            mine.atomic_write().unwrap().set(&key(), "old".into()).await.unwrap();
        }
        store.take_landed();
        Self { store, mine, others }
    }

    fn step(&self, (fault, before, behind): Around) -> Step {
        let writes = |Others(instances, times): Others| {
            let others = self.others[..instances].iter().map(|other| other.atomic_write().unwrap()).collect();
            Box::new(move || write(others, times).boxed()) as _
        };
        Step { fault, before: writes(before), behind: writes(behind) }
    }

    async fn call(&self, call: Call) -> store_api::Result<TestAndSet> {
        let (entries, mine) = (self.mine.atomic_write().unwrap(), || Bytes::from_static(MINE.as_bytes()));
        match call {
            Call::SetFirst | Call::SetKnown => entries.set(&key(), mine()).await.map(|()| TestAndSet::Applied),
            Call::Remove => entries.remove(&key()).await.map(|()| TestAndSet::Applied),
            Call::Create => entries.test_and_set(&key(), None, Some(mine())).await,
            Call::Swap => entries.test_and_set(&key(), Some("old".into()), Some(mine())).await,
        }
    }

    /// How often the call's own write took place in all.
    async fn times_landed(&self, call: Call) -> usize {
        self.store.land().await;
        let is_mine = |payload: &Bytes| match call {
            // A tombstone has no value behind its head.
            Call::Remove => payload.len() == 274,
            _ => payload.ends_with(MINE.as_bytes()),
        };
        self.store.take_landed().into_iter().map(Bytes::from).filter(is_mine).count()
    }
}

/// Writes of others, each of a value that there was not before, and none that the call tests for.
async fn write(others: Vec<Arc<dyn AtomicWrite>>, times: usize) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    for other in others.iter().cycle().take(others.len() * times) {
        let value = format!("theirs {}", NEXT.fetch_add(1, Ordering::Relaxed));
        // So many instances read before they write.
        other.find(&key()).await.unwrap();
        other.set(&key(), value.into()).await.unwrap();
    }
}

/// What became of the call, checked against what took place.
async fn check(call: Call, steps: &[Around]) {
    let others = steps.iter().map(|(_, before, behind)| before.0.max(behind.0)).max().unwrap_or(0);
    check_in(&Scene::new(call, others).await, call, steps).await;
}

async fn check_in(scene: &Scene, call: Call, steps: &[Around]) {
    scene.store.then(steps.iter().map(|&step| scene.step(step)));
    let answer = scene.call(call).await;
    let before_the_end = scene.mine.atomic_write().unwrap().find(&key()).await.unwrap();
    let times = scene.times_landed(call).await;
    let told = format!("{call:?} with {steps:?}: {answer:?}, took place {times} times");
    assert!(times <= 1, "{told}");
    match answer {
        Ok(TestAndSet::Applied) => {
            // A remove that finds nothing, or a swap upon what is there already, has nothing to do.
            let had_nothing_to_do = call == Call::Remove && before_the_end.is_none();
            assert!(times == 1 || had_nothing_to_do, "{told}");
        }
        Ok(TestAndSet::Mismatch { current }) => {
            assert_eq!(times, 0, "{told}");
            let current = current.expect("others set it, and remove nothing");
            assert!(current.starts_with(b"theirs"), "{told}");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{told}");
            assert_eq!(error.effect(), Effect::Unknown, "{told}");
            let forgotten = steps.iter().any(|&(_, before, behind)| before == MANY || behind == MANY);
            assert!(forgotten, "what the object remembers is settled: {told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a5_a_write_is_settled_whatever_happens_to_its_first_request() {
    for call in CALLS {
        for fault in FAULTS {
            for before in [NONE, ONE, OFTEN, MANY] {
                for behind in [NONE, ONE, OFTEN, MANY] {
                    check(call, &[(fault, before, behind)]).await;
                }
            }
        }
    }
}

/// What others do behind the first request, and around the second.
const AROUND_TWO: [(Others, Others, Others); 8] = [
    (NONE, NONE, NONE),
    (ONE, NONE, NONE),
    (NONE, ONE, NONE),
    (NONE, NONE, ONE),
    (OFTEN, ONE, OFTEN),
    (MANY, NONE, NONE),
    (NONE, MANY, ONE),
    (ONE, NONE, MANY),
];

#[tokio::test(start_paused = true)]
async fn a5_a_write_is_settled_whatever_happens_to_its_first_two_requests() {
    for call in CALLS {
        for first in FAULTS {
            for second in FAULTS {
                for (behind_first, before_second, behind_second) in AROUND_TWO {
                    check(call, &[(first, NONE, behind_first), (second, before_second, behind_second)]).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a5_a_write_is_settled_whatever_happens_to_its_first_three_requests() {
    for call in CALLS {
        for first in FAULTS {
            for second in FAULTS {
                for third in FAULTS {
                    check(call, &[(first, NONE, NONE), (second, NONE, ONE), (third, OFTEN, NONE)]).await;
                }
            }
        }
    }
}

/// No answer to any PUT, ever: the call ends, and does not know.
#[tokio::test(start_paused = true)]
async fn a5_a_write_without_any_answer_ends_and_may_have_happened() {
    for fault in [Fault::LostBefore, Fault::LandsAtTheEnd, Fault::Contended] {
        for call in CALLS {
            let scene = Scene::new(call, 0).await;
            scene.store.then((0..10_000).map(|_| scene.step((fault, NONE, NONE))));
            let error = scene.call(call).await.unwrap_err();
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::Unknown), "{call:?} {fault:?}");
            assert!(scene.times_landed(call).await <= 1);
        }
    }
}

/// The object cannot be read when the write is to be settled.
#[tokio::test(start_paused = true)]
async fn a5_a_write_is_settled_when_reads_fail_too() {
    for call in CALLS {
        for fault in FAULTS {
            for failing in [1, 4, 5, 12] {
                let scene = Scene::new(call, 0).await;
                let store = Arc::clone(&scene.store);
                let fail = move || {
                    store.fail_gets(failing);
                    std::future::ready(()).boxed()
                };
                let late = matches!(fault, Fault::LandsAtNextPut | Fault::LandsAtTheEnd);
                let step = Step {
                    fault,
                    before: if late { Box::new(fail.clone()) } else { nothing() },
                    behind: Box::new(fail),
                };
                scene.store.then([step]);
                assert!(scene.call(call).await.unwrap().is_applied(), "{call:?} {fault:?} {failing}");
                scene.store.fail_gets(0);
                assert_eq!(scene.times_landed(call).await, 1, "{call:?} {fault:?} {failing}");
            }
        }
    }
}

/// The same value again by another: the bytes of the object differ, so that the late write does not take effect.
#[tokio::test(start_paused = true)]
async fn a5_a_late_write_does_not_follow_upon_an_equal_value() {
    let scene = Scene::new(Call::Swap, 1).await;
    scene.store.then([scene.step((Fault::LandsAtTheEnd, NONE, NONE))]);
    let call = scene.call(Call::Swap).await.unwrap();
    assert!(call.is_applied());
    let others = scene.others[0].atomic_write().unwrap();
    others.set(&key(), "old".into()).await.unwrap();
    scene.store.land().await;
    assert_eq!(others.find(&key()).await.unwrap().unwrap(), "old");
}

/// A future that is dropped leaves the write to its end, and the next one follows upon it.
#[tokio::test(start_paused = true)]
async fn a9_a_dropped_write_takes_effect_once_and_the_store_goes_on() {
    for fault in FAULTS {
        let scene = Scene::new(Call::SetKnown, 0).await;
        scene.store.then([scene.step((fault, NONE, NONE))]);
        let entries = scene.mine.atomic_write().unwrap();
        let (k, sent) = (key(), scene.mine.requests().put + 1);
        let mut dropped = Box::pin(entries.set(&k, MINE.into()));
        while futures_util::poll!(&mut dropped).is_pending() && scene.mine.requests().put < sent {
            tokio::task::yield_now().await;
        }
        drop(dropped);
        entries.set(&key(), "next".into()).await.unwrap();
        assert_eq!(scene.times_landed(Call::SetKnown).await, 1, "{fault:?}");
        assert_eq!(entries.find(&key()).await.unwrap().unwrap(), "next", "{fault:?}");
    }
}

/// However many instances ever wrote a key: a write that loses to few others is settled.
#[tokio::test(start_paused = true)]
async fn a5_a_lost_race_for_a_key_that_many_wrote_before_is_settled() {
    for call in [Call::SetKnown, Call::Swap, Call::Remove] {
        for fault in FAULTS {
            for others in [ONE, OFTEN, Others(14, 1)] {
                let scene = Scene::new(call, 20).await;
                write(scene.others.iter().map(|other| other.atomic_write().unwrap()).collect(), 1).await;
                let last = scene.others[0].atomic_write().unwrap();
                last.find(&key()).await.unwrap();
                last.set(&key(), "old".into()).await.unwrap();
                scene.mine.atomic_write().unwrap().find(&key()).await.unwrap();
                check_in(&scene, call, &[(fault, others, NONE)]).await;
            }
        }
    }
}

/// What a client that was away a long time tries upon is older than the object remembers.
#[tokio::test(start_paused = true)]
async fn a5_a_very_old_guess_is_no_reason_for_doubt() {
    for call in [Call::SetKnown, Call::Remove, Call::Swap] {
        let scene = Scene::new(call, 20).await;
        write(scene.others.iter().map(|other| other.atomic_write().unwrap()).collect(), 3).await;
        advance(Duration::from_mins(1)).await;
        let answer = scene.call(call).await.unwrap();
        assert_eq!(answer.is_applied(), call != Call::Swap);
        assert_eq!(scene.times_landed(call).await, usize::from(answer.is_applied()));
    }
}

/// Another's write is a verdict, also when there is no time to wait.
#[tokio::test(start_paused = true)]
async fn a4_a_mismatch_is_told_without_patience() {
    let bucket = Arc::new(InMemory::new());
    let open = async || {
        let store = S3Options::over(Arc::clone(&bucket) as _).busy(Duration::ZERO).open().await.unwrap();
        store.atomic_write().unwrap()
    };
    let (mine, others) = (open().await, open().await);
    others.set(&key(), "theirs".into()).await.unwrap();
    let answer = mine.test_and_set(&key(), None, Some("mine".into())).await.unwrap();
    assert_eq!(answer, TestAndSet::Mismatch { current: Some("theirs".into()) });
}

/// What a write waits for in all is bounded: those before it in the queue included.
#[tokio::test(start_paused = true)]
async fn a6_a_write_waits_for_its_turn_no_longer_than_its_patience() {
    let scene = Scene::new(Call::SetKnown, 0).await;
    scene.store.then((0..10_000).map(|_| scene.step((Fault::LandsAtTheEnd, NONE, NONE))));
    let begun = tokio::time::Instant::now();
    let calls = (0..10).map(|_| scene.call(Call::SetKnown));
    for error in join_all(calls).await.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert!(begun.elapsed() < Duration::from_mins(11), "{:?}", begun.elapsed());
}

/// The clear waits for the turn of a write, which waits for nothing that the close is in front of.
#[tokio::test(start_paused = true)]
async fn l3_a_close_amid_writes_of_a_key_and_a_clear_does_not_wait_for_their_patience() {
    let scene = Scene::new(Call::SetKnown, 0).await;
    let (entries, key) = (scene.mine.atomic_write().unwrap(), key());
    let calls = [entries.set(&key, "first".into()), entries.set(&key, "second".into()), entries.clear()];
    let mut calls = join_all(calls);
    assert!((&mut calls).now_or_never().is_none());
    let begun = tokio::time::Instant::now();
    let (closed, refused) = tokio::join!(scene.mine.close(), calls);
    closed.unwrap();
    for error in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}

/// A large buffer that a value is a part of is let go of.
#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_value_is_its_own() {
    let scene = Scene::new(Call::SetFirst, 0).await;
    let buffer = Bytes::from(vec![b'x'; 1 << 16]);
    scene.mine.atomic_write().unwrap().set(&key(), buffer.slice(..100)).await.unwrap();
    drop(scene.store.take_landed());
    assert!(buffer.is_unique());
}

#[tokio::test(start_paused = true)]
async fn a6_contention_is_waited_out_then_unavailable() {
    let scene = Scene::new(Call::SetKnown, 1).await;
    scene.store.then((0..10_000).map(|_| scene.step((Fault::None, ONE, NONE))));
    let error = scene.call(Call::SetKnown).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
    assert_eq!(scene.times_landed(Call::SetKnown).await, 0);
    assert!(scene.others[0].atomic_write().unwrap().mem(&key()).await.unwrap());
}
