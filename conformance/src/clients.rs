//! Clients on threads of their own, so that they meet as programs do.

mod cores;
mod repeating;
mod table;

use std::{
    cell::RefCell,
    hint::spin_loop,
    num::NonZero,
    pin::Pin,
    sync::{
        Arc, Barrier, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread::available_parallelism,
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

use self::cores::OnOneCore;

pub(crate) use self::{
    cores::{FreeToGo, on_any_core, starting_threads},
    repeating::{Repeating, over_and_over, set_over_and_over},
    table::{Seat, table},
};

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

thread_local! {
    /// As long as somebody waits for the client of this thread, and for those beside it.
    static WAITED_FOR: RefCell<Option<Weak<()>>> = const { RefCell::new(None) };
}

/// Whether nobody waits any more for the client of this thread: its case was given up.
pub(crate) fn is_given_up() -> bool {
    WAITED_FOR.with_borrow(|waited_for| waited_for.as_ref().is_some_and(|waits| waits.strong_count() == 0))
}

/// Runs futures on threads of their own, all let go at the same moment, and gives what they return.
pub(crate) async fn together<F>(futures: impl IntoIterator<Item = F>) -> Outcome<Vec<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// Clients of cases that run beside each other are on cores of their own, as far as there are so many.
    static NEXT_CORE: AtomicUsize = AtomicUsize::new(0);

    let futures: Vec<F> = futures.into_iter().collect();
    let start = Arc::new(Start::of(futures.len()));
    let first_core = NEXT_CORE.fetch_add(futures.len(), Ordering::Relaxed);
    // Dropped with this future where the case is given up.
    let waits = Arc::new(());
    let threads: Vec<_> = futures
        .into_iter()
        .enumerate()
        .map(|(client, future)| {
            let (start, runtime, waited_for) = (Arc::clone(&start), Handle::current(), Arc::downgrade(&waits));
            spawn_blocking(move || {
                WAITED_FOR.set(Some(waited_for));
                let _core = OnOneCore::by_turns(first_core.wrapping_add(client));
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
                    let mut first = None;
                    for (client, (here, pooled, opened, after)) in seen.into_iter().enumerate() {
                        let due =
                            *first.get_or_insert_with(|| all.iter().position(|core| here == [*core]).expect("one"));
                        let due = vec![all[(due + client) % all.len()]];
                        assert_eq!((&here, &after), (&due, &due), "client {client} of {count}");
                        assert_eq!((&pooled, &opened), (&all, &all), "threads of client {client} of {count}");
                    }
                }
            });
        }
    }
}
