//! Which cores the threads of clients run on.

use std::{future::poll_fn, pin::pin};

/// Keeps a client's thread on one core until dropped, so that two clients run at the same time on a busy machine, too.
///
/// Where other programs keep the cores busy, a system may leave all clients to one of them for long, and they take turns:
/// what goes wrong within microseconds is never met.
///
/// A thread inherits the core of who starts it, and a client starts some: of its runtime, which is to call
/// [`on_any_core`] on each; of a store that it opens, which is to be done by [`starting_threads`]; and processes, which are
/// to be started while it is [`FreeToGo`].
pub(super) struct OnOneCore;

impl OnOneCore {
    /// On one core after the other, by turns; where the system does not want that, on any.
    pub(super) fn by_turns(turn: usize) -> Self {
        affinity::choose(Some(turn));
        Self
    }
}

impl Drop for OnOneCore {
    fn drop(&mut self) {
        on_any_core();
    }
}

/// Lets a thread go to any core, whoever started it.
pub(crate) fn on_any_core() {
    affinity::choose(None);
}

/// Polls a future that may start threads, which are to go to any core, also where who polls it keeps to one.
pub(crate) async fn starting_threads<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _free = FreeToGo::now();
        future.as_mut().poll(cx)
    })
    .await
}

/// Lets a thread go to any core until dropped, and with it what it starts meanwhile.
pub(crate) struct FreeToGo {
    /// Whose core it comes back to.
    turn: Option<usize>,
}

impl FreeToGo {
    pub(crate) fn now() -> Self {
        let turn = affinity::chosen();
        if turn.is_some() {
            on_any_core();
        }
        Self { turn }
    }
}

impl Drop for FreeToGo {
    fn drop(&mut self) {
        if self.turn.is_some() {
            affinity::choose(self.turn);
        }
    }
}

#[cfg(target_os = "linux")]
mod affinity {
    use std::{cell::Cell, sync::OnceLock};

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    thread_local! {
        static CHOSEN: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// The turn to whose core this thread is kept.
    pub(super) fn chosen() -> Option<usize> {
        CHOSEN.get()
    }

    /// Keeps this thread on the core of a turn, or on those of the program; where the system does not want that, it stays.
    pub(super) fn choose(turn: Option<usize>) {
        // Asked for once, before any thread is kept on a core: later a thread may have inherited that.
        static OF_THE_PROGRAM: OnceLock<Option<CpuSet>> = OnceLock::new();
        let Some(all) = OF_THE_PROGRAM.get_or_init(|| sched_getaffinity(None).ok()) else { return };
        let cores = turn.map_or(*all, |turn| core_of(all, turn));
        if sched_setaffinity(None, &cores).is_ok() {
            CHOSEN.set(turn);
        }
    }

    fn core_of(all: &CpuSet, turn: usize) -> CpuSet {
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let mut own = CpuSet::new();
        own.set(cores[turn % cores.len()]);
        own
    }
}

/// Where a system has no such thing, its own choice is good.
#[cfg(not(target_os = "linux"))]
mod affinity {
    pub(super) fn chosen() -> Option<usize> {
        None
    }

    pub(super) fn choose(_: Option<usize>) {}
}
