//! Merging: the footers of many packs become a run of the index, together with the shorter runs that are there.
//!
//! Whoever notices that much is not indexed does it, in the background. Each run stays several times as long as the
//! next, so that there are few, and each record is written again few times. Who loses a race for the root has wasted
//! some requests; who is interrupted leaves an object that nobody reads. A pack whose footer is damaged is left out, and
//! the root says so by its floor.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use backend_kit::offload;
use store_api::{Effect, Result};

use super::{
    Packs, READINGS,
    name::PackName,
    root::{self, Root},
    run::{MAX_RECORDS, Record, Run},
    runs::RunError,
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

#[derive(Debug, Default)]
pub(super) struct Merging {
    is_under_way: AtomicBool,
    /// So many packs are left to their footers behind a merge that failed.
    rest: AtomicUsize,
}

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
        // Behind the root's, which covers none that is damaged.
        root.floor = root.floor.max(view.floor());
        root.floor = view.damaged().first().map_or(root.floor, |pack| root.floor.min(pack.epoch));
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
        let taken = packs.merging.is_under_way.swap(true, Ordering::AcqRel);
        (!taken).then(|| Self(Arc::clone(packs)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.merging.is_under_way.store(false, Ordering::Release);
    }
}

impl Packs {
    /// Begins a merge in the background, where enough has come together for one.
    pub(super) fn merge_if_due(self: &Arc<Self>) {
        if !self.is_merge_due() {
            return;
        }
        let Some(turn) = Turn::take(self) else { return };
        // None is begun while the store closes.
        let Some(under_way) = self.detached.try_begin() else { return };
        self.runtime.spawn(async move {
            let _under_way = under_way;
            let packs = &turn.0;
            let merged = packs.merge().await;
            let rest = if merged.is_ok() { 0 } else { 2 * packs.view().uncovered().len() };
            packs.merging.rest.store(rest, Ordering::Relaxed);
            if let Err(error) = merged {
                // All of it is in the packs.
                tracing::debug!(%error, "the packs were not indexed; a later merge will do it");
            }
        });
    }

    fn is_merge_due(&self) -> bool {
        let view = self.view();
        let packs = view.uncovered().len();
        (packs >= PACKS || view.uncovered_records() >= RECORDS) && packs >= self.merging.rest.load(Ordering::Relaxed)
    }

    async fn merge(&self) -> Result<()> {
        let plan = {
            let _turn = self.refreshing.done.lock().await;
            self.list_packs().await?;
            self.read_footers().await?;
            // Somebody else's merge may have come first.
            if self.is_merge_due() { Plan::of(&self.view()) } else { None }
        };
        let Some(mut plan) = plan else { return Ok(()) };
        for run in &plan.absorbed {
            match (self.read_run(run).await, &plan.replaced) {
                (Ok(records), _) => plan.records.extend(records),
                (Err(RunError::Failed(error)), _) => return Err(error),
                // The next merge begins without the root.
                (Err(RunError::Lost), Some(root)) => return self.replace_root(root).await,
                (Err(RunError::Lost), None) => unreachable!("runs are those of a root"),
            }
        }
        let records = std::mem::take(&mut plan.records);
        let nonce = u128::from_be_bytes(random()?);
        let (run, bytes) = offload(move || Run::seal(nonce, records)).await?;
        let run = Arc::new(run);
        self.put(&run.object(), bytes.into(), self.patience()).await?;
        plan.root.runs.push(Arc::clone(&run));
        match self.put_root(&plan).await {
            Ok(version) => self.merged(plan, version).await,
            Err(failure) if failure.kind == FailureKind::Refused => self.settle(plan, &run).await,
            // Where it is not known whose root it is, the run may be needed.
            Err(failure) => Err(failure.into_error(Effect::Unknown)),
        }
    }

    /// Another merge was faster, or something on the way sent the PUT of the root twice: the root itself tells.
    async fn settle(&self, plan: Plan, run: &Run) -> Result<()> {
        let Some(object) = self.client.get(root::OBJECT, root::MAX_LEN).await? else { return Ok(()) };
        match Root::open(&object.bytes) {
            Some(root) if root == plan.root => self.merged(plan, object.version).await,
            // Nothing that is still under way can put the plan over another root than the one that it was made for.
            Some(root) if Some(&object.version) != plan.replaced.as_ref() && !root.names(run) => {
                Ok(self.client.delete(&run.object()).await?)
            }
            _ => Ok(()),
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
        let Plan { replaced, root, absorbed, packs, .. } = plan;
        {
            let _turn = self.refreshing.done.lock().await;
            let mut view = self.view();
            // Where a later root was read meanwhile, that one stays.
            if view.root_version() == replaced.as_ref() {
                view.set_root(version, Some(root));
            }
            view.share(&packs);
        }
        for run in absorbed {
            self.client.delete(&run.object()).await?;
        }
        Ok(())
    }

    async fn read_run(&self, run: &Run) -> Result<Vec<Record>, RunError> {
        for _ in 0..READINGS {
            let object = self.client.get(&run.object(), run.len()).await;
            let object = object.map_err(|failure| RunError::Failed(failure.into()))?.ok_or(RunError::Lost)?;
            if let Some(records) = run.open(&object.bytes) {
                return Ok(records);
            }
        }
        Err(RunError::Lost)
    }
}
