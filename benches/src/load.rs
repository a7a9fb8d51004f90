//! The load part: every subject in every workload. Within a row of runs the subjects take turns, in each run in an order of
//! its own: what disturbs the machine disturbs them alike, and what one leaves behind for a moment no other always finds.

use std::path::Path;

use fastrand::Rng;
use store_api::{Durability, Error, Result};

use crate::{DynStore, DynSubject, Plan, Progress, Series, Workload, caught, report::tables::DURABILITIES};

/// Subjects by what an acknowledged write of theirs survives, in the order of a report's tables.
#[must_use]
pub fn by_durability<'a>(
    subjects: &[&'a dyn DynSubject],
) -> [(Durability, Vec<&'a dyn DynSubject>); DURABILITIES.len()] {
    let with =
        |level: Durability| subjects.iter().copied().filter(|subject| subject.facts().durability == level).collect();
    DURABILITIES.map(|level| (level, with(level)))
}

/// Subjects that belong into one table: their durability is the same.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a subject is known by its facts")]
pub struct Load<'a> {
    /// The subjects, each with a directory of its own.
    pub subjects: &'a [&'a dyn DynSubject],
    /// The workloads.
    pub workloads: &'a [Workload],
    /// How thorough.
    pub plan: &'a Plan,
}

impl Load<'_> {
    /// How many runs it has.
    #[must_use]
    pub fn runs(&self) -> u64 {
        let rows: usize = self.workloads.iter().map(|workload| self.clients(*workload).len()).sum();
        (rows * self.subjects.len()) as u64 * self.plan.runs
    }

    fn clients(&self, workload: Workload) -> Vec<usize> {
        let Plan { clients, typical_clients, .. } = self.plan;
        let clients = if workload.is_basic() { clients.as_slice() } else { std::slice::from_ref(typical_clients) };
        clients.iter().map(|clients| clients.get()).collect()
    }
}

/// What the load part found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The rows; of those that failed the ones that were whole before.
    pub series: Vec<Series>,
    /// The subjects that failed, by name.
    pub failed: Vec<(String, Error)>,
}

/// Measures them, each in a directory below `place`; one that fails is left out from there on, and the others go on.
pub async fn measure_load(load: Load<'_>, place: &Path, progress: &Progress) -> Loaded {
    let mut loaded = Loaded { series: Vec::new(), failed: Vec::new() };
    let mut turns = Vec::new();
    for subject in load.subjects {
        let name = subject.facts().name;
        progress.doing(&format!("filling {name}"));
        match caught(opened(*subject, &name, place, load.plan)).await {
            Ok(store) => turns.push(Turn { name, store, failed: None }),
            Err(error) => loaded.failed.push((name, error)),
        }
    }
    for &workload in load.workloads {
        for clients in load.clients(workload) {
            loaded.series.extend(row(&load, &mut turns, workload, clients, progress).await);
        }
    }
    for Turn { name, store, failed } in turns {
        let closed = caught(store.close()).await.err();
        loaded.failed.extend(failed.or(closed).map(|error| (name, error)));
    }
    loaded
}

/// A subject that takes turns with the others.
struct Turn {
    name: String,
    store: Box<dyn DynStore>,
    failed: Option<Error>,
}

async fn opened(subject: &dyn DynSubject, name: &str, place: &Path, plan: &Plan) -> Result<Box<dyn DynStore>> {
    subject.open_filled(&crate::disk::directory(place, name)?, plan).await
}

/// The runs of one workload with so many clients.
async fn row(
    load: &Load<'_>,
    turns: &mut [Turn],
    workload: Workload,
    clients: usize,
    progress: &Progress,
) -> Vec<Series> {
    let mut series: Vec<Series> = turns.iter().map(|turn| Series::new(&turn.name, workload, clients)).collect();
    for run in 0..load.plan.runs {
        let mut order: Vec<usize> = (0..turns.len()).collect();
        Rng::with_seed(load.plan.seed ^ run << 32 ^ clients as u64).shuffle(&mut order);
        for index in order {
            let (turn, series) = (&mut turns[index], &mut series[index]);
            progress.doing(&format!("{workload}, {clients} clients: {}", turn.name));
            // One that has no operation of this kind has no rows of it.
            if turn.failed.is_none() && (run == 0 || !series.runs.is_empty()) {
                match caught(turn.store.run(workload, clients, run)).await {
                    Ok(found) => series.runs.extend(found),
                    // A median of fewer runs is none of the others' kind.
                    Err(error) => {
                        series.runs.clear();
                        turn.failed = Some(error);
                    }
                }
            }
            progress.done();
        }
    }
    series.retain(|series| !series.runs.is_empty());
    series
}
