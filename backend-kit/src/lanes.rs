//! Work on threads that may block, so much of it at a time.

use std::{collections::VecDeque, fmt, sync::Arc};

use store_api::Result;
use tokio::runtime::Handle;

use crate::{
    offload::{Job, answered, start},
    sync::Mutex,
};

/// So many lanes, each of which runs one piece of work at a time. Clones are the same lanes.
///
/// What waits for a lane is queued as work, and not as a future: a lane that was given to a future would be lost to all
/// others while nobody polls that.
#[derive(Clone)]
pub struct Lanes {
    state: Arc<Mutex<State>>,
}

struct State {
    free: usize,
    waiting: VecDeque<Waiting>,
}

/// Work that waits, and the runtime that its caller runs in.
struct Waiting {
    work: Box<dyn Work>,
    runtime: Option<Handle>,
}

trait Work: Send {
    fn is_awaited(&self) -> bool;

    fn run(self: Box<Self>);
}

impl<T: Send, W: FnOnce() -> T + Send> Work for Job<W, T> {
    fn is_awaited(&self) -> bool {
        self.is_awaited()
    }

    fn run(self: Box<Self>) {
        Self::run(*self);
    }
}

impl Lanes {
    /// So many.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { state: Arc::new(Mutex::new(State { free: count, waiting: VecDeque::new() })) }
    }

    /// Runs `work` as [`offload`](crate::offload()) does, when it has a lane. Work whose future is dropped before that is
    /// not done.
    ///
    /// # Errors
    ///
    /// Those of [`offload`](crate::offload()).
    pub async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (job, answer) = Job::of(work);
        let lane = {
            let mut state = self.state.lock();
            state.waiting.push_back(Waiting { work: Box::new(job), runtime: Handle::try_current().ok() });
            let is_free = state.free > 0;
            state.free -= usize::from(is_free);
            is_free.then(|| Lane { lanes: Some(self.clone()) })
        };
        drop(lane);
        answered(answer).await
    }

    /// The next that somebody waits for; where there is none, the lane is free.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.state.lock();
        while let Some(waiting) = state.waiting.pop_front() {
            if waiting.work.is_awaited() {
                return Some(waiting);
            }
        }
        state.free += 1;
        None
    }
}

/// A lane that is taken. Dropped, it goes to the next that waits.
struct Lane {
    /// `None` once it was taken out.
    lanes: Option<Lanes>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        let Some(mut lanes) = self.lanes.take() else { return };
        while let Some(Waiting { work, runtime }) = lanes.next() {
            let lane = Arc::new(Self { lanes: Some(lanes) });
            let taken = Arc::clone(&lane);
            // The caller of what cannot be started finds out by its answer.
            let _ = start(runtime.as_ref(), move || {
                work.run();
                drop(taken);
            });
            // Where it is over already, the lane is here again: then it is not passed on in there, each within the other.
            match Arc::into_inner(lane).and_then(|mut lane| lane.lanes.take()) {
                Some(again) => lanes = again,
                None => return,
            }
        }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Lanes").field("free", &state.free).field("waiting", &state.waiting.len()).finish()
    }
}

#[cfg(all(test, not(irminsul_loom)))]
mod tests {
    use std::sync::mpsc;

    use futures_util::poll;
    use tokio::runtime::Builder;

    use super::*;

    #[tokio::test]
    async fn work_that_nobody_polls_keeps_no_lane() {
        let lanes = Lanes::new(1);
        let (go, wait) = mpsc::channel::<()>();
        let mut kept = Box::pin(lanes.offload(move || wait.recv()));
        let mut queued = Box::pin(lanes.offload(|| 1));
        assert!(poll!(&mut kept).is_pending() && poll!(&mut queued).is_pending());
        go.send(()).unwrap();
        assert_eq!(lanes.offload(|| 2).await.unwrap(), 2);
        assert_eq!(queued.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_done() {
        let lanes = Lanes::new(1);
        let (go, wait) = mpsc::channel::<()>();
        let mut first = Box::pin(lanes.offload(move || wait.recv()));
        assert!(poll!(&mut first).is_pending());
        let (done, heard) = mpsc::channel::<()>();
        let mut dropped = Box::pin(lanes.offload(move || done.send(())));
        assert!(poll!(&mut dropped).is_pending());
        drop(dropped);
        go.send(()).unwrap();
        lanes.offload(|| ()).await.unwrap();
        assert!(heard.recv().is_err());
    }

    #[tokio::test]
    async fn a_lane_outlives_a_panic_and_a_runtime() {
        let lanes = Lanes::new(1);
        let (go, wait) = mpsc::channel::<()>();
        let mut first = Box::pin(lanes.offload(move || wait.recv()));
        assert!(poll!(&mut first).is_pending());
        let panicking = lanes.clone();
        let panicking = tokio::spawn(async move { panicking.offload(|| panic!("inside")).await });
        let mut orphans: Vec<_> = (0..2).map(|_| Box::pin(lanes.offload(|| ()))).collect();
        let ending = Builder::new_current_thread().build().unwrap();
        let entered = ending.enter();
        for orphan in &mut orphans {
            assert!(poll!(orphan).is_pending());
        }
        drop(entered);
        ending.shutdown_background();
        go.send(()).unwrap();
        lanes.offload(|| ()).await.unwrap();
        assert!(panicking.await.unwrap_err().is_panic());
        for orphan in orphans {
            assert!(orphan.await.is_err());
        }
    }

    #[test]
    fn it_works_without_a_runtime() {
        assert_eq!(futures_executor::block_on(Lanes::new(1).offload(|| 42)).unwrap(), 42);
    }
}
