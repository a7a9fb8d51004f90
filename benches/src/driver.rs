//! Drives the clients of an open store through one run of a workload, and keeps the time of each operation.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use hdrhistogram::Histogram;
use store_api::{Error, ErrorKind, Result};
use tokio::{
    sync::{oneshot, watch},
    task,
};

use crate::{Client, Driven, Plan, Run, Store, Workload, keys::Records, workload::Turns};

/// How many turns a task takes before it lets others run: a store that answers at once never makes it wait.
const TURNS_IN_A_ROW: usize = 32;

/// Where a run is, for its clients.
struct Clock {
    at: AtomicU8,
    /// Of how many phases the clients have done enough.
    enough: watch::Sender<u8>,
}

const WARMING_UP: u8 = 0;
const RECORDING: u8 = 1;
const OVER: u8 = 2;

impl Clock {
    fn new() -> Self {
        Self { at: AtomicU8::new(WARMING_UP), enough: watch::Sender::new(0) }
    }

    fn now(&self) -> u8 {
        self.at.load(Ordering::Relaxed)
    }

    /// Ends a phase before its time.
    fn is_enough(&self, phase: u8) {
        self.enough.send_if_modified(|phases| {
            let ends = *phases <= phase;
            *phases = (*phases).max(phase + 1);
            ends
        });
    }

    /// Waits for the end of a phase, and begins the next one.
    async fn pass(&self, phase: u8, time: Duration) {
        let mut enough = self.enough.subscribe();
        // The sender is here: what ends the wait is one of both.
        let _ = tokio::time::timeout(time, enough.wait_for(|phases| *phases > phase)).await;
        self.at.store(phase + 1, Ordering::Relaxed);
    }

    /// Lets the run go its time, and says how long it was recorded.
    async fn run(&self, plan: &Plan) -> Duration {
        self.pass(WARMING_UP, plan.warm_up).await;
        let began = Instant::now();
        self.pass(RECORDING, plan.duration).await;
        began.elapsed()
    }
}

/// Ends a run whose future is dropped, too: its clients would go on for ever.
struct EndsWhenDropped(Arc<Clock>);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.at.store(OVER, Ordering::Relaxed);
    }
}

/// The times of operations, to three digits.
pub(crate) type Times = Histogram<u64>;

pub(crate) fn no_times() -> Times {
    Times::new(3).expect("three digits are few enough")
}

pub(crate) fn record(times: &mut Times, time: Duration) {
    times.record(nanoseconds(time)).expect("it grows as times do");
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs a workload with so many clients. The first run is `None` where the engine does not have its operations, and is to
/// be the last.
pub(crate) async fn drive<S: Store>(
    store: &S,
    workload: Workload,
    clients: usize,
    records: &Records,
    plan: &Plan,
    run: u64,
) -> Result<Option<Run>> {
    if run == 0 && !knows(store, workload, records, plan).await? {
        return Ok(None);
    }
    let clock = Arc::new(Clock::new());
    let _running = EndsWhenDropped(Arc::clone(&clock));
    let begin = |client| {
        let turns = Turns::new(workload, records.clone(), (client, clients), plan, run);
        Ok(start::<S>(store.client()?, turns, Arc::clone(&clock)))
    };
    let mut started: Vec<Started> = (0..clients).map(begin).collect::<Result<_>>()?;
    for client in &mut started {
        // One that failed before its first turn says so when it is asked for its times.
        let _ = (&mut client.ready).await;
    }
    let recorded = clock.run(plan).await;
    let mut all = Work { times: no_times(), ended: 0 };
    for client in started {
        let work =
            client.ended.await.map_err(|_| Error::new(ErrorKind::Other, "a client of the benchmark panicked"))??;
        all.times.add(work.times).expect("histograms of one precision add up");
        all.ended += work.ended;
    }
    Ok(Some(Run::of(&all.times, all.ended, recorded)))
}

/// How many turns are enough to see each operation of a workload.
const EVERY_OPERATION: usize = 20;

/// Whether an engine has the operations of a workload.
async fn knows<S: Store>(store: &S, workload: Workload, records: &Records, plan: &Plan) -> Result<bool> {
    let mut turns = Turns::new(workload, records.clone(), (0, 1), plan, u64::MAX);
    let mut client = store.client()?;
    for _ in 0..EVERY_OPERATION {
        match turns.take(&mut client).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(false),
            taken => taken.map(drop)?,
        }
    }
    Ok(true)
}

/// What a client did while the run was recorded.
struct Work {
    /// The times of the operations that began in it, also where they ended behind it: the slowest are among those.
    times: Times,
    /// How many operations ended in it.
    ended: u64,
}

/// A client at work.
struct Started {
    /// Told before its first turn.
    ready: oneshot::Receiver<()>,
    ended: oneshot::Receiver<Result<Work>>,
}

fn start<S: Store>(mut client: S::Client, mut turns: Turns, clock: Arc<Clock>) -> Started {
    let (is_ready, ready) = oneshot::channel();
    let (done, ended) = oneshot::channel();
    let is_task = matches!(S::DRIVEN, Driven::Tasks);
    let work = async move {
        turns.prepare(&mut client).await?;
        // Whoever no longer waits for it has ended with an error of its own.
        let _ = is_ready.send(());
        work(client, turns, &clock, is_task).await
    };
    // Whoever no longer waits for the times has ended with an error of its own.
    match S::DRIVEN {
        Driven::Tasks => drop(task::spawn(async move { done.send(work.await) })),
        Driven::Threads => drop(thread::spawn(move || {
            let worked = work.now_or_never();
            done.send(worked.unwrap_or_else(|| Err(Error::new(ErrorKind::Other, "a client on a thread cannot wait"))))
        })),
    }
    Started { ready, ended }
}

async fn work<C: Client>(mut client: C, mut turns: Turns, clock: &Clock, is_task: bool) -> Result<Work> {
    let mut done = Work { times: no_times(), ended: 0 };
    let mut before = WARMING_UP;
    for turn in 0_usize.. {
        let at = clock.now();
        if at == OVER {
            break;
        }
        if at != before {
            turns.begin();
            before = at;
        }
        let took = turns.take(&mut client).await?;
        if at == RECORDING {
            record(&mut done.times, took);
        }
        done.ended += u64::from(clock.now() == RECORDING);
        if turns.are_enough() {
            clock.is_enough(at);
        }
        if is_task && turn % TURNS_IN_A_ROW == 0 {
            task::yield_now().await;
        }
    }
    Ok(done)
}
