//! A5: whatever happens to a write's requests, and whatever others write around it, it is settled: never applied twice,
//! never taken for another's, and an error says whether it may have happened. All combinations, in virtual time.

use std::{sync::Arc, time::Duration};

use backend_s3::{S3, S3Options};
use bytes::Bytes;
use futures_util::FutureExt;
use object_store::memory::InMemory;
use store_api::{AtomicWrite, Backend, Effect, EntryRead, ErrorKind, Key, TestAndSet};

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

/// What others do around a PUT: some writes, more of them than a frame names among these.
const OTHERS: [usize; 3] = [0, 1, 17];

/// A request's fault, and how many writes of others come before and behind it.
type Around = (Fault, usize, usize);

struct Scene {
    store: Arc<Faulty>,
    mine: S3,
    others: S3,
}

fn key() -> Key {
    Key::new("k").unwrap()
}

impl Scene {
    async fn new(call: Call) -> Self {
        let bucket = Arc::new(InMemory::new());
        let store = Arc::new(Faulty::over(Arc::clone(&bucket)));
        let mine = S3Options::over(Arc::clone(&store) as _).busy(Duration::from_mins(5)).open().await.unwrap();
        let others = S3Options::over(bucket).open().await.unwrap();
        if !matches!(call, Call::SetFirst | Call::Create) {
            mine.atomic_write().unwrap().set(&key(), "old".into()).await.unwrap();
        }
        store.take_landed();
        Self { store, mine, others }
    }

    fn step(&self, (fault, before, behind): Around) -> Step {
        let writes = |count: usize| {
            let others = self.others.atomic_write().unwrap();
            Box::new(move || write(others, count).boxed()) as _
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
            Call::Remove => payload.len() == 290,
            _ => payload.ends_with(MINE.as_bytes()),
        };
        self.store.take_landed().into_iter().map(Bytes::from).filter(is_mine).count()
    }
}

/// Writes of others, the last of which is none that the call tests for.
async fn write(others: Arc<dyn AtomicWrite>, count: usize) {
    for number in 0..count {
        others.set(&key(), format!("theirs {number}").into()).await.unwrap();
    }
}

/// What became of the call, checked against what took place.
async fn check(call: Call, steps: &[Around]) {
    let scene = Scene::new(call).await;
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
            let forgotten = steps.iter().any(|&(_, before, behind)| before.max(behind) > 16);
            assert!(forgotten, "what the object remembers is settled: {told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a5_a_write_is_settled_whatever_happens_to_its_first_request() {
    for call in CALLS {
        for fault in FAULTS {
            for before in OTHERS {
                for behind in OTHERS {
                    check(call, &[(fault, before, behind)]).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a5_a_write_is_settled_whatever_happens_to_its_first_two_requests() {
    for call in CALLS {
        for first in FAULTS {
            for second in FAULTS {
                for (behind_first, before_second, behind_second) in
                    [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (17, 0, 0), (0, 17, 1), (1, 0, 17)]
                {
                    check(call, &[(first, 0, behind_first), (second, before_second, behind_second)]).await;
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
                    check(call, &[(first, 0, 0), (second, 0, 1), (third, 1, 0)]).await;
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
            let scene = Scene::new(call).await;
            scene.store.then((0..10_000).map(|_| scene.step((fault, 0, 0))));
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
                let scene = Scene::new(call).await;
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
    let scene = Scene::new(Call::Swap).await;
    scene.store.then([scene.step((Fault::LandsAtTheEnd, 0, 0))]);
    let call = scene.call(Call::Swap).await.unwrap();
    assert!(call.is_applied());
    let others = scene.others.atomic_write().unwrap();
    others.set(&key(), "old".into()).await.unwrap();
    scene.store.land().await;
    assert_eq!(others.find(&key()).await.unwrap().unwrap(), "old");
}

/// A future that is dropped leaves the write to its end, and the next one follows upon it.
#[tokio::test(start_paused = true)]
async fn a9_a_dropped_write_takes_effect_once_and_the_store_goes_on() {
    for fault in FAULTS {
        let scene = Scene::new(Call::SetKnown).await;
        scene.store.then([scene.step((fault, 0, 0))]);
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

/// What a client that was away a long time tries upon is older than the object remembers.
#[tokio::test(start_paused = true)]
async fn a5_a_very_old_guess_is_no_reason_for_doubt() {
    for call in [Call::SetKnown, Call::Remove, Call::Swap] {
        let scene = Scene::new(call).await;
        write(scene.others.atomic_write().unwrap(), 40).await;
        let answer = scene.call(call).await.unwrap();
        assert_eq!(answer.is_applied(), call != Call::Swap);
        assert_eq!(scene.times_landed(call).await, usize::from(answer.is_applied()));
    }
}

#[tokio::test(start_paused = true)]
async fn a6_contention_is_waited_out_then_unavailable() {
    let scene = Scene::new(Call::SetKnown).await;
    scene.store.then((0..10_000).map(|_| scene.step((Fault::None, 1, 0))));
    let error = scene.call(Call::SetKnown).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
    assert_eq!(scene.times_landed(Call::SetKnown).await, 0);
    assert!(scene.others.atomic_write().unwrap().mem(&key()).await.unwrap());
}
