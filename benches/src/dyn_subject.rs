//! Subjects of all makes in one list: what a subject is generic over is erased here, around whole runs.

use std::path::Path;

use async_trait::async_trait;
use store_api::Result;

use crate::{
    CountsSyncs, Facts, Growth, GrowthPlan, Plan, Run, Store, Subject, Syncs, Workload, driver::drive, growth,
    keys::Records, syncs,
};

/// A subject, for whatever measures one.
#[async_trait]
pub trait DynSubject: Send + Sync {
    /// What a reader has to know of its rows.
    fn facts(&self) -> Facts;

    /// Opens a store in a directory and fills it with the records of a plan.
    async fn open_filled(&self, place: &Path, plan: &Plan) -> Result<Box<dyn DynStore>>;

    /// Counts the syncs of its writes in a directory that is watched.
    async fn count_syncs(&self, place: &Path, plan: &Plan, counter: &dyn CountsSyncs) -> Result<Syncs>;

    /// Measures it while its store grows.
    async fn grow(&self, place: &Path, plan: &GrowthPlan) -> Result<Growth>;
}

/// A store that is open and filled.
#[async_trait]
pub trait DynStore: Send + Sync {
    /// One run, of which the first has the number 0; that is `None` where the engine does not have the operations.
    async fn run(&self, workload: Workload, clients: usize, run: u64) -> Result<Option<Run>>;

    /// Lets go of the files.
    async fn close(self: Box<Self>) -> Result<()>;
}

#[async_trait]
impl<S: Subject> DynSubject for S {
    fn facts(&self) -> Facts {
        Subject::facts(self)
    }

    async fn open_filled(&self, place: &Path, plan: &Plan) -> Result<Box<dyn DynStore>> {
        let store = self.open(place).await?;
        let records = Records::new(plan.records, plan.seed);
        for part in records.entries(plan.value_len) {
            store.fill(part).await?;
        }
        Ok(Box::new(Filled { store, records, plan: plan.clone() }))
    }

    async fn count_syncs(&self, place: &Path, plan: &Plan, counter: &dyn CountsSyncs) -> Result<Syncs> {
        syncs::count(self, place, plan, counter).await
    }

    async fn grow(&self, place: &Path, plan: &GrowthPlan) -> Result<Growth> {
        growth::measure_growth(self, place, plan).await
    }
}

struct Filled<S> {
    store: S,
    records: Records,
    plan: Plan,
}

#[async_trait]
impl<S: Store> DynStore for Filled<S> {
    async fn run(&self, workload: Workload, clients: usize, run: u64) -> Result<Option<Run>> {
        drive(&self.store, workload, clients, &self.records, &self.plan, run).await
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.store.close().await
    }
}
