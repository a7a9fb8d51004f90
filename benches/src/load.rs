//! The load part: every subject in every workload. Within a row of runs the subjects take turns, and each run begins with
//! another of them: what disturbs the machine disturbs them alike, and none always follows the same one.

use std::path::Path;

use store_api::Result;

use crate::{Measured, Opened, Plan, Progress, Series, Workload};

/// Subjects that belong into one table: their durability is the same.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a subject is known by its facts")]
pub struct Load<'a> {
    /// The subjects, each with a directory of its own.
    pub subjects: &'a [&'a dyn Measured],
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

/// Measures them, each in a directory below `place`.
pub async fn load(load: Load<'_>, place: &Path, progress: &Progress) -> Result<Vec<Series>> {
    let mut stores = Vec::new();
    for subject in load.subjects {
        let name = subject.facts().name;
        progress.doing(&format!("filling {name}"));
        let place = crate::disk::directory(place, &name)?;
        stores.push((name, subject.open_filled(&place, load.plan).await?));
    }
    let mut found = Vec::new();
    for &workload in load.workloads {
        for clients in load.clients(workload) {
            found.extend(row(&load, &stores, workload, clients, progress).await?);
        }
    }
    for (_, store) in stores {
        store.close().await?;
    }
    Ok(found)
}

/// The runs of one workload with so many clients.
async fn row(
    load: &Load<'_>,
    stores: &[(String, Box<dyn Opened>)],
    workload: Workload,
    clients: usize,
    progress: &Progress,
) -> Result<Vec<Series>> {
    let mut series: Vec<Series> = stores.iter().map(|(name, _)| Series::new(name, workload, clients)).collect();
    for run in 0..load.plan.runs {
        #[expect(clippy::cast_possible_truncation, reason = "there are few runs")]
        let first = run as usize % stores.len().max(1);
        for index in (first..stores.len()).chain(0..first) {
            let ((name, store), series) = (&stores[index], &mut series[index]);
            progress.doing(&format!("{workload}, {clients} clients: {name}"));
            if run == 0 || !series.runs.is_empty() {
                series.runs.extend(store.run(workload, clients, run).await?);
            }
            progress.done();
        }
    }
    series.retain(|series| !series.runs.is_empty());
    Ok(series)
}
