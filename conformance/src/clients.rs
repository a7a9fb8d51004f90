//! Clients on threads of their own, so that they meet as programs do, and futures that are dropped half-way.

use std::{
    cell::RefCell,
    future::poll_fn,
    hint::spin_loop,
    num::NonZero,
    pin::{Pin, pin},
    sync::{
        Arc, Barrier, Weak,
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

/// Whether there is a core for each of so many clients.
pub(crate) fn have_a_core_each(clients: usize) -> bool {
    available_parallelism().is_ok_and(|cores| clients <= cores.get())
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
///
/// A thread inherits the core of who starts it, and a client starts some: of its runtime, which is to call
/// [`on_any_core`] on each; of a store that it opens, which is to be done by [`starting_threads`]; and processes, which are
/// to be started while it is [`FreeToGo`].
struct OnOneCore;

impl OnOneCore {
    /// Client so and so, on the core that is its turn; where the system does not want that, on any.
    fn for_client(client: usize) -> Self {
        cores::choose(Some(client));
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
    cores::choose(None);
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
    /// The client to whose core it comes back.
    client: Option<usize>,
}

impl FreeToGo {
    pub(crate) fn now() -> Self {
        let client = cores::chosen();
        if client.is_some() {
            on_any_core();
        }
        Self { client }
    }
}

impl Drop for FreeToGo {
    fn drop(&mut self) {
        if self.client.is_some() {
            cores::choose(self.client);
        }
    }
}

#[cfg(target_os = "linux")]
mod cores {
    use std::{cell::Cell, sync::OnceLock};

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    thread_local! {
        static CHOSEN: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// The client on whose core this thread is kept.
    pub(super) fn chosen() -> Option<usize> {
        CHOSEN.get()
    }

    /// Keeps this thread on a client's core, or on those of the program; where the system does not want that, it stays.
    pub(super) fn choose(client: Option<usize>) {
        // Asked for once, before any thread is kept on a core: later a thread may have inherited that.
        static OF_THE_PROGRAM: OnceLock<Option<CpuSet>> = OnceLock::new();
        let Some(all) = OF_THE_PROGRAM.get_or_init(|| sched_getaffinity(None).ok()) else { return };
        let cores = match client {
            Some(client) => of_client(all, client),
            None => *all,
        };
        if sched_setaffinity(None, &cores).is_ok() {
            CHOSEN.set(client);
        }
    }

    fn of_client(all: &CpuSet, client: usize) -> CpuSet {
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).cycle();
        let mut own = CpuSet::new();
        own.set(cores.nth(client).unwrap_or_default());
        own
    }
}

/// Where a system has no such thing, its own choice is good.
#[cfg(not(target_os = "linux"))]
mod cores {
    pub(super) fn chosen() -> Option<usize> {
        None
    }

    pub(super) fn choose(_: Option<usize>) {}
}

thread_local! {
    /// As long as somebody waits for the client of this thread, and for those beside it.
    static WAITED_FOR: RefCell<Option<Weak<()>>> = const { RefCell::new(None) };
}

/// Whether nobody waits any more for the client of this thread: its case was given up.
fn is_given_up() -> bool {
    WAITED_FOR.with_borrow(|waited_for| waited_for.as_ref().is_some_and(|waits| waits.strong_count() == 0))
}

/// Runs futures on threads of their own, all let go at the same moment, and gives what they return.
pub(crate) async fn together<F>(futures: impl IntoIterator<Item = F>) -> Outcome<Vec<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    let futures: Vec<F> = futures.into_iter().collect();
    let start = Arc::new(Start::of(futures.len()));
    // Dropped with this future where the case is given up.
    let waits = Arc::new(());
    let threads: Vec<_> = futures
        .into_iter()
        .enumerate()
        .map(|(client, future)| {
            let (start, runtime, waited_for) = (Arc::clone(&start), Handle::current(), Arc::downgrade(&waits));
            spawn_blocking(move || {
                WAITED_FOR.set(Some(waited_for));
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
        let awake_together = if have_a_core_each(threads) { threads } else { 0 };
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
    let spins = if have_a_core_each(seats) { Seat::SPINS } else { 100 };
    let table = Arc::new(Table { seats, arrivals: AtomicUsize::new(0), left: AtomicBool::new(false), spins });
    (0..seats).map(|_| Seat { table: Arc::clone(&table), meetings: 0 }).collect()
}

impl Seat {
    /// How often it is looked who is there before others may have the core: on a machine that is busy with other programs,
    /// who gives it away each time is never there when the others come. Where there are fewer cores than seats, they
    /// are waiting for it.
    const SPINS: u32 = 20_000;

    /// Waits until all are there, on the thread, since what is woken comes too late to meet anybody; false where somebody
    /// has left, or nobody waits any more for those of [`together`], of whom one may hang.
    pub(crate) fn meet(&mut self) -> bool {
        self.meetings += 1;
        self.table.arrivals.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0_u32;
        while self.table.arrivals.load(Ordering::Acquire) < self.table.seats * self.meetings {
            if self.table.left.load(Ordering::Acquire) {
                return false;
            }
            spins += 1;
            if !spins.is_multiple_of(self.table.spins) {
                spin_loop();
            } else if is_given_up() {
                return false;
            } else {
                yield_now();
            }
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
    poll_fn(|cx| {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).on_thread_start(on_any_core).build().expect("a runtime")
    }

    #[test]
    fn who_meets_one_that_hangs_ends_when_nobody_waits_any_more() {
        let runtime = runtime();
        let ((begins, begun), (meets, met)) = (channel(), channel());
        let (ends_hanging, hangs) = channel::<()>();
        let [hanging, mut meeting] = <[Seat; 2]>::try_from(table(2)).ok().expect("two seats");
        let clients: [Pin<Box<dyn Future<Output = ()> + Send>>; 2] = [
            Box::pin(async move {
                let _seat = hanging;
                assert!(hangs.recv().is_err(), "it ends with the test");
            }),
            Box::pin(async move {
                begins.send(()).expect("the test listens");
                meets.send(meeting.meet()).expect("the test listens");
            }),
        ];
        let case = runtime.spawn(together(clients));
        begun.recv().expect("the client begins");
        case.abort();
        runtime.shutdown_background();
        assert_eq!(met.recv_timeout(Duration::from_mins(5)), Ok(false));
        drop(ends_hanging);
    }

    #[cfg(target_os = "linux")]
    mod cores {
        use rustix::thread::sched_getaffinity;

        use super::*;

        fn own() -> Vec<usize> {
            let cores = sched_getaffinity(None).expect("the system says it");
            (0..1024).filter(|core| cores.is_set(*core)).collect()
        }

        #[test]
        fn clients_are_on_cores_by_turns_whoever_started_their_threads() {
            let all = own();
            let clients = |count| {
                let client = |_| async {
                    let (here, pooled) = (own(), spawn_blocking(own).await.expect("no panic"));
                    let opened = starting_threads(async { std::thread::spawn(own).join().expect("no panic") }).await;
                    (here, pooled, opened, own())
                };
                (0..count).map(client).collect::<Vec<_>>()
            };
            runtime().block_on(async {
                for count in [2, 4, 8] {
                    let seen = together(clients(count)).await.expect("no panic");
                    for (client, (here, pooled, opened, after)) in seen.into_iter().enumerate() {
                        let due = vec![all[client % all.len()]];
                        assert_eq!((&here, &after), (&due, &due), "client {client} of {count}");
                        assert_eq!((&pooled, &opened), (&all, &all), "threads of client {client} of {count}");
                    }
                }
            });
        }
    }
}
