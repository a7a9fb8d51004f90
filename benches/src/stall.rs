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
    DynSubject, Latency, Plan, Progress, Workload,
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
    /// The load: its clients, its time, its values. A percentile asks for time: the task is woken once in a millisecond.
    pub load: Plan,
}

/// What the neighbour of a store waited.
#[derive(Clone, Debug, Serialize)]
pub struct Stall {
    /// The name of the subject.
    pub subject: String,
    /// How many clients loaded it, with half reads and half writes.
    pub clients: usize,
    /// How many cores that kept at work; `None` where the system does not tell, or where it was less than it counts.
    pub cores: Option<f64>,
    /// How many times the task was woken beside the loaded store: with less than 10,000, the percentile 99.9 is made of
    /// fewer than ten of them.
    pub wakes: u64,
    /// From wake to poll, beside the loaded store.
    pub beside_store: Latency,
    /// How many cores the tasks kept at work that do nothing.
    pub work_cores: Option<f64>,
    /// The same beside these tasks.
    pub beside_work: Option<Latency>,
}

/// How many wakes the percentile 99.9 asks for: ten of them lie beyond it.
const ENOUGH: u64 = 10_000;

impl Stall {
    /// How much longer than beside the same work the task waited beside the store, in microseconds, all but once in a
    /// thousand times. `None` where the work was not the same, by a tenth, or where the task was not woken often enough.
    #[must_use]
    pub fn more_us(&self) -> Option<f64> {
        let (cores, work_cores) = self.cores.zip(self.work_cores)?;
        let beside_work = self.beside_work.filter(|_| is_same(cores, work_cores) && self.wakes >= ENOUGH)?;
        Some(self.beside_store.p999_us - beside_work.p999_us)
    }
}

/// Whether the work of the cores is the same, by a tenth.
fn is_same(cores: f64, work_cores: f64) -> bool {
    (work_cores - cores).abs() <= cores / 10.0
}

/// Measures it beside a store that is loaded.
pub async fn measure_stall(
    subject: &dyn DynSubject,
    place: &Path,
    plan: &StallPlan,
    progress: &Progress,
) -> Result<Stall> {
    let Plan { typical_clients, warm_up, duration, .. } = plan.load;
    let name = subject.facts().name;
    progress.doing(&format!("a neighbour of {name}"));
    let store = subject.open_filled(&crate::disk::directory(place, &format!("stall {name}"))?, &plan.load).await?;
    let clients = typical_clients.get();
    // The first run has the number 0, and looks for the operations of the engine before it begins.
    let loaded = async || store.run(Workload::A, clients, 1).await.map(drop);
    let (cores, beside_store) = beside(warm_up, loaded).await?;
    store.close().await?;
    let worked = match cores {
        Some(cores) => beside_work(clients, cores, warm_up, duration).await?,
        None => None,
    };
    let (work_cores, beside_work) = worked.unzip();
    progress.done();
    let (wakes, beside_store) = (beside_store.len(), Latency::of(&beside_store));
    Ok(Stall { subject: name, clients, cores, wakes, beside_store, work_cores, beside_work })
}

/// How many cores tasks keep at work that are to burn as much as the store did, and what the task waits beside them.
async fn beside_work(
    tasks: usize,
    cores: f64,
    warm_up: Duration,
    duration: Duration,
) -> Result<Option<(f64, Latency)>> {
    let worked = async |asked: f64| {
        let work = async || {
            burn(tasks, asked, warm_up + duration).await;
            Ok(())
        };
        beside(warm_up, work).await
    };
    let (mut did, mut times) = worked(cores).await?;
    // A task that burns counts the time that it waits for a core, too, so that less is burnt than was asked for.
    if let Some(less) = did.filter(|did| !is_same(cores, *did)) {
        (did, times) = worked(cores * cores / less).await?;
    }
    Ok(did.map(|did| (did, Latency::of(&times))))
}

/// How many cores something keeps at work, and what the task waits beside it once it is warm.
async fn beside(warm_up: Duration, something: impl AsyncFnOnce() -> Result<()>) -> Result<(Option<f64>, Times)> {
    let (neighbour, cpu, began) = (Neighbour::start(warm_up), cpu_time(), Instant::now());
    something().await?;
    let cores = used(cpu, cpu_time(), began.elapsed());
    Ok((cores, neighbour.waited().await?))
}

/// `None` where the system counted no work: it was less than it counts, and there is no comparing it.
fn used(before: Option<Duration>, after: Option<Duration>, elapsed: Duration) -> Option<f64> {
    let worked = after?.saturating_sub(before?);
    (!worked.is_zero()).then(|| worked.as_secs_f64() / elapsed.as_secs_f64())
}

/// A task that is woken again and again by a thread that does nothing else.
struct Neighbour {
    over: Arc<AtomicBool>,
    task: JoinHandle<Times>,
}

impl Neighbour {
    /// Keeps the times of the wakes behind the warm-up.
    fn start(warm_up: Duration) -> Self {
        let began = Instant::now();
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
                if at.duration_since(began) >= warm_up {
                    record(&mut times, at.elapsed());
                }
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
    for task in 0..tasks {
        let spent = Arc::clone(&spent);
        // They are not woken at the same tick all at once.
        let pause = PERIOD * u32::try_from(task % 8 + 1).expect("it is at most eight");
        burning.spawn(async move {
            while began.elapsed() < time {
                let due = began.elapsed().mul_f64(cores);
                if Duration::from_nanos(spent.load(Ordering::Relaxed)) > due {
                    tokio::time::sleep(pause).await;
                    continue;
                }
                spent.fetch_add(nanoseconds(spin(SLICE)), Ordering::Relaxed);
                tokio::task::yield_now().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_the_system_did_not_count_is_not_known() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(used(ms(50), ms(50), Duration::from_secs(1)), None);
        assert_eq!(used(ms(50), ms(60), Duration::from_secs(1)), Some(0.01));
        assert_eq!(used(None, ms(60), Duration::from_secs(1)), None);
    }

    #[tokio::test]
    async fn too_little_work_to_be_counted_is_burnt_without_a_comparison() {
        let moment = Duration::from_millis(1);
        // So little that its tick, if another test causes one, is many times what was asked for.
        let beside = beside_work(1, 1e-9, moment, moment).await.unwrap();
        assert!(beside.is_none_or(|(cores, _)| cores.is_finite() && cores > 0.0));
    }
}
