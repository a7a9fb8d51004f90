//! Clients on threads of their own, so that they meet as programs do, and futures that are dropped half-way.

use std::{
    hint::spin_loop,
    num::NonZero,
    pin::{Pin, pin},
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    thread::{available_parallelism, yield_now},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{Either, try_join_all},
};
#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};

use crate::failure::{Failure, Outcome};

/// As many clients as run at once, and at least two.
pub(crate) fn as_many_as_cores() -> usize {
    available_parallelism().map_or(2, NonZero::get).clamp(2, 8)
}

/// Runs a future on a thread of its own, where it does not wait for its turn behind others that never yield; returns
/// once it runs.
pub(crate) async fn beside<F>(future: F) -> Outcome<JoinHandle<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (begun, begins) = oneshot::channel();
    let runtime = Handle::current();
    let thread = spawn_blocking(move || {
        // Nobody listens where the case has ended already.
        let _ = begun.send(());
        runtime.block_on(future)
    });
    begins.await.map_err(Failure::harness)?;
    Ok(thread)
}

/// A client that does the same over and over, until it is ended or dropped: a case that failed leaves none behind.
pub(crate) struct Repeating {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Outcome<usize>>>,
}

/// Starts a client that does `act` over and over, at least once, on a thread of its own; it is told how often it did.
pub(crate) async fn over_and_over<F>(mut act: impl FnMut(usize) -> F + Send + 'static) -> Outcome<Repeating>
where
    F: Future<Output = Outcome> + Send,
{
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let thread = beside(async move {
        let mut times = 0;
        loop {
            act(times).await?;
            times += 1;
            if ended.load(Ordering::Acquire) {
                return Ok(times);
            }
        }
    });
    Ok(Repeating { over, thread: Some(thread.await?) })
}

impl Repeating {
    /// Ends it, and says how often it did what it does.
    pub(crate) async fn end(mut self) -> Outcome<usize> {
        self.over.store(true, Ordering::Release);
        match self.thread.take() {
            Some(thread) => thread.await?,
            None => unreachable!("it is ended once"),
        }
    }
}

impl Repeating {
    /// Does something beside it, and ends it then; also says how often it did what it does. Where it has failed, that comes
    /// first: what was done beside it may have waited for it in vain.
    pub(crate) async fn meanwhile<T>(self, act: impl Future<Output = Outcome<T>>) -> Outcome<(T, usize)> {
        let done = act.await;
        let goes_on = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        match done {
            // What it is in the middle of may never end.
            Err(failure) if goes_on => Err(failure),
            done => {
                let times = self.end().await?;
                Ok((done?, times))
            }
        }
    }
}

impl Drop for Repeating {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Keeps a thread on one core, until dropped.
///
/// Where other programs keep the cores busy, a system may leave all clients to one of them for long, and they take turns:
/// what goes wrong within microseconds is never met.
#[cfg(target_os = "linux")]
struct OnOneCore(Option<CpuSet>);

#[cfg(target_os = "linux")]
impl OnOneCore {
    /// Client so and so, on the core that is its turn; where the system does not want that, on any.
    fn for_client(client: usize) -> Self {
        let Ok(allowed) = sched_getaffinity(None) else { return Self(None) };
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).cycle();
        let mut own = CpuSet::new();
        own.set(cores.nth(client).unwrap_or_default());
        Self(sched_setaffinity(None, &own).is_ok().then_some(allowed))
    }
}

#[cfg(target_os = "linux")]
impl Drop for OnOneCore {
    fn drop(&mut self) {
        if let Some(allowed) = &self.0 {
            // It was allowed before; otherwise the thread stays where it is.
            let _ = sched_setaffinity(None, allowed);
        }
    }
}

/// Where a system has no such thing, its own choice is good.
#[cfg(not(target_os = "linux"))]
struct OnOneCore;

#[cfg(not(target_os = "linux"))]
impl OnOneCore {
    fn for_client(_: usize) -> Self {
        Self
    }
}

/// Runs futures on threads of their own, all let go at the same moment, and gives what they return.
pub(crate) async fn together<F>(futures: impl IntoIterator<Item = F>) -> Outcome<Vec<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    let futures: Vec<F> = futures.into_iter().collect();
    let start = Arc::new(Start::of(futures.len()));
    let threads: Vec<_> = futures
        .into_iter()
        .enumerate()
        .map(|(client, future)| {
            let (start, runtime) = (Arc::clone(&start), Handle::current());
            spawn_blocking(move || {
                let _core = OnOneCore::for_client(client);
                start.wait();
                runtime.block_on(future)
            })
        })
        .collect();
    Ok(try_join_all(threads).await?)
}

/// Lets threads go at the same moment: a barrier wakes one after the other, tens of microseconds apart, in which most
/// operations are over. So where there is a core for each, who is awake spins until all are.
struct Start {
    barrier: Barrier,
    /// How many are to be awake before any goes.
    threads: usize,
    awake: AtomicUsize,
}

impl Start {
    /// After which the rest is not waited for: other programs use the cores, too.
    const SPIN: Duration = Duration::from_micros(200);

    fn of(threads: usize) -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let awake_together = if threads <= cores { threads } else { 0 };
        Self { barrier: Barrier::new(threads), threads: awake_together, awake: AtomicUsize::new(0) }
    }

    fn wait(&self) {
        self.barrier.wait();
        self.awake.fetch_add(1, Ordering::AcqRel);
        let began = Instant::now();
        while self.awake.load(Ordering::Acquire) < self.threads && began.elapsed() < Self::SPIN {
            spin_loop();
        }
    }
}

/// A client's seat at a table where all meet over and over, to go on at the same moment each time.
pub(crate) struct Seat {
    table: Arc<Table>,
    meetings: usize,
}

struct Table {
    seats: usize,
    arrivals: AtomicUsize,
    /// Whether somebody has left, for whom the others need not wait.
    left: AtomicBool,
    /// After so many looks a core is given away.
    spins: u32,
}

/// The seats of a table.
pub(crate) fn table(seats: usize) -> Vec<Seat> {
    let a_core_each = available_parallelism().is_ok_and(|cores| seats <= cores.get());
    let spins = if a_core_each { Seat::SPINS } else { 100 };
    let table = Arc::new(Table { seats, arrivals: AtomicUsize::new(0), left: AtomicBool::new(false), spins });
    (0..seats).map(|_| Seat { table: Arc::clone(&table), meetings: 0 }).collect()
}

impl Seat {
    /// How often it is looked who is there before others may have the core: on a machine that is busy with other programs,
    /// who gives it away each time is never there when the others come. Where there are fewer cores than seats, they
    /// are waiting for it.
    const SPINS: u32 = 20_000;

    /// Waits until all are there, on the thread, since what is woken comes too late to meet anybody; false where somebody
    /// has left.
    pub(crate) fn meet(&mut self) -> bool {
        self.meetings += 1;
        self.table.arrivals.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0_u32;
        while self.table.arrivals.load(Ordering::Acquire) < self.table.seats * self.meetings {
            if self.table.left.load(Ordering::Acquire) {
                return false;
            }
            spins += 1;
            if spins.is_multiple_of(self.table.spins) { yield_now() } else { spin_loop() }
        }
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.left.store(true, Ordering::Release);
    }
}

/// [`together`] for clients that may fail: the outputs, or the first failure.
pub(crate) async fn all<F, T>(futures: impl IntoIterator<Item = F>) -> Outcome<Vec<T>>
where
    F: Future<Output = Outcome<T>> + Send + 'static,
    T: Send + 'static,
{
    together(futures).await?.into_iter().collect()
}

/// [`all`] for two that differ.
pub(crate) async fn both<A, B, T, U>(one: A, other: B) -> Outcome<(T, U)>
where
    A: Future<Output = Outcome<T>> + Send + 'static,
    B: Future<Output = Outcome<U>> + Send + 'static,
    T: Send + 'static,
    U: Send + 'static,
{
    let one: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(one.map(Either::Left));
    let mut outputs = together([one, Box::pin(other.map(Either::Right))]).await?;
    match (outputs.remove(0), outputs.remove(0)) {
        (Either::Left(one), Either::Right(other)) => Ok((one?, other?)),
        _ => unreachable!("they come in their order"),
    }
}

/// Polls a future up to so many times, each time after the first once it is woken, then drops it; its output where it came
/// that early. With a growing number it is dropped at each of its awaits.
pub(crate) async fn poll_then_drop<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Pending if left > 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(output) => Poll::Ready(Some(output)),
        }
    })
    .await
}
