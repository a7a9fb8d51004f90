//! Merging: the footers of many packs become a run of the index, together with the shorter runs that are there.
//!
//! Whoever notices that much is not indexed does it, in the background. Each run stays several times as long as the
//! next, so that there are few, and each record is written again few times. Who loses a race for the root has wasted
//! some requests; who is interrupted leaves an object that nobody reads.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use backend_kit::offload;
use store_api::{Effect, Error, Result};

use super::{
    Packs, READINGS,
    name::PackName,
    root::{self, Root},
    run::{MAX_RECORDS, Record, Run},
    view::View,
};
use crate::{
    client::{Failure, FailureKind, Version},
    frame::random,
};

/// How many packs, or values in them, are left to their footers: those of 64 packs are what a cold instance reads.
const PACKS: usize = 64;
const RECORDS: usize = 64 * 1024;

/// How many times as long as the next a run is.
pub(crate) const RATIO: usize = 4;

/// Whether a merge is under way.
#[derive(Debug, Default)]
pub(super) struct Merging(AtomicBool);

/// What becomes of the index.
struct Plan {
    /// The root to be replaced, if there is one.
    replaced: Option<Version>,
    root: Root,
    absorbed: Vec<Arc<Run>>,
    records: Vec<Record>,
    packs: BTreeSet<PackName>,
}

impl Plan {
    fn of(view: &View) -> Option<Self> {
        let packs: BTreeSet<PackName> = view.uncovered().keys().copied().collect();
        if packs.is_empty() {
            return None;
        }
        let records: Vec<Record> = view.uncovered().values().flatten().copied().collect();
        let mut root = view.root().as_deref().cloned().unwrap_or_default();
        let mut absorbed = Vec::new();
        let mut len = records.len();
        while let Some(run) = root.runs.pop_if(|run| absorbs(len, run)) {
            len += run.records();
            absorbed.push(run);
        }
        root.floor = root.floor.max(view.floor());
        root.recent.extend(&packs);
        root.recent = root.recent.split_off(&PackName::first(root.floor));
        Some(Self { replaced: view.root_version().cloned(), root, absorbed, records, packs })
    }
}

/// Whether a run becomes a part of one that has so many records without it.
fn absorbs(len: usize, run: &Run) -> bool {
    run.records() < RATIO * len && len + run.records() <= MAX_RECORDS
}

/// Begun by one, and ended also when it panics.
struct Turn(Arc<Packs>);

impl Turn {
    fn take(packs: &Arc<Packs>) -> Option<Self> {
        let taken = packs.merging.0.swap(true, Ordering::AcqRel);
        (!taken).then(|| Self(Arc::clone(packs)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.merging.0.store(false, Ordering::Release);
    }
}

impl Packs {
    /// Begins a merge in the background, where enough has come together for one.
    pub(super) fn merge_if_due(self: &Arc<Self>) {
        let due = {
            let view = self.view();
            view.uncovered().len() >= PACKS || view.uncovered_records() >= RECORDS
        };
        let Some(turn) = due.then(|| Turn::take(self)).flatten() else { return };
        let detached = Arc::clone(&self.detached);
        self.runtime.spawn(async move {
            let _detached = detached.read_owned().await;
            if let Err(error) = turn.0.merge().await {
                // All of it is in the packs.
                tracing::debug!(%error, "the packs were not indexed; a later merge will do it");
            }
        });
    }

    async fn merge(&self) -> Result<()> {
        let plan = {
            let _turn = self.refreshing.done.lock().await;
            self.list_packs().await?;
            if !self.read_footers().await?.is_empty() {
                return Err(super::corrupt("a pack is damaged; restore it from a copy"));
            }
            Plan::of(&self.view())
        };
        let Some(mut plan) = plan else { return Ok(()) };
        for run in &plan.absorbed {
            plan.records.extend(self.read_run(run).await?);
        }
        let records = std::mem::take(&mut plan.records);
        let nonce = u128::from_be_bytes(random()?);
        let (run, bytes) = offload(move || Run::seal(nonce, records)).await?;
        let run = Arc::new(run);
        self.put(&run.object(), bytes.into()).await?;
        plan.root.runs.push(Arc::clone(&run));
        match self.put_root(&plan).await {
            Ok(version) => self.merged(plan, version).await,
            // Another merge was faster. Where it is not known who was, the run may be needed.
            Err(failure) if failure.kind == FailureKind::Refused => Ok(self.client.delete(&run.object()).await?),
            Err(failure) => Err(failure.into_error(Effect::Unknown)),
        }
    }

    async fn put_root(&self, plan: &Plan) -> Result<Version, Failure> {
        let root = plan.root.seal();
        match &plan.replaced {
            Some(version) => self.client.replace(root::OBJECT, root.into(), version).await,
            None => self.client.create(root::OBJECT, root.into()).await,
        }
    }

    async fn merged(&self, plan: Plan, version: Version) -> Result<()> {
        {
            let mut view = self.view();
            view.set_root(version, Some(plan.root));
            view.share(&plan.packs);
        }
        for run in plan.absorbed {
            self.client.delete(&run.object()).await?;
        }
        Ok(())
    }

    async fn read_run(&self, run: &Run) -> Result<Vec<Record>> {
        for _ in 0..READINGS {
            let Some(object) = self.client.get(&run.object(), None).await? else { break };
            if let Some(records) = run.open(&object.bytes) {
                return Ok(records);
            }
        }
        Err::<_, Error>(super::corrupt("a run of the index is damaged or gone"))
    }
}
