use std::{
    sync::{
        Condvar, Mutex, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{self, Wake, Waker},
};

use tokio::sync::mpsc;

use super::*;

/// An engine that keeps a list, counts its commits, and can be held and made to fail.
#[derive(Default)]
struct Shared {
    applied: Mutex<Vec<u32>>,
    /// The lengths of the groups that were committed.
    groups: Mutex<Vec<usize>>,
    attempts: AtomicUsize,
    tidied: AtomicUsize,
    /// Told of the next commit.
    watching: Mutex<Option<Waker>>,
    gate: Mutex<Held>,
    moved: Condvar,
    dropped: AtomicUsize,
}

#[derive(Default)]
struct Held {
    held: bool,
    waiting: usize,
}

#[derive(Clone, Default)]
struct List(Arc<Shared>);

const FAILS: u32 = 1_000;
const BREAKS_THE_SYNC: u32 = 1_001;
const BLOCKS: u32 = 1_002;
const WANTS_TIDYING: u32 = 1_003;
const TIDIES_BADLY: u32 = 1_004;
const BUSY: u32 = 1_005;
const PANICS: u32 = 1_006;
const FILLS_A_GROUP: u32 = 1_007;

impl List {
    fn hold(&self) {
        self.0.gate.lock().unwrap().held = true;
    }

    fn release(&self) {
        self.0.gate.lock().unwrap().held = false;
        self.0.moved.notify_all();
    }

    fn wait_until_held(&self) {
        let gate = self.0.gate.lock().unwrap();
        drop(self.0.moved.wait_while(gate, |gate| gate.waiting == 0).unwrap());
    }

    /// Called by the engine: returns when nothing holds it.
    fn pass(&self) {
        let mut gate = self.0.gate.lock().unwrap();
        gate.waiting += 1;
        self.0.moved.notify_all();
        gate = self.0.moved.wait_while(gate, |gate| gate.held).unwrap();
        gate.waiting -= 1;
    }

    fn applied(&self) -> Vec<u32> {
        self.0.applied.lock().unwrap().clone()
    }
}

struct Writer {
    list: List,
    /// How tidying will end.
    untidy: Option<Result<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.list.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Engine for Writer {
    type Write = u32;
    type Outcome = (u32, thread::ThreadId);

    fn bytes_of(write: &u32) -> usize {
        if *write == FILLS_A_GROUP { GROUP_LIMIT } else { 1 }
    }

    fn commit(
        &mut self,
        group: &[&u32],
        patience: Patience,
        told: &mut Wakers,
    ) -> Result<Vec<Result<Self::Outcome>>, Failure> {
        let shared = &self.list.0;
        shared.attempts.fetch_add(1, Ordering::SeqCst);
        self.list.pass();
        if group.contains(&&BLOCKS) && patience == Patience::None {
            return Err(Failure::WouldBlock);
        }
        if group.contains(&&FAILS) {
            return Err(Failure::Failed(Error::new(ErrorKind::NoSpace, "full")));
        }
        if group.contains(&&BUSY) {
            return Err(Failure::Failed(Error::new(ErrorKind::Unavailable, "busy")));
        }
        assert!(!group.contains(&&PANICS), "the engine panics");
        if group.contains(&&BREAKS_THE_SYNC) {
            return Err(Failure::SyncFailed(Error::new(ErrorKind::Other, "EIO")));
        }
        if let Some(&&write) = group.iter().find(|write| [WANTS_TIDYING, TIDIES_BADLY].contains(write)) {
            self.untidy = Some(if write == WANTS_TIDYING { Ok(()) } else { Err(Error::new(ErrorKind::Other, "EIO")) });
            self.list.hold();
        }
        told.extend(shared.watching.lock().unwrap().take());
        shared.groups.lock().unwrap().push(group.len());
        shared.applied.lock().unwrap().extend(group.iter().copied());
        Ok(group.iter().map(|&&write| Ok((write, thread::current().id()))).collect())
    }

    fn wants_tidying(&self) -> bool {
        self.untidy.is_some()
    }

    fn tidy(&mut self) -> Result<()> {
        self.list.pass();
        self.list.0.tidied.fetch_add(1, Ordering::SeqCst);
        self.untidy.take().unwrap()
    }
}

fn start(in_place: bool) -> (List, Arc<Committer<Writer>>) {
    let list = List::default();
    let writer = Writer { list: list.clone(), untidy: None };
    (list, Arc::new(Committer::start(writer, "test-committer", in_place).unwrap()))
}

/// Polls it once, so that the write has queued.
fn begun<F: Future>(future: F) -> std::pin::Pin<Box<F>> {
    let mut future = Box::pin(future);
    assert!(futures_util::FutureExt::now_or_never(&mut future).is_none());
    future
}

#[tokio::test]
async fn what_queues_during_a_commit_is_one_group() {
    let (list, committer) = start(false);
    list.hold();
    let first = begun(committer.write(0));
    list.wait_until_held();
    let rest: Vec<_> = (1..100).map(|write| begun(committer.write(write))).collect();
    list.release();
    first.await.unwrap();
    for (write, answer) in (1..100).zip(rest) {
        assert_eq!(answer.await.unwrap().0, write);
    }
    assert_eq!(list.applied(), (0..100).collect::<Vec<_>>());
    assert_eq!(*list.0.groups.lock().unwrap(), [1, 99]);
}

#[tokio::test]
async fn a_group_holds_no_more_than_its_limit_or_one_write() {
    let (list, committer) = start(false);
    list.hold();
    let first = begun(committer.write(0));
    list.wait_until_held();
    let queued = [1, 2, FILLS_A_GROUP, FILLS_A_GROUP, 3, 4];
    let rest = queued.map(|write| begun(committer.write(write)));
    list.release();
    first.await.unwrap();
    for answer in rest {
        answer.await.unwrap();
    }
    assert_eq!(list.applied(), [0, 1, 2, FILLS_A_GROUP, FILLS_A_GROUP, 3, 4]);
    assert_eq!(*list.0.groups.lock().unwrap(), [1, 2, 1, 1, 2]);
}

#[tokio::test]
async fn one_write_too_many_does_not_fail_its_neighbours() {
    let (list, committer) = start(false);
    list.hold();
    let first = begun(committer.write(0));
    list.wait_until_held();
    let neighbours = [begun(committer.write(1)), begun(committer.write(FAILS)), begun(committer.write(2))];
    list.release();
    first.await.unwrap();
    let [one, fails, two] = neighbours;
    assert!(one.await.is_ok() && two.await.is_ok());
    let error = fails.await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NoSpace, Effect::NotApplied));
    assert_eq!(list.applied(), [0, 1, 2]);
}

#[tokio::test]
async fn a_fault_that_may_pass_fails_the_group_without_a_wait_for_each() {
    let (list, committer) = start(false);
    list.hold();
    let first = begun(committer.write(0));
    list.wait_until_held();
    let rest = [begun(committer.write(1)), begun(committer.write(BUSY)), begun(committer.write(2))];
    list.release();
    first.await.unwrap();
    for write in rest {
        let error = write.await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
    }
    assert_eq!(list.0.attempts.load(Ordering::SeqCst), 2);
    committer.write(3).await.unwrap();
    assert_eq!(list.applied(), [0, 3]);
}

#[tokio::test]
async fn an_engine_that_panics_on_the_thread_leaves_nobody_waiting() {
    let (list, committer) = start(false);
    list.hold();
    let first = begun(committer.write(PANICS));
    list.wait_until_held();
    let behind = begun(committer.write(1));
    list.release();
    assert_eq!(first.await.unwrap_err().effect(), Effect::Unknown);
    let error = behind.await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::NotApplied));
    committer.close().await;
    assert_eq!(committer.write(2).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(list.0.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(list.applied(), [] as [u32; 0]);
}

#[tokio::test]
async fn an_engine_that_panics_in_place_is_not_used_again() {
    let (list, committer) = start(true);
    let on_its_own = Arc::clone(&committer);
    assert!(tokio::spawn(async move { on_its_own.write(PANICS).await }).await.unwrap_err().is_panic());
    assert_eq!(list.0.dropped.load(Ordering::SeqCst), 1);
    for write in 1..3 {
        let error = committer.write(write).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::NotApplied));
    }
    committer.close().await;
    assert_eq!(list.applied(), [] as [u32; 0]);
}

#[tokio::test]
async fn e3_a_failed_sync_poisons() {
    for in_place in [false, true] {
        let (list, committer) = start(in_place);
        let error = committer.write(BREAKS_THE_SYNC).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Poisoned, Effect::Unknown));
        let error = committer.write(1).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Poisoned, Effect::NotApplied));
        assert!(committer.core.queue.poison().is_some());
        assert_eq!(list.applied(), [] as [u32; 0]);
    }
}

#[tokio::test]
async fn a_small_write_in_place_runs_on_its_caller_and_what_would_take_long_on_the_thread() {
    let (_, committer) = start(true);
    let here = thread::current().id();
    assert_eq!(committer.write(1).await.unwrap().1, here);
    assert_ne!(committer.write(FILLS_A_GROUP).await.unwrap().1, here);
    assert_ne!(committer.write(BLOCKS).await.unwrap().1, here);
    assert_ne!(committer.enqueue(2).await.unwrap().1, here);
}

#[tokio::test]
async fn a_write_in_place_does_not_overtake_a_group() {
    let (list, committer) = start(true);
    list.hold();
    let queued = begun(committer.enqueue(1));
    list.wait_until_held();
    let behind = begun(committer.write(2));
    list.release();
    assert_ne!(behind.await.unwrap().1, thread::current().id());
    queued.await.unwrap();
    assert_eq!(list.applied(), [1, 2]);
}

#[tokio::test]
async fn a9_a_dropped_write_happens_whole_or_not() {
    let (list, committer) = start(false);
    list.hold();
    let begun_already = begun(committer.write(0));
    list.wait_until_held();
    let still_queued = begun(committer.write(1));
    drop((begun_already, still_queued));
    list.release();
    committer.write(2).await.unwrap();
    assert_eq!(list.applied(), [0, 2]);
}

#[tokio::test]
async fn abandoned_writes_do_not_fill_the_memory() {
    let (list, committer) = start(false);
    list.hold();
    let first = begun(committer.write(0));
    list.wait_until_held();
    for write in 0..100_000 {
        drop(begun(committer.write(write)));
    }
    assert!(committer.core.queue.len() <= 2 * 1024);
    list.release();
    first.await.unwrap();
}

#[tokio::test]
async fn a9_close_works_off_the_queue_and_lets_go_of_the_engine() {
    let (list, committer) = start(true);
    list.hold();
    let writes: Vec<_> = (0..10).map(|write| begun(committer.enqueue(write))).collect();
    let close = begun(committer.close());
    assert_eq!(committer.write(99).await.unwrap_err().kind(), ErrorKind::Closed);
    list.release();
    close.await;
    assert_eq!(list.0.dropped.load(Ordering::SeqCst), 1);
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(list.applied(), (0..10).collect::<Vec<_>>());
    committer.close().await;
}

#[tokio::test]
async fn a_dropped_committer_lets_go_of_the_engine() {
    let (list, committer) = start(false);
    committer.write(1).await.unwrap();
    let mut ended = committer.ended.clone();
    drop(committer);
    ended.wait_for(|ended| *ended).await.unwrap();
    assert_eq!(list.0.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn tidying_runs_behind_the_answers() {
    for in_place in [false, true] {
        let (list, committer) = start(in_place);
        committer.write(WANTS_TIDYING).await.unwrap();
        list.wait_until_held();
        assert_eq!(list.0.tidied.load(Ordering::SeqCst), 0);
        list.release();
        committer.close().await;
        assert_eq!(list.0.tidied.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn e3_a_sync_that_fails_while_tidying_poisons() {
    let (list, committer) = start(false);
    committer.write(TIDIES_BADLY).await.unwrap();
    list.wait_until_held();
    list.release();
    let error = committer.write(1).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Poisoned, Effect::NotApplied));
    assert_eq!(list.applied(), [TIDIES_BADLY]);
}

#[tokio::test]
async fn a_join_returns_when_the_engine_is_gone() {
    let (list, committer) = start(false);
    committer.write(1).await.unwrap();
    assert!(committer.join() && committer.join());
    assert_eq!(list.0.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(committer.write(2).await.unwrap_err().kind(), ErrorKind::Closed);
}

/// Says, when it is woken, whether the engine is free.
struct FindsTheEngine {
    committer: Weak<Committer<Writer>>,
    found: mpsc::UnboundedSender<bool>,
}

impl FindsTheEngine {
    fn waker(committer: &Arc<Committer<Writer>>) -> (Waker, mpsc::UnboundedReceiver<bool>) {
        let (found, says) = mpsc::unbounded_channel();
        (Waker::from(Arc::new(Self { committer: Arc::downgrade(committer), found })), says)
    }
}

impl Wake for FindsTheEngine {
    fn wake(self: Arc<Self>) {
        let committer = self.committer.upgrade().unwrap();
        self.found.send(committer.core.engine.try_lock().is_some()).unwrap();
    }
}

#[tokio::test]
async fn who_is_told_or_answered_is_woken_when_the_engine_is_free() {
    let (list, committer) = start(false);
    let (watching, mut told) = FindsTheEngine::waker(&committer);
    let (waiting, mut answered) = FindsTheEngine::waker(&committer);
    *list.0.watching.lock().unwrap() = Some(watching);
    list.hold();
    let mut write = Box::pin(committer.write(1));
    assert!(write.as_mut().poll(&mut task::Context::from_waker(&waiting)).is_pending());
    list.release();
    assert_eq!((told.recv().await, answered.recv().await), (Some(true), Some(true)));
    write.await.unwrap();
}

#[tokio::test]
async fn who_is_told_of_a_write_in_place_is_woken_when_the_engine_is_free() {
    let (list, committer) = start(true);
    let (watching, mut told) = FindsTheEngine::waker(&committer);
    *list.0.watching.lock().unwrap() = Some(watching);
    assert_eq!(committer.write(1).await.unwrap().1, thread::current().id());
    assert_eq!(told.recv().await, Some(true));
}

/// An engine on whose thread its own committer is joined, as a waker can.
struct Joins(Arc<OnceLock<Weak<Committer<Joins>>>>);

impl Engine for Joins {
    type Write = ();
    type Outcome = bool;

    fn bytes_of((): &()) -> usize {
        0
    }

    fn commit(&mut self, _: &[&()], _: Patience, _: &mut Wakers) -> Result<Vec<Result<bool>>, Failure> {
        let committer = self.0.get().and_then(Weak::upgrade).unwrap();
        Ok(vec![Ok(committer.join())])
    }
}

#[tokio::test]
async fn a_join_on_the_committers_own_thread_does_not_wait() {
    let own = Arc::new(OnceLock::new());
    let committer = Arc::new(Committer::start(Joins(Arc::clone(&own)), "joins", false).unwrap());
    own.set(Arc::downgrade(&committer)).unwrap_or_else(|_| panic!("it is set once"));
    assert!(!committer.enqueue(()).await.unwrap());
}

/// An engine of writes that find, when they are asked for their length, whether the queue is free.
struct Measured;

struct FindsTheQueue {
    committer: Weak<Committer<Measured>>,
    found: mpsc::UnboundedSender<bool>,
}

impl Engine for Measured {
    type Write = FindsTheQueue;
    type Outcome = ();

    fn bytes_of(write: &FindsTheQueue) -> usize {
        let committer = write.committer.upgrade().unwrap();
        write.found.send(committer.core.queue.is_free()).unwrap();
        0
    }

    fn commit(&mut self, group: &[&FindsTheQueue], _: Patience, _: &mut Wakers) -> Result<Vec<Result<()>>, Failure> {
        Ok(group.iter().map(|_| Ok(())).collect())
    }
}

#[tokio::test]
async fn the_length_of_a_write_is_asked_for_once_and_without_the_lock_of_the_queue() {
    let committer = Arc::new(Committer::start(Measured, "measured", false).unwrap());
    let (found, mut says) = mpsc::unbounded_channel();
    committer.enqueue(FindsTheQueue { committer: Arc::downgrade(&committer), found }).await.unwrap();
    assert_eq!((says.recv().await, says.recv().await), (Some(true), None));
}
