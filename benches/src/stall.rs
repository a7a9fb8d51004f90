//! What a loaded store does to its neighbours: how long a task that has nothing to do with it waits from the moment that
//! it is woken, beside the same work of the cores without a store.

use std::{
    hint::spin_loop,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use store_api::{Error, ErrorKind, Result};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use crate::{
    Latency, Measured, Plan, Progress, Workload,
    driver::{Times, nanoseconds, no_times, record},
    process::cpu_time,
};

/// How often the task is woken.
const PERIOD: Duration = Duration::from_millis(1);
/// How long a task that burns time runs before it lets others run: what a turn of the driver takes in memory.
const SLICE: Duration = Duration::from_micros(20);

/// How thorough the stall part is.
#[derive(Clone, Debug, Serialize)]
pub struct StallPlan {
    /// The load: its clients, its time, its values.
    pub load: Plan,
}

/// What the neighbour of a store waited.
#[derive(Clone, Debug, Serialize)]
pub struct Stall {
    /// The name of the subject.
    pub subject: String,
    /// How many clients loaded it, with half reads and half writes.
    pub clients: usize,
    /// How many cores that kept at work.
    pub cores: Option<f64>,
    /// From wake to poll, beside the loaded store.
    pub beside_store: Latency,
    /// The same beside tasks that keep as many cores at work and do nothing.
    pub beside_work: Option<Latency>,
}

/// Measures it beside a store that is loaded.
pub async fn stall(subject: &dyn Measured, place: &Path, plan: &StallPlan, progress: &Progress) -> Result<Stall> {
    let Plan { typical_clients, warm_up, duration, .. } = plan.load;
    let name = subject.facts().name;
    progress.doing(&format!("a neighbour of {name}"));
    let store = subject.open_filled(&crate::disk::directory(place, &format!("stall {name}"))?, &plan.load).await?;
    let clients = typical_clients.get();
    let (neighbour, cpu, began) = (Neighbour::start(), cpu_time(), Instant::now());
    store.run(Workload::A, clients, 0).await?;
    let cores = used(cpu, cpu_time(), began.elapsed());
    let beside_store = neighbour.waited().await?;
    store.close().await?;
    let beside_work = match cores {
        Some(cores) => {
            let neighbour = Neighbour::start();
            burn(clients, cores, warm_up + duration).await;
            Some(Latency::of(&neighbour.waited().await?))
        }
        None => None,
    };
    progress.done();
    Ok(Stall { subject: name, clients, cores, beside_store: Latency::of(&beside_store), beside_work })
}

fn used(before: Option<Duration>, after: Option<Duration>, elapsed: Duration) -> Option<f64> {
    Some(after?.saturating_sub(before?).as_secs_f64() / elapsed.as_secs_f64())
}

/// A task that is woken again and again by a thread that does nothing else.
struct Neighbour {
    over: Arc<AtomicBool>,
    task: JoinHandle<Times>,
}

impl Neighbour {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (wake, mut woken) = mpsc::unbounded_channel::<Instant>();
        let ended = Arc::clone(&over);
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) && wake.send(Instant::now()).is_ok() {
                thread::sleep(PERIOD);
            }
        });
        let task = tokio::spawn(async move {
            let mut times = no_times();
            while let Some(at) = woken.recv().await {
                record(&mut times, at.elapsed());
            }
            times
        });
        Self { over, task }
    }

    async fn waited(self) -> Result<Times> {
        self.over.store(true, Ordering::Relaxed);
        let panicked = |error| Error::new(ErrorKind::Other, "the neighbour panicked").with_source(error);
        self.task.await.map_err(panicked)
    }
}

/// Keeps so many cores at work with so many tasks.
async fn burn(tasks: usize, cores: f64, time: Duration) {
    let began = Instant::now();
    let spent = Arc::new(AtomicU64::new(0));
    let mut burning = JoinSet::new();
    for _ in 0..tasks {
        let spent = Arc::clone(&spent);
        burning.spawn(async move {
            while began.elapsed() < time {
                spent.fetch_add(nanoseconds(spin(SLICE)), Ordering::Relaxed);
                let due = began.elapsed().mul_f64(cores);
                if Duration::from_nanos(spent.load(Ordering::Relaxed)) > due {
                    tokio::time::sleep(PERIOD).await;
                } else {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    burning.join_all().await;
}

fn spin(time: Duration) -> Duration {
    let began = Instant::now();
    while began.elapsed() < time {
        spin_loop();
    }
    began.elapsed()
}
