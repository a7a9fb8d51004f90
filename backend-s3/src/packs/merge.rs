//! Merging: the footers of many packs become a run of the index, together with the shorter runs that are there.
//!
//! Whoever notices that much is not indexed does it, in the background. Each run stays several times as long as the
//! next, and each record is written again few times; a full run stays as it is, so that there is one for each million
//! values besides. Who loses a race for the root has wasted some requests; who is interrupted leaves an object that
//! nobody reads, until a later merge removes it. A pack whose footer is damaged is left out, and the root says so by its
//! floor.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use backend_kit::offload;
use bytes::Bytes;
use futures_util::TryStreamExt;
use store_api::{Effect, Result};
use tokio::task::AbortHandle;

use super::{
    Packs, READINGS,
    format::Index,
    name::PackName,
    open_root,
    root::{self, Root},
    run::{self, MAX_RECORDS, Record, Run},
    runs::RunError,
    view::View,
};
use crate::{
    client::{Failure, FailureKind, Listed, Version},
    frame::random,
};

/// How many packs, or values in them, are left to their footers: those of 64 packs are what a cold instance reads.
const PACKS: usize = 64;
const RECORDS: usize = 64 * 1024;

/// How many objects may lie beside the root: each is a run, or what an accident left behind.
const MAX_LISTED: u64 = 1 << 16;

/// How many times as long as the next a run is.
pub(crate) const RATIO: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Merging {
    /// The last one that was begun.
    last: Mutex<Option<AbortHandle>>,
    /// So many packs are left to their footers behind a merge that failed.
    rest: AtomicUsize,
}

/// What becomes of the index.
struct Plan {
    /// The root to be replaced, if there is one.
    replaced: Option<Version>,
    root: Root,
    absorbed: Vec<Arc<Run>>,
    /// What the packs have.
    indexes: Vec<Index>,
    packs: BTreeSet<PackName>,
}

impl Plan {
    fn of(view: &View) -> Option<Self> {
        let packs: BTreeSet<PackName> = view.uncovered().keys().copied().collect();
        if packs.is_empty() {
            return None;
        }
        let indexes = view.uncovered().values().cloned().collect();
        let mut root = view.root().as_deref().cloned().unwrap_or_default();
        let mut absorbed = Vec::new();
        let mut len = view.uncovered_records();
        while let Some(run) = root.runs.pop_if(|run| absorbs(len, run)) {
            len += run.records();
            absorbed.push(run);
        }
        // Behind the root's, which covers none that is damaged.
        root.floor = root.floor.max(view.floor());
        root.floor = view.damaged().first().map_or(root.floor, |pack| root.floor.min(pack.epoch));
        root.recent.extend(&packs);
        root.recent = root.recent.split_off(&PackName::first(root.floor));
        Some(Self { replaced: view.root_version().cloned(), root, absorbed, indexes, packs })
    }
}

/// Whether a run becomes a part of one that has so many records without it.
fn absorbs(len: usize, run: &Run) -> bool {
    run.records() < RATIO * len && len + run.records() <= MAX_RECORDS
}

/// All records of packs and runs. Those of a run are let go of before the next is looked at.
fn gathered(packs: &[Index], runs: Vec<Vec<Record>>) -> Vec<Record> {
    let of_packs = packs.iter().map(|index| index.len());
    let mut records = Vec::with_capacity(of_packs.chain(runs.iter().map(Vec::len)).sum());
    for index in packs {
        records.extend_from_slice(index);
    }
    for run in runs {
        records.extend(run);
    }
    records
}

impl Packs {
    /// Begins a merge in the background, where enough has come together for one.
    pub(super) fn merge_if_due(self: &Arc<Self>) {
        if !self.is_merge_due() {
            return;
        }
        let mut last = self.last_merge();
        if last.as_ref().is_some_and(|merge| !merge.is_finished()) {
            return;
        }
        // None is begun behind the close of the gate. Asked under the lock, so that who gives a merge up then finds it.
        let Ok(under_way) = self.detached.begin() else { return };
        let packs = Arc::clone(self);
        let merge = self.runtime.spawn(async move {
            let _under_way = under_way;
            let merged = packs.merge().await;
            let rest = if merged.is_ok() { 0 } else { 2 * packs.view().uncovered().len() };
            packs.merging.rest.store(rest, Ordering::Relaxed);
            if let Err(error) = merged {
                // All of it is in the packs.
                tracing::debug!(%error, "the packs were not indexed; a later merge will do it");
            }
        });
        *last = Some(merge.abort_handle());
    }

    /// Ends a merge that is under way, wherever it is, once the gate is closed. It saves requests and nothing else: a
    /// run that lands afterwards is one that nobody reads, and a root takes the place of the one that it was made for, or
    /// of none.
    pub(crate) fn give_up_merge(&self) {
        if let Some(merge) = &*self.last_merge() {
            merge.abort();
            tracing::debug!("the packs were not indexed before the close; a later merge will do it");
        }
    }

    fn last_merge(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.merging.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_merge_due(&self) -> bool {
        let view = self.view();
        let packs = view.uncovered().len();
        (packs >= PACKS || view.uncovered_records() >= RECORDS) && packs >= self.merging.rest.load(Ordering::Relaxed)
    }

    async fn merge(self: &Arc<Self>) -> Result<()> {
        let plan = {
            let _turn = self.refreshing.done.lock().await;
            self.list_packs().await?;
            self.read_footers().await?;
            // Somebody else's merge may have come first.
            if self.is_merge_due() { Plan::of(&self.view()) } else { None }
        };
        let Some(mut plan) = plan else { return Ok(()) };
        let mut runs = Vec::new();
        for run in &plan.absorbed {
            match (self.read_run(run).await, &plan.replaced) {
                (Ok(records), _) => runs.push(records),
                (Err(RunError::Failed(error)), _) => return Err(error),
                // The next merge begins without the root.
                (Err(RunError::Lost), Some(root)) => return self.replace_root(root).await,
                (Err(RunError::Lost), None) => unreachable!("runs are those of a root"),
            }
        }
        let indexes = std::mem::take(&mut plan.indexes);
        let nonce = u128::from_be_bytes(random()?);
        let (run, bytes) = offload(move || Run::seal(nonce, gathered(&indexes, runs))).await?;
        let run = Arc::new(run);
        self.put(&run.object(), bytes.into(), self.patience()).await?;
        plan.root.runs.push(Arc::clone(&run));
        let root = plan.root.clone();
        let sealed = offload(move || root.seal()).await?;
        match self.put_root(sealed, plan.replaced.as_ref()).await {
            Ok(version) => {
                self.merged(plan, version).await;
                Ok(())
            }
            Err(failure) if failure.kind == FailureKind::Refused => self.settle(plan, &run).await,
            // Where it is not known whose root it is, the run may be needed.
            Err(failure) => Err(failure.into_error(Effect::Unknown)),
        }
    }

    /// Another merge was faster, or something on the way sent the PUT of the root twice: the root itself tells.
    async fn settle(&self, plan: Plan, run: &Run) -> Result<()> {
        let Some(object) = self.client.get(root::OBJECT, root::MAX_LEN).await? else { return Ok(()) };
        match open_root(object.bytes).await? {
            Some(root) if *root == plan.root => {
                self.merged(plan, object.version).await;
                Ok(())
            }
            // Nothing that is still under way can put the plan over another root than the one that it was made for.
            Some(root) if Some(&object.version) != plan.replaced.as_ref() && !root.names(run) => {
                Ok(self.client.delete(&run.object()).await?)
            }
            _ => Ok(()),
        }
    }

    async fn put_root(&self, root: Bytes, replaced: Option<&Version>) -> Result<Version, Failure> {
        match replaced {
            Some(version) => self.client.replace(root::OBJECT, root.into(), version).await,
            None => self.client.create(root::OBJECT, root.into()).await,
        }
    }

    async fn merged(&self, plan: Plan, version: Version) {
        let Plan { replaced, root, absorbed, packs, .. } = plan;
        let root = Arc::new(root);
        {
            let _turn = self.refreshing.done.lock().await;
            let mut view = self.view();
            // Where a later root was read meanwhile, that one stays.
            if view.root_version() == replaced.as_ref() {
                view.set_root(version.clone(), Some(Arc::clone(&root)));
            }
            view.share(&packs);
        }
        if let Err(failure) = self.remove_unnamed(&root, &version, &absorbed).await {
            tracing::debug!(
                ?failure,
                "runs of the index that nobody reads are left behind; a later merge removes them"
            );
        }
    }

    /// Removes the runs that this root does not name, nor any that comes behind it: those that its merge absorbed, and
    /// those that were written before the root was.
    ///
    /// Whoever wrote one of these had read another root, or none: an earlier one, since a merge writes its run behind its
    /// reading of the root. He puts his own upon the condition that the one that he read is still there, and this one has
    /// taken its place. And who goes on from this root names its runs and his own. So no merge that is under way is
    /// disturbed, where the service's clock does not go back. If it does, or if somebody removes the root, a run may go
    /// that is named: then the index is made again from the packs, as wherever a run is lost.
    async fn remove_unnamed(&self, root: &Root, version: &Version, absorbed: &[Arc<Run>]) -> Result<(), Failure> {
        let listed: Vec<Listed> = self.client.list_behind(run::FOLDER, run::FOLDER, MAX_LISTED).try_collect().await?;
        let is_root = |object: &&Listed| object.name == root::OBJECT && object.version.as_ref() == Some(version);
        // `None` where there is a later one already: what is older than that one may be named by it.
        let written = listed.iter().find(is_root).map(|object| object.written);
        let named: BTreeSet<String> = root.runs.iter().map(|run| run.object()).collect();
        let absorbed: BTreeSet<String> = absorbed.iter().map(|run| run.object()).collect();
        for Listed { name, written: at, .. } in &listed {
            let is_past = absorbed.contains(name) || written.is_some_and(|written| *at < written);
            if is_past && run::is_object(name) && !named.contains(name) {
                self.client.delete(name).await?;
            }
        }
        Ok(())
    }

    async fn read_run(&self, run: &Arc<Run>) -> Result<Vec<Record>, RunError> {
        for _ in 0..READINGS {
            let object = self.client.get(&run.object(), run.len()).await;
            let object = object.map_err(|failure| RunError::Failed(failure.into()))?.ok_or(RunError::Lost)?;
            let run = Arc::clone(run);
            let opened = offload(move || run.open(&object.bytes)).await.map_err(RunError::Failed)?;
            if let Some(records) = opened {
                return Ok(records);
            }
        }
        Err(RunError::Lost)
    }
}
